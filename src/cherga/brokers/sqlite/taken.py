"""Reading what a claim took: all jobs in one row of JSON, because every row that SQLite hands out is a chance for other
Python threads to keep the interpreter, while the write lock is held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.endings import Ending, end
from cherga.brokers.sqlite.held import find_held
from cherga.brokers.sqlite.rows import ENTANGLED, FAILED, READY, RUNNING, check_head, unpack_ties
from cherga.brokers.sqlite.write import Write
from cherga.rules.endings import CANNOT_BE_READ
from cherga.rules.reading import UNREADABLE
from cherga.words.claim import ClaimedJob
from cherga.words.job import Reason

LARGE = 4096
"""Bytes of payload, head or meta above which it is read apart from the other jobs."""

TOKENS_REMEMBERED = 200_000
"""Plain claims remembered at most; what is forgotten is settled one by one."""

# What a job does not have takes no step of its own here. 0: there is none; 1: it is large.
_READ = f"""
select json_group_array(json_array(
    hex(j.id), j.sequence, j.token, j.lane, -j.rank, j.attempt, j.claims, j.crashes, j.interruptions, j.enqueued_at,
    j.owner, j.traits,
    iif(j.ties is null, '', hex(j.ties)),
    iif(length(j.payload) <= {LARGE}, hex(j.payload), 1),
    iif(length(j.head) <= {LARGE}, hex(j.head), j.head is not null),
    iif(length(j.meta) <= {LARGE}, hex(j.meta), j.meta is not null)
))
from json_each(?) as chosen cross join jobs as j on j.sequence = chosen.value
"""


class Taken(Struct, frozen=True, array_like=True, gc=False):
    """An element of what ``_READ`` gives. Blobs are in hexadecimal."""

    id: UUID
    sequence: int
    token: int
    lane: int
    priority: int
    attempt: int
    claims: int
    crashes: int
    interruptions: int
    enqueued_at: float
    owner: str | None
    traits: int
    ties: str
    payload: str | int
    head: str | int
    meta: str | int


_read = msgspec.json.Decoder(list[Taken]).decode
_write_numbers = msgspec.json.Encoder().encode


def read_taken(write: Write, sequences: Sequence[int], plain: dict[int, int]) -> list[ClaimedJob]:
    """The jobs just taken, in this order. One that cannot be read has failed (reason ``malformed``) and is left out."""
    try:
        taken, jobs = _read_together(write, sequences)
    except (*UNREADABLE, KeyError):
        return [job for sequence in sequences for job in _read_or_fail(write, sequence)]

    for lane, number in Counter([one.lane for one in taken]).items():
        _count(write, lane, number)

    _remember(taken, plain)
    return jobs


def _remember(taken: Sequence[Taken], plain: dict[int, int]) -> None:
    if len(plain) > TOKENS_REMEMBERED:
        plain.clear()

    plain.update([(one.token, one.lane) for one in taken if not one.traits & ENTANGLED])


def fail_malformed(write: Write, sequence: int) -> None:
    """Take a job that cannot be read out of the way."""
    held = find_held(write, sequence)

    if held is not None:
        end(write, held, Ending(to=FAILED, reason=Reason.MALFORMED, message=CANNOT_BE_READ))


def _read_or_fail(write: Write, sequence: int) -> list[ClaimedJob]:
    try:
        taken, jobs = _read_together(write, [sequence])
    except (*UNREADABLE, KeyError):
        _count(write, write.value("select lane from jobs where sequence = ?", (sequence,)), 1)
        fail_malformed(write, sequence)
        return []

    _count(write, taken[0].lane, 1)
    return jobs


def _count(write: Write, lane: int, number: int) -> None:
    write.count(lane, READY, -number)
    write.count(lane, RUNNING, number)


def _read_together(write: Write, sequences: Sequence[int]) -> tuple[list[Taken], list[ClaimedJob]]:
    taken = _read(write.value(_READ, (_write_numbers(sequences).decode(),)))
    return taken, [_to_claimed(write, one) for one in taken]


def _to_claimed(write: Write, one: Taken) -> ClaimedJob:
    lane = write.lanes.at(one.lane)
    head = _unpack(write, one, "head", one.head) if one.head else None

    if head is not None:
        check_head(head)

    return ClaimedJob(
        one.id,
        one.sequence,
        one.token,
        lane.task,
        lane.queue,
        one.priority,
        _unpack(write, one, "payload", one.payload) or b"",
        head,
        one.attempt,
        one.claims,
        one.crashes,
        one.interruptions,
        one.enqueued_at,
        write.now,
        one.owner,
        _unique_key(one.ties) if one.ties else None,
        _unpack(write, one, "meta", one.meta) if one.meta else None,
    )


def _unpack(write: Write, one: Taken, column: str, packed: str | int) -> bytes | None:
    """The bytes of this column; None where it is empty."""
    if isinstance(packed, str):
        return bytes.fromhex(packed)

    return write.value(f"select {column} from jobs where sequence = ?", (one.sequence,)) or None


def _unique_key(packed: str) -> str | None:
    unique = unpack_ties(bytes.fromhex(packed)).unique
    return unique.key if unique is not None else None
