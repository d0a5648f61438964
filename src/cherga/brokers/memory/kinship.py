"""Kinship: parents, children, and jobs that are kept for others."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cherga.words.job import JobRow
from cherga.words.push import GROUP_TASK


class Kinship:
    """Follows the rows: it is told of each that is put or dropped.

    An edge stands until the job that waits is final, that of a group until it is dropped: so long the other is kept.
    """

    def __init__(self) -> None:
        self.children: dict[UUID, dict[UUID, None]] = {}
        self._edges: dict[UUID, tuple[UUID, ...]] = {}
        self._kept_for: dict[UUID, set[UUID]] = {}

    def note(self, before: JobRow | None, row: JobRow) -> list[UUID]:
        """The row was put; return those that are no longer kept for it."""
        if before is not None and before.parent != row.parent:
            self._leave(before)

        if row.parent is not None:
            self.children.setdefault(row.parent, {})[row.id] = None

        return self._cut(row.id) if row.state.final and row.task != GROUP_TASK else []

    def drop(self, row: JobRow) -> list[UUID]:
        """The row is no longer kept; return those that are no longer kept for it."""
        self._leave(row)
        self._kept_for.pop(row.id, None)
        return self._cut(row.id)

    def tie(self, id: UUID, parents: Iterable[UUID]) -> None:
        """The job waits for these, or is the group of these."""
        self._edges[id] = tuple(parents)

        for parent in self._edges[id]:
            self._kept_for.setdefault(parent, set()).add(id)

    def awaited_by(self, id: UUID) -> Iterable[UUID]:
        """The jobs that this one waits for, or is the group of."""
        return self._edges.get(id, ())

    def is_kept(self, id: UUID) -> bool:
        """True when the job must be kept for another."""
        return id in self._kept_for

    def _leave(self, row: JobRow) -> None:
        if row.parent in self.children:
            siblings = self.children[row.parent]
            siblings.pop(row.id, None)

            if not siblings:
                del self.children[row.parent]

    def _cut(self, id: UUID) -> list[UUID]:
        return [parent for parent in self._edges.pop(id, ()) if self._is_last(parent, id)]

    def _is_last(self, parent: UUID, id: UUID) -> bool:
        others = self._kept_for.get(parent, set())
        others.discard(id)

        if not others:
            self._kept_for.pop(parent, None)

        return not others
