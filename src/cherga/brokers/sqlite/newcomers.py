"""Rows for new jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from cherga.brokers.sqlite.keeping import time_kept
from cherga.brokers.sqlite.notices import note_stillborn
from cherga.brokers.sqlite.rows import CANCELLED, CODES, READY, SCHEDULED, SUCCEEDED, pack_ties, read_head
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.newcomers import Times, first_state, read_times
from cherga.words.job import Reason
from cherga.words.push import NewJob

Row = tuple[Any, ...]
"""A row of ``COLUMNS``."""

COLUMNS = """
    sequence, id, state, lane, rank, place, pending, traits, enqueued_at, ready_at, run_at, expires_at,
    owner, head, ties, parent, payload
"""
SEQUENCE, ID, STATE, LANE = range(4)

_INSERT = f"insert into jobs ({COLUMNS}) values "
_ROW = f"({', '.join('?' * 17)})"
_UNLESS_KEPT = " on conflict (id) do nothing"
_INSERT_ONE = _INSERT + _ROW + _UNLESS_KEPT

_CLOSE = "update jobs set pending = 0, reason = ?, message = ?, finished_at = ?, prune_at = ? where sequence = ?"

_write_json = msgspec.json.Encoder().encode


def make_row(write: Write, job: NewJob, sequence: int, state: int, times: Times, pending: int = 0, traits: int = 0) -> Row:
    """The row of a new job. A row that is cancelled from the start also needs ``close_stillborn``."""
    now = write.now
    ties = pack_ties(job.unique, job.limit_keys) if job.unique is not None or job.limit_keys else None
    return (
        sequence,
        job.id.bytes,
        state,
        write.lane(job.queue, job.task, job.limit_keys),
        -job.priority,
        sequence,
        pending,
        traits,
        now,
        now if state == READY else None,
        times.run_at,
        times.expires_at,
        job.owner,
        job.head,
        ties,
        None if job.parent is None else job.parent.bytes,
        job.payload,
    )


def make_rows(write: Write, jobs: Sequence[NewJob]) -> list[Row]:
    """The rows of new jobs that wait for nobody."""
    now, rows = write.now, list[Row]()

    for sequence, job in enumerate(jobs, write.take_numbers(len(jobs))):
        times = read_times(job, now)
        rows.append(make_row(write, job, sequence, CODES[first_state(job, times, now)], times))

    return rows


def insert(write: Write, rows: Sequence[Row]) -> bool:
    """Store rows whose id is not kept yet, count and ring them; True when that was all of them."""
    changed = write.run_chunks(_INSERT, _ROW, _UNLESS_KEPT, (), rows)

    if changed == len(rows):
        _note(write, rows)
        return True

    sequences = _write_json([row[SEQUENCE] for row in rows]).decode()
    stored = set(write.rows("select sequence from jobs where sequence in (select value from json_each(?))", (sequences,)))
    _note(write, [row for row in rows if (row[SEQUENCE],) in stored])
    return False


def insert_one(write: Write, row: Row) -> bool:
    """Store a row that is counted already, and ring it, unless its id is kept."""
    stored = write.run(_INSERT_ONE, row) > 0

    if stored:
        _ring(write, [row])

    return stored


def find_kept(write: Write, ids: Iterable[UUID]) -> dict[UUID, tuple[int, int]]:
    """Sequence and state of those of the ids that are kept."""
    packed = _write_json([id.hex for id in ids]).decode()
    rows = write.rows(
        "select id, sequence, state from jobs where id in (select unhex(value) from json_each(?))",
        (packed,),
    )
    return {UUID(bytes=id): (sequence, state) for id, sequence, state in rows}


def close_stillborn(write: Write, job: NewJob, sequence: int, reason: Reason, message: str | None = None) -> None:
    """Complete the row of a job that was cancelled in the moment it was stored."""
    _close(write, job, sequence, CANCELLED, reason.value, message)
    note_stillborn(write, job, reason, message)


def close_group(write: Write, job: NewJob, sequence: int) -> None:
    """Complete the row of a group that had nobody to wait for in the moment it was stored."""
    _close(write, job, sequence, SUCCEEDED, None, None)


def _close(write: Write, job: NewJob, sequence: int, to: int, reason: str | None, message: str | None) -> None:
    lane = write.lane(job.queue, job.task, job.limit_keys)
    kept = time_kept(write, lane, read_head(job.head), to)
    write.run(_CLOSE, (reason, message, write.now, write.now + kept, sequence))


def _note(write: Write, rows: Sequence[Row]) -> None:
    for row in rows:
        write.count(row[LANE], row[STATE], 1)

    _ring(write, rows)


def _ring(write: Write, rows: Sequence[Row]) -> None:
    states = {row[STATE] for row in rows}

    if READY in states:
        write.bells.topics.add(Topic.READY)

    if SCHEDULED in states:
        write.bells.topics.add(Topic.DUE)

    write.bells.jobs += [row[ID] for row in rows]
