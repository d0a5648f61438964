"""Unique keys: who holds one, taking it and letting it go."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

from cherga.brokers.sqlite.rows import FIRST_FINAL, STATES
from cherga.brokers.sqlite.write import Write
from cherga.words.job import JobState, Unique, UniqueWhile


class Holder(Struct, frozen=True):
    """The job that holds a key."""

    sequence: int
    id: UUID
    state: JobState


def find_holder(write: Write, key: str) -> Holder | None:
    """Who holds the key now; a period that is over, or a job that is gone, holds nothing."""
    row = write.row(
        "select u.sequence, u.id, u.hold, u.expires, j.state from uniques u left join jobs j using (sequence) where u.key = ?",
        (key,),
    )

    if row is None:
        return None

    sequence, id, hold, expires, state = row
    holder = Holder(sequence, UUID(bytes=id), STATES.get(state, JobState.SUCCEEDED))

    if hold == UniqueWhile.PERIOD:
        return holder if expires is None or expires > write.now else None

    return holder if state is not None and state < FIRST_FINAL else None


def take_key(write: Write, unique: Unique, sequence: int, id: bytes) -> None:
    """Hold the key for this job, whoever held it before."""
    period = unique.period if unique.hold is UniqueWhile.PERIOD else None
    expires = None if period is None else write.now + period
    write.run(
        "insert or replace into uniques (key, sequence, id, hold, expires) values (?, ?, ?, ?, ?)",
        (unique.key, sequence, id, unique.hold.value, expires),
    )


def retake_key(write: Write, unique: Unique | None, sequence: int, id: bytes) -> bool:
    """Hold the key again for a job that goes back to the queue; False when another job holds it by now."""
    if unique is None:
        return True

    holder = find_holder(write, unique.key)

    if holder is None:
        take_key(write, unique, sequence, id)

    return holder is None or holder.sequence == sequence


def release_key(write: Write, unique: Unique | None, sequence: int) -> None:
    """Let go of the key at the end of the job; a period goes on."""
    if unique is not None and unique.hold is not UniqueWhile.PERIOD:
        write.run("delete from uniques where key = ? and sequence = ?", (unique.key, sequence))


def release_queued(write: Write, sequences: str) -> None:
    """Let go of the keys held while queued, of the jobs in this JSON array: they have been claimed."""
    write.run(
        "delete from uniques where hold = 'queued' and key in (select key from uniques where hold = 'queued' "
        "and sequence in (select value from json_each(?)))",
        (sequences,),
    )
