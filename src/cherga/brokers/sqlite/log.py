"""The write-ahead log, as far as we see to it beside SQLite: it is synced after a commit, when the file is free for others
again, and made longer before it is full.

What is committed is seen by others at once, and acknowledged after the sync. A sync of a file that has grown takes about
twice as long as one of a file that was written over, for its length has to be stored too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from math import inf

SYNC: Callable[[int], object] | None = getattr(os, "fdatasync", None)
"""The call that syncs a descriptor; None where the system has none that SQLite would use, too."""
FRAME_HEAD = 24
"""Bytes that stand in the log before each page."""
STEP = 256 << 10
"""Bytes by which the log is made longer."""


class Log:
    """The log of one file."""

    def __init__(self, path: str, longest: int, sync: Callable[[int], object] | None) -> None:
        """``longest``: bytes after which it is written from its beginning again. ``sync``: syncs a descriptor; None where
        nothing is to be synced here: then the log is left alone (where files that are open cannot be deleted, too)."""
        self._sync = sync
        self._longest = longest
        self._file = -1 if sync is None else os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._length = 0 if sync is None else self.length
        """The length when it was looked at last."""
        self._syncing = threading.RLock()
        self._tickets = count(1)
        self._synced: float = 0
        """The ticket up to which everything is on the disk."""
        self.doubtful = False
        """True after a failed sync: a later one says nothing of what was to be synced before."""

    @property
    def can_sync(self) -> bool:
        """True when ``sync`` can be called here."""
        return self._sync is not None

    @property
    def length(self) -> int:
        """Its length in bytes."""
        return os.fstat(self._file).st_size

    def sync(self) -> None:
        """Return when all that was committed before this call is on the disk; callers at the same time share a sync.

        ``OSError`` when it may not be there.
        """
        ticket = next(self._tickets)

        with self._syncing:
            if self._synced < ticket:
                self._sync_to(next(self._tickets))

    def make_longer(self) -> None:
        """Put zeros behind its end if it has grown since this was called before. Within a write transaction alone.

        SQLite takes what is no frame for the end of the log, as it does with frames of earlier rounds.
        """
        length = self.length

        if length != self._length and length < self._longest:
            with suppress(OSError):  # the disk is full: SQLite will say so, when it has something to write
                os.pwrite(self._file, bytes(STEP), length)

            self._length = self.length

    def close(self) -> None:
        """Sync what threads have committed that have not come to it yet, and close the descriptor: SQLite holds no lock on the
        log that this could drop. Once, with the turn to write held."""
        if self.can_sync:
            with self._syncing:
                with suppress(OSError):  # told to those who come to it
                    self._sync_to(inf)

                os.close(self._file)

    def _sync_to(self, ticket: float) -> None:
        if self.doubtful or self._sync is None:
            raise OSError("an earlier sync has failed")

        try:
            self._sync(self._file)
        except OSError:
            self.doubtful = True
            raise

        self._synced = max(ticket, self._synced)
