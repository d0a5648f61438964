"""What a push finds that holds its unique key, and what takes over from the new job."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct

from cherga.brokers.memory.store import Store
from cherga.rules.unique import Rival
from cherga.words.job import WAITING_STATES, JobState
from cherga.words.push import NewJob


class Times(Struct, frozen=True):
    """What the times of a new job come to by the clock of the broker."""

    state: JobState
    run_at: float | None
    ready_at: float | None
    expires_at: float | None


def find_rival(store: Store, fresh: Mapping[str, NewJob], key: str, now: float) -> Rival | None:
    """Who stands in the way of a job with this key; ``fresh`` are those of the same group."""
    if (job := fresh.get(key)) and job.unique:
        return Rival(job.id, job.task, JobState.BLOCKED, job.unique.hold)

    row = store.keys.successor(key) or store.keys.holder(key, now)

    if row is None or row.unique is None:
        return None

    return Rival(row.id, row.task, row.state, row.unique.hold)


def read_times(job: NewJob, now: float) -> Times:
    """When the job is to run, and until when it may wait."""
    run_at = job.run_at if job.delay is None else now + job.delay
    expires_at = job.expires_at if job.expires_in is None else now + job.expires_in

    if run_at is not None and run_at > now:
        return Times(JobState.SCHEDULED, run_at, None, expires_at)

    return Times(JobState.READY, run_at, now, expires_at)


def replace_waiting(store: Store, holder: UUID, job: NewJob, now: float) -> None:
    """The holder takes over everything but its id, its place and whom it waits for."""
    row, times = store.rows[holder], read_times(job, now)

    if row.state not in WAITING_STATES:
        return  # it ended in the same push, by a parent that had failed

    blocked = row.state is JobState.BLOCKED
    unchanged = row.state is times.state

    row = store.change(
        row,
        state=row.state if blocked else times.state,
        reason=None,
        message=None,
        payload=job.payload,
        head=job.head,
        owner=job.owner,
        queue=job.queue,
        priority=job.priority,
        unique=job.unique,
        limit_keys=job.limit_keys,
        parent=job.parent,
        attempt=0,
        run_at=times.run_at,
        ready_at=row.ready_at if blocked or unchanged else times.ready_at,
        expires_at=times.expires_at,
    )
    store.keys.take(row, now)
