"""Unique keys: who holds one, taking it, passing it on and letting it go.

The successor of a running holder (``OnConflict.LATEST``) holds a shadow of the key until, in the write that ends the holder,
the key itself passes to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.rows import FIRST_FINAL, ID_BYTES, SUCCEEDED
from cherga.brokers.sqlite.spoilt import pass_over, read_text
from cherga.brokers.sqlite.write import Write
from cherga.words.unique import Unique, UniqueWhile

_HOLDERS = """
select u.key, u.sequence, u.id, cast(u.hold as blob), u.expires, j.state, j.lane
from json_each(?) as k cross join uniques as u on u.key = k.value left join jobs as j on j.sequence = u.sequence
"""

_TAKE = "insert or replace into uniques (key, sequence, id, hold, expires) values "

_RELEASE = "delete from uniques where sequence in (select value from json_each(?1)) and key in ("

_PASS_ON = "update uniques set key = new.column1 from (values "
_PASS_ON_TAIL = ") as new where uniques.key = new.column2"

_write_json = msgspec.json.Encoder().encode


class Holder(Struct, frozen=True):
    """The job that holds a key. One that is not kept any more counts as succeeded."""

    key: str
    sequence: int
    id: UUID
    hold: UniqueWhile
    state: int
    task: str


Hold = tuple[str, int, bytes, str, float | None]
"""A row of ``uniques``: key, sequence, id, what for, until when."""


def shadow(key: str) -> str:
    """The name under which the successor of the holder holds the key."""
    return f"{key}\0next"


def find_holders(write: Write, keys: Iterable[str]) -> dict[str, Holder]:
    """The holders of these keys now; a period that is over, or a job that is gone, holds nothing."""
    names = _write_json(list(keys)).decode()
    found: dict[str, Holder] = {}

    for key, sequence, id, hold, expires, state, lane in write.rows(_HOLDERS, (names,)):
        hold = read_text(hold)

        if len(id) != ID_BYTES or hold not in set(UniqueWhile):
            pass_over("uniques", key)
        elif _holds(hold, expires, state, write.now):
            place = None if lane is None else write.lanes.get(write.db, lane)
            task = "" if place is None else place.task
            found[key] = Holder(key, sequence, UUID(bytes=id), UniqueWhile(hold), state or SUCCEEDED, task)

    return found


def make_hold(write: Write, key: str, unique: Unique, sequence: int, id: bytes) -> Hold:
    """The rows that ``take_keys`` is to write."""
    period = unique.period if unique.hold is UniqueWhile.PERIOD else None
    return key, sequence, id, unique.hold.value, None if period is None else write.now + period


def take_keys(write: Write, holds: Sequence[Hold]) -> None:
    """Hold these keys, whoever held them before."""
    write.run_chunks(_TAKE, "(?, ?, ?, ?, ?)", "", (), holds)


def retake_key(write: Write, unique: Unique | None, sequence: int, id: bytes) -> bool:
    """Hold the key again for a job that goes back to the queue; False when another job holds it by now."""
    if unique is None:
        return True

    holder = find_holders(write, [unique.key]).get(unique.key)

    if holder is None:
        take_keys(write, [make_hold(write, unique.key, unique, sequence, id)])

    return holder is None or holder.sequence == sequence


def release_key(write: Write, unique: Unique | None, sequence: int) -> None:
    """Let go of the key at the end of the job; a period goes on."""
    if unique is None or unique.hold is UniqueWhile.PERIOD:
        return

    if write.run("delete from uniques where key = ? and sequence = ?", (unique.key, sequence)):
        pass_on(write, [unique.key])
    else:
        write.run("delete from uniques where key = ? and sequence = ?", (shadow(unique.key), sequence))


def release_keys(write: Write, keys: Sequence[str], sequences: str) -> None:
    """Let go of the keys that running jobs, those in this JSON array, hold until they end."""
    write.run_chunks(_RELEASE, "?", ")", (sequences,), [(key,) for key in keys])


def pass_on(write: Write, keys: Sequence[str]) -> None:
    """Keys that have just been let go of pass to the successors, where there are any."""
    write.run_chunks(_PASS_ON, "(?, ?)", _PASS_ON_TAIL, (), [(key, shadow(key)) for key in keys])


def release_queued(write: Write, sequences: str) -> None:
    """Let go of the keys held while queued, of the jobs in this JSON array: they have been claimed."""
    write.run(
        "delete from uniques where hold = 'queued' and key in (select key from uniques where hold = 'queued' "
        "and sequence in (select value from json_each(?)))",
        (sequences,),
    )


def _holds(hold: str, expires: float | None, state: int | None, now: float) -> bool:
    if hold == UniqueWhile.PERIOD:
        return expires is None or expires > now

    return state is not None and state < FIRST_FINAL
