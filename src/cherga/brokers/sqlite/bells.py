"""Bells that a transaction has to ring once it is committed."""

from __future__ import annotations

from uuid import UUID

from cherga.brokers.sqlite.slates import slot_of


class Bells:
    """Topics to ring, and the jobs that changed. Ringing the same twice is ringing once."""

    __slots__ = ("jobs", "topics")

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.jobs: list[UUID | bytes] = []
        """Ids, packed or not: they are only looked at when somebody follows jobs."""

    def slots(self) -> list[int]:
        """The slots on slates of the jobs that changed."""
        return [slot_of(id) for id in self.jobs]
