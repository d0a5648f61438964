"""Jobs on their way to a worker: due, wished for, claimed."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct


class Promoted(Struct, frozen=True):
    """The number of jobs that moved on, and the seconds until the next one is due (None: none is scheduled)."""

    count: int
    next_in: float | None = None
    now: float = 0.0
    """The broker's clock, for schedules: no other clock decides about a tick."""


class ClaimWish(Struct, frozen=True, kw_only=True):
    """The wish of a worker for jobs."""

    session: str
    limit: int
    tasks: frozenset[str]
    """The names this worker can run; jobs of other tasks stay where they are."""
    queues: tuple[str, ...] = ()
    """Empty means every queue."""
    weights: tuple[int, ...] = ()
    """Empty means strict order of ``queues``; else one weight a queue, the share of the limit that it gets."""
    alone: bool = False
    """The worker process runs nothing: it may take suspects (jobs whose process has died), as many as may run together."""


class ClaimedJob(Struct, frozen=True, gc=False):
    """The claimed job: all that a worker needs to run one attempt. ``token`` proves that the attempt is its own."""

    id: UUID
    sequence: int
    token: int
    task: str
    queue: str
    priority: int
    payload: bytes
    head: bytes | None
    attempt: int
    claims: int
    crashes: int
    interruptions: int
    enqueued_at: float
    started_at: float
    owner: str | None
    unique_key: str | None
    meta: bytes | None


class ClaimAnswer(Struct, frozen=True):
    """The answer to a claim. The jobs are ordered by queue (where the order is strict), priority, sequence."""

    jobs: list[ClaimedJob]
    suspects: bool = False
    """A suspect waits for a worker process that runs nothing."""
    unknown: frozenset[str] = frozenset()
    """Names of tasks with ready jobs in these queues that the worker does not know."""
    again_in: float | None = None
    """Seconds until a rate lets another ready job of the wish go; None when no rate holds one up."""
