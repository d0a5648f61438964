"""Holders of unique keys that a push finds, and the parts of them that the new job replaces."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cherga.brokers.memory.store import Store
from cherga.rules.newcomers import read_times, waiting_state
from cherga.rules.unique import Rival
from cherga.words.job import WAITING_STATES, JobState
from cherga.words.push import NewJob


def find_rival(store: Store, fresh: Mapping[str, NewJob], key: str, now: float) -> Rival | None:
    """The jobs in the way of one with this key; ``fresh`` are those of the same group."""
    if (job := fresh.get(key)) and job.unique:
        return Rival(job.id, job.task, JobState.BLOCKED, job.unique.hold)

    row = store.keys.successor(key) or store.keys.holder(key, now)

    if row is None or row.unique is None:
        return None

    return Rival(row.id, row.task, row.state, row.unique.hold)


def replace_waiting(store: Store, holder: UUID, job: NewJob, now: float) -> None:
    """The holder takes over everything but its id, its place and whom it waits for."""
    row = store.rows[holder]

    if row.state not in WAITING_STATES:
        return  # it ended in the same push, by a parent that had failed

    times = read_times(job, now)
    state = waiting_state(times, now, row.state is JobState.BLOCKED)
    ready_at = now if state is JobState.READY else None

    row = store.change(
        row,
        state=state,
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
        progress=None,
        meta=None,
        run_at=times.run_at,
        ready_at=row.ready_at if state is row.state else ready_at,
        expires_at=times.expires_at,
    )
    store.keys.take(row, now)
