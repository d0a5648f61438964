"""Newcomers: the first state of a new job, and its times by the clock of the broker. Pure."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

from cherga.words.job import JobRow, JobState
from cherga.words.push import GROUP_TASK, NewJob


class Times(Struct, frozen=True):
    """The time when a job is to run, and when it expires."""

    run_at: float | None
    expires_at: float | None


NO_TIMES = Times(None, None)


def read_times(job: NewJob, now: float) -> Times:
    """The times of a job that is pushed at ``now``. What counts from the push goes before a fixed time."""
    if job.delay is None and job.expires_in is None:
        return NO_TIMES if job.run_at is None and job.expires_at is None else Times(job.run_at, job.expires_at)

    return Times(
        job.run_at if job.delay is None else now + job.delay,
        job.expires_at if job.expires_in is None else now + job.expires_in,
    )


def first_state(job: NewJob, times: Times, now: float, pending: int = 0) -> JobState:
    """The first state of the job while so many that it waits for are unfinished."""
    if times.expires_at is not None and times.expires_at <= now:
        return JobState.CANCELLED

    if job.task == GROUP_TASK and not pending:
        return JobState.SUCCEEDED

    return waiting_state(times, now, pending)


def make_row(job: NewJob, id: UUID, state: JobState, times: Times, now: float, pending: int, sequence: int = 0) -> JobRow:
    """The row of a job that is pushed at ``now``; its ``sequence`` is the broker's to give."""
    return JobRow(
        id=id,
        sequence=sequence,
        task=job.task,
        queue=job.queue,
        priority=job.priority,
        state=state,
        owner=job.owner,
        payload=job.payload,
        head=job.head,
        unique=job.unique,
        limit_keys=job.limit_keys,
        parent=job.parent,
        pending=pending,
        enqueued_at=now,
        run_at=times.run_at,
        ready_at=now if state is JobState.READY else None,
        expires_at=times.expires_at,
    )


def waiting_state(times: Times, now: float, pending: int = 0) -> JobState:
    """The wait of the job before its start."""
    if pending:
        return JobState.BLOCKED

    return JobState.SCHEDULED if times.run_at is not None and times.run_at > now else JobState.READY
