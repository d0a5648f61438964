"""Jobs in the order of a time that each of them has."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from uuid import UUID

Current = Callable[[float, UUID], bool]


class Agenda:
    """A heap whose entries may go stale: ``current`` says, when one comes up, whether it still holds."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._heap: list[tuple[float, int, UUID]] = []

    def add(self, at: float, sequence: int, id: UUID) -> None:
        """Note a job. Noting it twice does no harm."""
        heappush(self._heap, (at, sequence, id))

    def first(self) -> tuple[float, UUID] | None:
        """The earliest entry that still holds."""
        while self._heap:
            at, _, id = self._heap[0]

            if self._current(at, id):
                return at, id

            heappop(self._heap)

        return None

    def take(self, until: float, limit: int) -> list[UUID]:
        """Take out at most ``limit`` jobs whose time has come, earliest first."""
        taken: dict[UUID, None] = {}

        while len(taken) < limit and (entry := self.first()) and entry[0] <= until:
            heappop(self._heap)
            taken[entry[1]] = None

        return list(taken)
