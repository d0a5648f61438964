"""Pauses with arguments: a ready job that one of them means waits in a lane of its own, so that it is looked at once.

While the scope is paused, no claim looks at that lane. When it is not any more, its jobs go back to where they stood, as many
at a time as a claim could take.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from cherga.brokers.sqlite.lanes import HELD, HOLD, Lane
from cherga.brokers.sqlite.rows import READY
from cherga.brokers.sqlite.spoilt import pass_over
from cherga.brokers.sqlite.write import Write
from cherga.rules.pausing import concerns, means
from cherga.rules.reading import read_or
from cherga.words.shared import PauseScope

_PAYLOADS = """
select json_group_array(json_array(sequence, hex(payload))) from jobs where sequence in (select value from json_each(?))
"""

_WAITING = f"""
select json_group_array(number) from lanes where number >= {HELD}
and exists (select 1 from jobs indexed by jobs_ready where state = 2 and lane = lanes.number)
"""

_BEST = """
select json_group_array(sequence) from (
    select sequence from jobs indexed by jobs_ready where state = 2 and lane = ? order by rank, place limit ?
)
"""

_MOVE = "update jobs set lane = ? where sequence in (select value from json_each(?))"

_encode = msgspec.json.Encoder().encode
_read_parts = msgspec.json.Decoder(tuple[str | None, ...]).decode
_read_payloads = msgspec.json.Decoder(list[tuple[int, str]]).decode
_read_numbers = msgspec.json.Decoder(list[int]).decode


def write_scope(scope: PauseScope) -> str:
    """The stored form of a scope."""
    parts = (scope.queue, scope.task, scope.arguments)
    return _encode(parts if scope.arguments is not None else parts[:2]).decode()


def read_scopes(stored: Iterable[bytes]) -> list[PauseScope]:
    """The pauses that hold, by the scopes as they are stored; those that cannot be read pause nothing."""
    scopes: list[PauseScope] = []

    for each in stored:
        scope = read_or(_read_scope, each, None)

        if scope is None:
            pass_over("pauses", each)
        else:
            scopes.append(scope)

    return scopes


def _read_scope(stored: bytes) -> PauseScope:
    return PauseScope(*_read_parts(stored))


def hold(write: Write, number: int, lane: Lane, sequences: Sequence[int], scopes: Iterable[PauseScope]) -> set[int]:
    """Move those of the lane's jobs that one of the scopes means to lanes of their own; return which."""
    meant = [scope for scope in scopes if scope.arguments is not None and concerns(scope, lane.queue, lane.task)]
    moved: dict[PauseScope, list[int]] = defaultdict(list)

    if not meant or not sequences:
        return set()

    for sequence, payload in _read_payloads(write.value(_PAYLOADS, (_encode(sequences).decode(),))):
        scope = next((one for one in meant if means(one.arguments or "", bytes.fromhex(payload))), None)

        if scope is not None:
            moved[scope].append(sequence)

    for scope, ones in moved.items():
        limits = (*lane.limit_keys, HOLD + write_scope(scope))
        _move(write, ones, number, write.lanes.number(write.db, lane.queue, lane.task, limits, lane.suspect))

    return {sequence for ones in moved.values() for sequence in ones}


def bring_back(write: Write, scopes: Iterable[PauseScope], limit: int) -> bool:
    """Let the best jobs of every lane whose scope is not paused any more go back; True when any did."""
    paused = {write_scope(scope) for scope in scopes}
    waiting = _read_numbers(write.value(_WAITING))
    write.lanes.meet(write.db, waiting)
    lanes = [(number, write.lanes.at(number)) for number in waiting]
    open_lanes = [(number, lane) for number, lane in lanes if lane.hold not in paused]

    for number, lane in open_lanes:
        sequences = _read_numbers(write.value(_BEST, (number, limit)))
        _move(write, sequences, number, write.lanes.number(write.db, lane.queue, lane.task, lane.limit_keys, lane.suspect))

    return bool(open_lanes)


def _move(write: Write, sequences: Sequence[int], source: int, target: int) -> None:
    write.run(_MOVE, (target, _encode(sequences).decode()))
    write.count(source, READY, -len(sequences))
    write.count(target, READY, len(sequences))
    write.refresh_heads([source, target])
