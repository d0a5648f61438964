"""Unique keys: who holds them, and who comes next."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cherga.words.job import WAITING_STATES, JobRow, JobState
from cherga.words.unique import Unique, UniqueWhile


class Keys:
    """Follows the rows: it is told of each that is put or dropped."""

    def __init__(self, rows: Mapping[UUID, JobRow]) -> None:
        self._rows = rows
        self.now = 0.0
        """The clock of the broker that holds the lock."""
        self.holders: dict[str, UUID] = {}
        self.successors: dict[str, UUID] = {}
        """Jobs that wait for the end of the holder and get the key from it."""
        self._until: dict[str, float] = {}
        """The ends of the periods for which keys are held."""
        self._gone: dict[str, JobRow] = {}
        """Jobs that are not kept any more, and hold a key until its period is over."""

    def holder(self, key: str, now: float) -> JobRow | None:
        """The job that holds the key, as it was last where it is not kept any more."""
        row = self._rows.get(self.holders[key], self._gone.get(key)) if key in self.holders else None
        return None if row is None or not self._holds(row, now) else row

    def seen(self, key: str, now: float) -> JobRow | None:
        """The job that gets the key next, or holds it, as far as that can be told in the middle of a change."""
        for id in (self.successors.get(key), self.holders.get(key)):
            row = None if id is None else self._rows.get(id, self._gone.get(key))

            if row is not None and (row.state is JobState.BLOCKED or self._holds(row, now)):
                return row

        return None

    def take(self, row: JobRow, now: float) -> None:
        """The job holds its key from now on, unless it is to get it from another one."""
        if row.unique is None or self.successors.get(row.unique.key) == row.id:
            return

        self._free(row.unique.key)
        self.holders[row.unique.key] = row.id

        if row.unique.hold is UniqueWhile.PERIOD:
            self._until[row.unique.key] = now + (row.unique.period or 0.0)

    def tidy(self, now: float) -> None:
        """Forget jobs that are not kept any more, and whose period is over."""
        for key in [key for key in self._gone if self._until[key] <= now]:
            self._free(key)

    def successor(self, key: str) -> JobRow | None:
        """The job that waits for the end of the holder."""
        return self._rows[self.successors[key]] if key in self.successors else None

    def note(self, row: JobRow) -> None:
        """The row was put: it takes its key, holds on to it or lets it go."""
        if row.unique is None:
            return

        if self._is_free(row.unique.key, row.id) and row.state is not JobState.CANCELLED and self._holds(row, self.now):
            self.take(row, self.now)
        elif not self._holds(row, self.now):
            self._let_go(row.unique.key, row.id)

        if self.successors.get(row.unique.key) == row.id and row.state not in WAITING_STATES:
            del self.successors[row.unique.key]

    def drop(self, row: JobRow) -> None:
        """The row is no longer kept."""
        if row.unique is None:
            return

        key = row.unique.key

        if key in self._until and self.holders.get(key) == row.id:
            self._gone[key] = row
        else:
            self._let_go(key, row.id)

    def _is_free(self, key: str, id: UUID) -> bool:
        """True when nobody holds the key: neither this job nor another one."""
        return self.holders.get(key) != id and self.holder(key, self.now) is None

    def _let_go(self, key: str, id: UUID) -> None:
        if self.holders.get(key) != id:
            return

        if key in self.successors:
            self.holders[key] = self.successors.pop(key)
        else:
            self._free(key)

    def _free(self, key: str) -> None:
        for each in (self.holders, self._until, self._gone):
            each.pop(key, None)

    def _holds(self, row: JobRow, now: float) -> bool:
        """True when the job, as it stands, holds its unique key."""
        if row.unique is None:
            return False

        match row.unique.hold:
            case UniqueWhile.UNFINISHED:
                return not row.state.final
            case UniqueWhile.QUEUED:
                return row.state in WAITING_STATES
            case UniqueWhile.PERIOD:
                return now < self._end_of_period(row.unique, row)

    def _end_of_period(self, unique: Unique, row: JobRow) -> float:
        own = self._until.get(unique.key) if self.holders.get(unique.key) == row.id else None
        return row.enqueued_at + (unique.period or 0.0) if own is None else own
