"""Slates: who follows jobs keeps one in the folder, and who changes a job marks it there before ringing.

A slate has a byte for each slot, and a job's id says which slot is its own. The one who follows writes ``FOLLOWED``, those who
change jobs write ``CHANGED`` over it. So a change costs one look for each process that follows jobs, however many it follows,
and nobody is woken for jobs that he does not follow (but for the few that share a slot).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from uuid import UUID

SLOTS = 1 << 16
ANYBODY = SLOTS
"""The byte that says whether any job is followed at all."""
SIZE = SLOTS + 1

UNKNOWN, FOLLOWED, CHANGED = 0, 1, 2


def slot_of(id: UUID | bytes) -> int:
    """The mark of a job: the end of its id, which is random in most."""
    return id.int & 0xFFFF if isinstance(id, UUID) else id[-2] << 8 | id[-1]


class Slate:
    """The slate of one who follows jobs. Only marking may be done by others."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)

        try:
            # Written, not merely made longer: a page without a place on the disk could not be touched on a full one.
            os.write(descriptor, bytes(SIZE))
            self._bytes = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)

        self._ids: dict[int, set[UUID]] = {}

    def add(self, ids: Iterable[UUID]) -> None:
        """Let changes of these jobs be marked from now on."""
        for id in ids:
            slot = slot_of(id)
            self._ids.setdefault(slot, set()).add(id)

            if self._bytes[slot] == UNKNOWN:  # never over a mark that was just made
                self._bytes[slot] = FOLLOWED

        self._bytes[ANYBODY] = bool(self._ids)

    def discard(self, ids: Iterable[UUID]) -> None:
        """Let changes of these jobs be marked no longer."""
        for id in ids:
            slot = slot_of(id)
            followed = self._ids.get(slot, set())
            followed.discard(id)

            if not followed:
                self._ids.pop(slot, None)
                self._bytes[slot] = UNKNOWN

        self._bytes[ANYBODY] = bool(self._ids)

    def take_changed(self) -> set[UUID]:
        """The jobs in the slots that were marked, which are clean again. Read the jobs afterwards, never before."""
        seen, changed = self._bytes[:SLOTS], set[UUID]()
        slot = seen.find(CHANGED)

        while slot >= 0:
            self._bytes[slot] = FOLLOWED if slot in self._ids else UNKNOWN
            changed |= self._ids.get(slot, set())
            slot = seen.find(CHANGED, slot + 1)

        return changed

    def close(self) -> None:
        """Let go of it; whoever made it unlinks it."""
        self._bytes.close()


class Slates:
    """The slates of all who follow jobs, as those who change jobs see them."""

    def __init__(self) -> None:
        self._opened: dict[str, mmap.mmap] = {}

    def mark(self, path: str, slots: Sequence[int]) -> bool:
        """Mark these slots where they are followed; whether any of them is."""
        slate = self._opened.get(path) or self._open(path)

        if slate is None or not slate[ANYBODY]:
            return False

        followed = [slot for slot in slots if slate[slot]]

        for slot in followed:
            slate[slot] = CHANGED

        return bool(followed)

    def keep(self, paths: Iterable[str]) -> None:
        """Let go of all others. They are not closed: another thread may be marking one."""
        self._opened = {path: self._opened[path] for path in paths if path in self._opened}

    def _open(self, path: str) -> mmap.mmap | None:
        """The slate; None for one that is gone, not yet ready, or cannot be opened for want of descriptors."""
        with suppress(OSError, ValueError):
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))

            try:
                if os.fstat(descriptor).st_size == SIZE:
                    return self._opened.setdefault(path, mmap.mmap(descriptor, SIZE))
            finally:
                os.close(descriptor)

        return None
