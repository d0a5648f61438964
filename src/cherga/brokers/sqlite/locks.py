"""Locks of our own on the queue file, beside those of SQLite: they say that the file is in use here, and keep writers apart.

SQLite's locks belong to the process. When anything in it closes a descriptor of the file (another copy of SQLite that looks
into it, a plain copy of the file), the kernel drops all of them, and SQLite in other processes takes itself for the only one:
it empties the shared memory or deletes the log that is in use here. Ours belong to a descriptor ("open file description
locks"), which nobody else closes.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from cherga.brokers.sqlite.place import companions

HAS_LOCKS = sys.platform == "linux"
"""Elsewhere SQLite's own have to do, and nobody cleans up behind others."""

if sys.platform == "linux":
    import fcntl

    SET, READ, WRITE, FREE = fcntl.F_OFD_SETLK, fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
else:
    SET = READ = WRITE = FREE = 0


def words(kind: int, start: int, length: int) -> bytes:
    """A ``struct flock``; a length of 0 means everything from there on."""
    return struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0)


IN_USE = words(READ, 0x40000002, 510)
"""The place where each user of a database holds a read lock; to delete its log needs a write lock there."""
MEMORY_IN_USE = words(READ, 128, 1)
"""The same for the shared memory, which whoever comes first empties."""
OURS = 0x40000200
"""Our locks among ourselves begin here: behind those of SQLite, in a page that never holds data."""
NOT_IN_USE, FREE_OURS = words(FREE, 0, OURS), words(FREE, OURS, 0)


class FileLocks:
    """The locks of one process on one file. All who have it open in the process share them, with their turn to write held.

    The descriptors are closed when nobody has the file open any more: closing one drops SQLite's locks.
    """

    def __init__(self) -> None:
        self._users = 0
        self._file = self._memory = -1
        self.held = False
        """True when the kernel has such locks, and we hold those that say that the file is in use."""
        self.free: Callable[[], object] = bool
        """Let go of all locks among ourselves, in one step of C, which nothing can interrupt."""

    def join(self, path: Path, nap: Callable[[], None]) -> None:
        """Say that the file is in use here; after SQLite has opened it, so that it did what whoever comes first must do.

        While somebody else cleans up, ``nap`` is called, which raises when that takes too long.
        """
        if self._users == 0 and HAS_LOCKS:
            with suppress(OSError):
                self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                self._memory = os.open(companions(path)[1], os.O_RDWR | os.O_CLOEXEC)
                self.held = self._say(self._file, IN_USE, nap) and self._say(self._memory, MEMORY_IN_USE, nap)
                self.free = partial(fcntl.fcntl, self._file, SET, FREE_OURS)

        self._users += 1

    def leave(self) -> bool:
        """A user less; True for the last of those that were known to all, who may clean up. Before SQLite closes the file."""
        self._users -= 1
        last = self.held and self._users == 0

        if last:
            self.held = False

            for descriptor in (self._file, self._memory):
                fcntl.fcntl(descriptor, SET, NOT_IN_USE)

        return last

    @property
    def in_use(self) -> bool:
        """True when anybody in this process has the file open."""
        return self._users > 0

    def forget(self) -> None:
        """Close the descriptors: once nobody has the file open here, or in a forked child, for the locks stay its parent's."""
        descriptors, self._file, self._memory = (self._file, self._memory), -1, -1
        self.held = False

        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def attempt(self, lock: bytes) -> bool:
        """Take a lock on the file (or let go of one), unless another process has it."""
        try:
            fcntl.fcntl(self._file, SET, lock)
        except (BlockingIOError, PermissionError):
            return False

        return True

    def _say(self, descriptor: int, lock: bytes, nap: Callable[[], None]) -> bool:
        while True:
            try:
                fcntl.fcntl(descriptor, SET, lock)
                return True
            except (BlockingIOError, PermissionError):
                nap()
            except OSError:
                return False
