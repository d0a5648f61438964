"""Looking at the first ready jobs of a lane, no further than a claim needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from msgspec.structs import replace

from cherga.brokers.memory.ending import end_unasked
from cherga.brokers.memory.lanes import LaneKey
from cherga.brokers.memory.store import Place, Store
from cherga.rules.pausing import covers
from cherga.rules.turns import Head
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.shared import PauseScope


class LaneTop(Sequence[Head]):
    """The jobs of a lane, best first. Its length tells only whether there is one more than were looked at.

    What stands before the last one looked at is out of its lane until ``close``. What has expired is ended on the way, and
    what a pause with arguments means goes to a lane of its own, so that no claim meets it again.
    """

    def __init__(self, store: Store, key: LaneKey, now: float) -> None:
        self.key = key
        self._store = store
        self._now = now
        self._drawn: list[tuple[Place, JobRow]] = []
        self._seen = 0
        self._out = 0

    def __len__(self) -> int:
        if self._seen == len(self._drawn):
            self._draw()

        return len(self._drawn)

    @overload
    def __getitem__(self, index: int) -> Head: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Head]: ...
    def __getitem__(self, index: int | slice) -> Head | Sequence[Head]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]

        self._seen = max(self._seen, index + 1)
        place, row = self._drawn[index]
        return place[0], place[1], row.sequence

    def close(self, taken: int) -> list[JobRow]:
        """Return the first ``taken`` jobs, and put the others back where they stood."""
        for place, _ in self._drawn[taken : self._out]:
            self._store.put_back(self.key, place)

        return [row for _, row in self._drawn[:taken]]

    def _draw(self) -> None:
        if self._out < len(self._drawn):
            self._store.draw(self.key)
            self._out += 1

        while place := self._store.best(self.key):
            row = self._store.rows[place[2]]

            if row.expires_at is not None and row.expires_at <= self._now:
                end_unasked(self._store, row, JobState.CANCELLED, Reason.EXPIRED, self._now)
            elif scope := _pause_of(self._store.paused, row):
                self._store.draw(self.key)
                self._store.put_back(replace(self.key, held=scope), place)
            else:
                self._drawn.append((place, row))
                return


def _pause_of(paused: set[PauseScope], row: JobRow) -> PauseScope | None:
    """The pause with arguments that means this job."""
    return next((scope for scope in paused if scope.arguments and covers(scope, row.queue, row.task, row.payload)), None)
