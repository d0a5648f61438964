"""Refusals of groups of new jobs, in words that are the same on every broker."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cherga.rules.unique import Meeting, Rival
from cherga.words.push import NewJob


def rivalry(job: NewJob, key: str, rival: Rival, meeting: Meeting) -> str | None:
    """The unique key stands in the way; None when it does not."""
    if meeting is Meeting.REFUSED:
        return f"the unique key {key!r} of job {job.id} is held by job {rival.id}"

    if meeting is Meeting.ANSWERED or job.task == rival.task:
        return None

    return (
        f"the unique key {key!r} is held by job {rival.id} of task {rival.task!r}, which a job of task {job.task!r} cannot "
        "replace; give it a unique key of its own"
    )


def full_queue(queue: str, waiting: int, allowed: int) -> str:
    """The queue holds as many jobs as it may, or would hold more with those that came together."""
    if waiting < allowed:
        return (
            f"queue {queue!r} is full: {waiting} jobs wait, its limit allows {allowed}, and more than {allowed - waiting} came "
            "together; enqueue fewer at once, or raise the limit"
        )

    return (
        f"queue {queue!r} is full: {waiting} jobs wait, its limit allows {allowed}; "
        "enqueue again when some have run, or raise the limit"
    )


def unknown_parent(job: UUID, parent: UUID) -> str:
    """An edge names nobody."""
    return f"job {job} is to wait for job {parent}, which is not kept; enqueue that one first or with it"


def circle(ids: Iterable[UUID]) -> str:
    """The edges lead back to where they began."""
    return f"the jobs wait for each other in a circle: {', '.join(map(str, ids))}"
