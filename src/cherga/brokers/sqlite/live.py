"""The live stream of a job: what it tells while it runs, and reading that."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from cherga.brokers.sqlite.look import get
from cherga.brokers.sqlite.rows import HAS_EVENTS, RUNNING
from cherga.brokers.sqlite.write import Write
from cherga.words.report import EVENTS_KEPT, EventKind, Followed, LiveEvent, Reading, Report

_STORE = f"""
update jobs set
    progress = ifnull(?, progress), meta = ifnull(?, meta), position = (position & 0xffffffffffff) + ?, traits = traits | ?
where sequence = ? and token = ? and state = {RUNNING} returning position
"""

_TRIM = """
delete from events where sequence = ?1 and position <= (
    select position from events where sequence = ?1 order by position desc limit 1 offset ?2
)
"""


_KINDS = {kind.value.encode(): kind for kind in EventKind}


def report(write: Write, reports: Sequence[Report]) -> list[bool]:
    """Store each report whose token is the current one."""
    return [_store(write, one) for one in reports]


def _store(write: Write, one: Report) -> bool:
    changes = (one.progress is not None) + (one.meta is not None) + len(one.events)
    traits = HAS_EVENTS if one.events else 0
    position = write.value(_STORE, (one.progress, one.meta, changes, traits, one.sequence, one.token))

    if position is None:
        return False

    if one.events:
        _store_events(write, one, position - len(one.events) + 1)

    write.bells.jobs.append(one.id)
    return True


def _store_events(write: Write, one: Report, first: int) -> None:
    events = one.events[-EVENTS_KEPT:]
    first += len(one.events) - len(events)
    rows = [(one.sequence, position, kind.value, data) for position, (kind, data) in enumerate(events, first)]
    write.run_chunks("insert into events (sequence, position, kind, data) values ", "(?, ?, ?, ?)", "", (), rows)

    if first + len(rows) > EVENTS_KEPT:
        write.run(_TRIM, (one.sequence, EVENTS_KEPT))


def follow(db: apsw.Connection, readings: Sequence[Reading], limit: int) -> list[Followed | None]:
    """For each the job as it stands and the first events after that position."""
    jobs = get(db, [reading.id for reading in readings])
    return [
        None if job is None else Followed(job, _events_of(db, job.sequence, reading.after, limit))
        for job, reading in zip(jobs, readings, strict=True)
    ]


def _events_of(db: apsw.Connection, sequence: int, after: int, limit: int) -> list[LiveEvent]:
    rows = db.execute(
        "select position, cast(kind as blob), data from events where sequence = ? and position > ? order by position limit ?",
        (sequence, after, limit),
    )
    return [LiveEvent(position, _KINDS[kind], data) for position, kind, data in rows if kind in _KINDS]
