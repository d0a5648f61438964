"""Unique keys: who holds them, and who comes next."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cherga.words.job import WAITING_STATES, JobRow
from cherga.words.unique import UniqueWhile


class Keys:
    """Follows the rows: it is told of each that is put or dropped."""

    def __init__(self, rows: Mapping[UUID, JobRow]) -> None:
        self._rows = rows
        self.holders: dict[str, UUID] = {}
        self.successors: dict[str, UUID] = {}
        """Jobs that wait for the end of the holder and get the key from it."""

    def holder(self, key: str, now: float) -> JobRow | None:
        """The job that holds the key."""
        row = self._rows.get(self.holders[key]) if key in self.holders else None

        if row is None or not holds_key(row, now):
            self.holders.pop(key, None)
            return None

        return row

    def successor(self, key: str) -> JobRow | None:
        """The job that waits for the end of the holder."""
        return self._rows[self.successors[key]] if key in self.successors else None

    def note(self, row: JobRow) -> None:
        """The row was put: it takes its key, holds on to it or lets it go."""
        if row.unique is None:
            return

        if holds_key(row, now=row.enqueued_at):
            self.holders.setdefault(row.unique.key, row.id)
        else:
            self._let_go(row.unique.key, row.id)

        if self.successors.get(row.unique.key) == row.id and row.state not in WAITING_STATES:
            del self.successors[row.unique.key]

    def drop(self, row: JobRow) -> None:
        """The row is no longer kept."""
        if row.unique is not None:
            self._let_go(row.unique.key, row.id)

    def _let_go(self, key: str, id: UUID) -> None:
        if self.holders.get(key) != id:
            return

        if key in self.successors:
            self.holders[key] = self.successors.pop(key)
        else:
            del self.holders[key]


def holds_key(row: JobRow, now: float) -> bool:
    """Whether the job, as it stands, holds its unique key."""
    if row.unique is None:
        return False

    match row.unique.hold:
        case UniqueWhile.UNFINISHED:
            return not row.state.final
        case UniqueWhile.QUEUED:
            return row.state in WAITING_STATES
        case UniqueWhile.PERIOD:
            return now < row.enqueued_at + (row.unique.period or 0.0)
