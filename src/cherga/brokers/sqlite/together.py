"""Ending many jobs at once, few statements for many.

Plain jobs need no look: they hold no key, nobody waits for them, and this is their first attempt. Tied ones hold a key, wait
for others or are waited for; they are looked at first, all in one row of JSON, and their ties are undone all together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.endings import forget
from cherga.brokers.sqlite.rows import (
    AWAITED,
    CODES,
    ENTANGLED,
    HAS_EVENTS,
    HAS_HISTORY,
    HOLDS_KEY,
    RUNNING,
    WAITS,
    unpack_ties,
)
from cherga.brokers.sqlite.uniques import pass_on, release_keys
from cherga.brokers.sqlite.write import Write
from cherga.words.job import JobState
from cherga.words.settlement import Settlement

_END = f"""
update jobs set
    state = ?1, finished_at = ?2, prune_at = ?2 + ?3, reason = new.column3, result = new.column4,
    message = iif(?1 = 7, ifnull(new.column5, message), new.column5),
    progress = ifnull(new.column6, progress), meta = ifnull(new.column7, meta),
    attempts = new.column8, traits = traits | iif(new.column8 is null, 0, {HAS_HISTORY}),
    position = (position & 0xffffffffffff) + 1
from (values """
_END_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_END_TAIL = f""") as new
where jobs.sequence = new.column1 and jobs.token = new.column2 and jobs.state = {RUNNING} and jobs.traits & """

_FORGET = """
delete from jobs where sequence in (
    select j.sequence from (values """
_FORGET_ROW = "(?, ?)"
_FORGET_TAIL = f""") as new cross join jobs as j on j.sequence = new.column1 and j.token = new.column2
    where j.state = {RUNNING} and j.traits & {ENTANGLED | HAS_EVENTS} = 0
)
"""
_REMEMBER = "insert or replace into forgotten (sequence, token, at) values "

_LOOK = f"""
select json_group_array(json_array(j.sequence, j.token, j.lane, j.traits, hex(j.ties)))
from json_each(?) as chosen cross join jobs as j on j.sequence = chosen.value
where j.state = {RUNNING} and j.traits & {HAS_HISTORY} = 0
"""

_LEAVE = "delete from edges where child in (select value from json_each(?))"

_pack = msgspec.msgpack.Encoder().encode
_write_json = msgspec.json.Encoder().encode


class NotPlain(Exception):
    """Something else has touched one of the jobs that were to be written together."""


class Tied(Struct, frozen=True, array_like=True, gc=False):
    """An element of what ``_LOOK`` gives; ``ties`` in hexadecimal."""

    sequence: int
    token: int | None
    lane: int
    traits: int
    ties: str


_read = msgspec.json.Decoder(list[Tied]).decode


def end_plain(write: Write, settlements: Sequence[Settlement], lanes: dict[int, int]) -> None:
    """Write ends of jobs claimed as plain, whose lanes are known by token; ``NotPlain`` when one is not that any more."""
    for (to, keep), batch in _alike(settlements).items():
        if keep > 0:
            _end(write, to, keep, batch, [lanes[one.token] for one in batch], ENTANGLED)
        else:
            _forget_plain(write, batch, lanes)


def end_tied(write: Write, settlements: Sequence[Settlement]) -> list[bool]:
    """Write ends of jobs that have ties and no history; False for each that has to be looked at by itself."""
    if not settlements:
        return []

    tied = {(one.sequence, one.token): one for one in _look(write, settlements)}
    fit: dict[int, Settlement] = {}

    for settlement in settlements:
        if (settlement.sequence, settlement.token) in tied:
            fit.setdefault(settlement.sequence, settlement)

    for (to, keep), batch in _alike(fit.values()).items():
        _end(write, to, keep, batch, [tied[one.sequence, one.token].lane for one in batch], HAS_HISTORY)
        _undo_ties(write, to, [tied[one.sequence, one.token] for one in batch])

        if keep <= 0:
            forget(write, [one.sequence for one in batch])

    return [fit.get(settlement.sequence) is settlement for settlement in settlements]


def _alike(settlements: Iterable[Settlement]) -> dict[tuple[JobState, float], list[Settlement]]:
    batches: dict[tuple[JobState, float], list[Settlement]] = defaultdict(list)

    for one in settlements:
        batches[one.to, one.keep].append(one)

    return batches


def _end(write: Write, to: JobState, keep: float, batch: Sequence[Settlement], lanes: Iterable[int], without: int) -> None:
    """Change the rows of running jobs with none of these traits."""
    code = CODES[to]
    first = (code, write.now, max(keep, 0.0))

    if write.run_chunks(_END, _END_ROW, f"{_END_TAIL}{without} = 0", first, _end_rows(batch)) != len(batch):
        raise NotPlain

    for lane, number in Counter(lanes).items():
        write.count(lane, RUNNING, -number)
        write.count(lane, code, number)

    write.bells.jobs += [one.id for one in batch]


def _end_rows(batch: Sequence[Settlement]) -> list[tuple[Any, ...]]:
    return [
        (
            one.sequence,
            one.token,
            one.reason and one.reason.value,
            one.result,
            one.message,
            one.progress,
            one.meta,
            one.attempt and _pack((one.attempt,)),
        )
        for one in batch
    ]


def _forget_plain(write: Write, batch: Sequence[Settlement], lanes: dict[int, int]) -> None:
    """Jobs that are not to be kept are deleted in the write that ends them."""
    rows = [(one.sequence, one.token) for one in batch]

    if write.run_chunks(_FORGET, _FORGET_ROW, _FORGET_TAIL, (), rows) != len(rows):
        raise NotPlain

    write.run_chunks(_REMEMBER, "(?, ?, ?)", "", (), [(*row, write.now) for row in rows])

    for lane, number in Counter([lanes[one.token] for one in batch]).items():
        write.count(lane, RUNNING, -number)

    write.bells.jobs += [one.id for one in batch]


def _look(write: Write, settlements: Sequence[Settlement]) -> list[Tied]:
    return _read(write.value(_LOOK, (_write_json([one.sequence for one in settlements]).decode(),)))


def _undo_ties(write: Write, to: JobState, jobs: Sequence[Tied]) -> None:
    """The end of one job, as ``endings.end`` does it."""
    keys = {one.sequence: key for one in jobs if one.traits & HOLDS_KEY and (key := _key(one)) is not None}
    children = [one.sequence for one in jobs if one.traits & WAITS]

    if keys:
        release_keys(write, list(keys.values()), _write_json(list(keys)).decode())
        pass_on(write, [keys[one.sequence] for one in jobs if one.traits & AWAITED and one.sequence in keys])

    if children:
        write.run(_LEAVE, (_write_json(children).decode(),))

    write.ended.update((one.sequence, CODES[to]) for one in jobs if one.traits & AWAITED)


def _key(one: Tied) -> str | None:
    unique = unpack_ties(bytes.fromhex(one.ties)).unique
    return None if unique is None else unique.key
