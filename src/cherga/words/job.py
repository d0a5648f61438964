"""A job: where it stands, how far it is, what was tried, and the row that is kept.

Times are seconds since 1970 in UTC by the broker's clock; durations are seconds. So everywhere in ``cherga.words``.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from cherga.words.unique import Unique


class JobState(StrEnum):
    """The state of a job. The legal moves are in ``cherga.rules.lifecycle``."""

    SCHEDULED = "scheduled"
    READY = "ready"
    BLOCKED = "blocked"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True when nothing but a person can move the job on from here."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
"""States that a job leaves only when a person retries it."""

WAITING_STATES = frozenset({JobState.SCHEDULED, JobState.READY, JobState.BLOCKED})
"""States in which a job has not been handed out."""


class Reason(StrEnum):
    """The reason why a job is in its state, where the state alone does not say."""

    ERROR = "error"
    TIMEOUT = "timeout"
    POISON = "poison"
    EXPIRED = "expired"
    UPSTREAM = "upstream"
    MALFORMED = "malformed"
    INVALID_ARGUMENTS = "invalid_arguments"
    ASKED = "asked"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    DROPPED = "dropped"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    LOST = "lost"


class JobError(Struct, frozen=True, array_like=True):
    """A remote error as text. It is shown, never rebuilt."""

    type: str
    message: str
    traceback: str = ""


class Attempt(Struct, frozen=True, array_like=True):
    """A try at a job, as kept in its history (the last ten)."""

    number: int
    worker: str
    started_at: float
    finished_at: float
    reason: Reason | None = None
    """The reason why it failed; None for the attempt that succeeded."""
    error: JobError | None = None


ATTEMPTS_KEPT = 10


class Progress(Struct, frozen=True, array_like=True):
    """The progress of a job. ``total`` None means that nobody knows the end."""

    done: float
    total: float | None = None
    note: str = ""

    @property
    def percent(self) -> float | None:
        """0.0 to 100.0, or None while the total is unknown."""
        if not self.total or self.total <= 0:
            return None
        return min(100.0, max(0.0, 100.0 * self.done / self.total))

    def as_dict(self) -> dict[str, float | str | None]:
        """``done``, ``total``, ``percent`` and ``note``, for JSON."""
        return {"done": self.done, "total": self.total, "percent": self.percent, "note": self.note}

    def __str__(self) -> str:
        count = f"{self.done:,.10g}" if self.total is None else f"{self.done:,.10g} of {self.total:,.10g}"
        percent = "" if self.percent is None else f" ({self.percent:.0f} %)"
        return f"{count}{percent}, {self.note}" if self.note else f"{count}{percent}"


class JobRow(Struct, frozen=True, kw_only=True):
    """The whole of what is kept about a job, as ``get`` and ``find`` return it."""

    id: UUID
    sequence: int
    task: str
    queue: str
    priority: int
    state: JobState
    reason: Reason | None = None
    owner: str | None = None
    payload: bytes = b""
    head: bytes | None = None
    unique: Unique | None = None
    limit_keys: tuple[str, ...] = ()
    parent: UUID | None = None
    pending: int = 0
    """Edges not yet released."""
    attempt: int = 0
    claims: int = 0
    """Never goes back; the number to hand to outside systems as a fence."""
    crashes: int = 0
    suspect: int = 0
    """The number of suspects that may run together, itself included, as it may be why its process died. 0: it is none."""
    interruptions: int = 0
    session: str | None = None
    token: int | None = None
    cancel_requested: bool = False
    enqueued_at: float = 0.0
    run_at: float | None = None
    ready_at: float | None = None
    first_started_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    prune_at: float | None = None
    position: int = 0
    """Counts the changes of the live stream; see ``Broker.follow``."""
    progress: bytes | None = None
    meta: bytes | None = None
    result: bytes | None = None
    message: str | None = None
    """The words of whoever cancelled the job, or why it failed without an attempt."""
    attempts: bytes | None = None
    """A packed list of ``Attempt``, oldest first."""
