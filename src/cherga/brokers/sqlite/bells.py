"""What a transaction will have to ring once it is committed."""

from __future__ import annotations

from uuid import UUID

from cherga.doors.broker import Topic


class Bells:
    """Topics to ring, and the jobs that changed. Ringing the same twice is ringing once."""

    __slots__ = ("jobs", "topics")

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.jobs: list[UUID | bytes] = []
        """Ids, packed or not: they are only looked at when somebody listens to a job."""

    def job_topics(self) -> set[str]:
        """The topics of the jobs that changed."""
        return {Topic.job(id if isinstance(id, UUID) else UUID(bytes=id)) for id in self.jobs}
