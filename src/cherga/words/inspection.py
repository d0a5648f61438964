"""Questions that those who look may ask of a broker, and the answers."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

from cherga.words.job import JobState


class JobFilter(Struct, frozen=True, kw_only=True):
    """The jobs to look at. A field that is None or empty does not restrict."""

    states: frozenset[JobState] = frozenset()
    queue: str | None = None
    task: str | None = None
    owner: str | None = None
    parent: UUID | None = None
    awaited_by: UUID | None = None
    """The jobs that this one waits for; a group's also when they have ended."""
    holds: str | None = None
    """The unique key that it holds now."""
    limit: str | None = None
    """The name of a limit that the job counts for: its queue's, its task's, or one of its limit keys."""
    unfinished: bool = False
    id_begins: str = ""
    """The first hexadecimal digits of the id, in lower case and without hyphens."""
    id_ends: str = ""
    """The last ones. Ids of one time begin alike, and end by chance."""


class Family(Struct, frozen=True):
    """The children of one job, taken together."""

    counts: dict[JobState, int] = {}
    """The number of jobs in one state of one queue and task; states without a job are left out."""
    done: float = 0.0
    """Children that have ended, and the share that is done of those that run."""

    @property
    def total(self) -> int:
        """The number of children that are kept."""
        return sum(self.counts.values())


class TaskCount(Struct, frozen=True):
    """The number of jobs of a task in a queue in one state."""

    queue: str
    task: str
    state: JobState
    count: int
