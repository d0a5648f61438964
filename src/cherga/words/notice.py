"""Notices of what a broker did with a job by itself, for a worker to tell, since no worker or caller had it in hand."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

from cherga.words.job import JobError, JobState, Reason


class Notice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job was ended, or lost its process and is to run again. ``Broker.notices`` gives it, ``Broker.told`` takes it back."""

    number: int = 0
    """The broker's, to answer with."""
    id: UUID
    task: str
    state: JobState
    """The state to which the job went: ``ready`` and ``scheduled`` for one that is to run again."""
    reason: Reason | None = None
    message: str | None = None
    attempt: int = 0
    crashes: int = 0
    error: JobError | None = None
    """The entry of the history on the attempt that its process took with it."""
