"""Lifelines: each session holds a lock on a file of its own, which the kernel frees when its last process is gone.

A free lock proves that no process of the session lives, within milliseconds and whatever the clocks say. A held one proves
nothing (its process may be stopped, or have handed its lifeline on): then the lease decides.

In the same file, mapped into memory, the process notes what it has begun. So that is known to whoever finds it dead.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from weakref import WeakSet

from cherga.brokers.sqlite.folder import LiveFolder
from cherga.doors.black_box import PLACE, read_box
from cherga.words.session import Begun

HAS_LOCKS = sys.platform != "win32"
"""Elsewhere the lease alone decides."""

if HAS_LOCKS:
    import fcntl

SUFFIX = ".lock"
LONGEST_NAME = 150
TRIES = 20


class Lifelines:
    """The locks of one folder: those that this process holds, and the judgement on all others."""

    def __init__(self, folder: LiveFolder) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        _all.add(self)

    def hold(self, session: str) -> int | None:
        """Hold the lock of this session until it is known to have ended, or this process ends.

        Returns the inode of its file, or None where it cannot be had (no such locks here, or another process has it).
        """
        if session not in self._held:
            descriptor = self._take(_name(session))

            if descriptor is None:
                return None

            self._held[session] = descriptor

        return os.fstat(self._held[session]).st_ino

    def descriptor(self, session: str) -> int | None:
        """The descriptor by which a child process keeps the session alive after its parent; None when it is not held here."""
        return self._held.get(session)

    def black_box(self, session: str, size: int) -> mmap.mmap | None:
        """The file of a session that is held here as memory, all 0; None where it cannot be had."""
        if session not in self._held:
            return None

        with suppress(OSError, ValueError):
            # Opened anew: a mapping keeps its descriptor, and this one must not keep the lock.
            descriptor = os.open(self._folder.join(_name(session)), os.O_RDWR | os.O_CLOEXEC)

            try:
                if os.path.samestat(os.fstat(descriptor), os.fstat(self._held[session])):
                    _allocate(descriptor, size)
                    return mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)

        return None

    def read_box(self, session: str, inode: int | None) -> Begun | None:
        """The jobs that the session has begun; None when that cannot be told."""
        with suppress(OSError), Path(self._folder.join(_name(session))).open("rb") as file:
            whole = file.read()
            return read_box(whole) if os.fstat(file.fileno()).st_ino == inode and len(whole) % PLACE == 0 else None

        return None

    def is_cut(self, session: str, inode: int | None) -> bool:
        """True when the lock is free, that is: nobody of this session lives. False also when that cannot be judged."""
        if not HAS_LOCKS or inode is None or session in self._held:
            return False

        with suppress(OSError):
            descriptor = os.open(self._folder.join(_name(session)), os.O_RDWR | os.O_CLOEXEC)

            try:
                return os.fstat(descriptor).st_ino == inode and _lock(descriptor, fcntl.LOCK_SH)
            finally:
                os.close(descriptor)

        return False

    def clear(self, known: set[str]) -> None:
        """Let go of sessions that have ended, and remove the free lock files of those that nobody knows."""
        for session in self._held.keys() - known:
            os.close(self._held.pop(session))

        names = {_name(session) for session in known}

        for name in self._folder.names():
            if name.endswith(SUFFIX) and name not in names:
                self._clear(name)

    def close(self) -> None:
        """Let go of all locks held here; the sessions can be reaped at once. A forked child leaves them to its parent."""
        while self._held:
            _, descriptor = self._held.popitem()
            os.close(descriptor)

    def _take(self, name: str) -> int | None:
        if not HAS_LOCKS or not self._folder.usable:
            return None

        for _ in range(TRIES):
            descriptor = self._try_to_take(name)

            if descriptor is not None:
                return descriptor

            time.sleep(0.001)  # somebody may be judging it at this moment

        return None

    def _try_to_take(self, name: str) -> int | None:
        path = Path(self._folder.join(name))

        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None

        # Between opening and locking, somebody may have cleared the file: then this lock would be on nothing.
        if _lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
            return descriptor

        os.close(descriptor)
        return None

    def _clear(self, name: str) -> None:
        path = Path(self._folder.join(name))

        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

            try:
                if _lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
                    path.unlink()
            finally:
                os.close(descriptor)


def _name(session: str) -> str:
    name = quote(session, safe="")
    return (name if len(name) <= LONGEST_NAME else hashlib.sha256(session.encode()).hexdigest()) + SUFFIX


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False

    return True


def _allocate(descriptor: int, size: int) -> None:
    """Room on the disk now: a page of memory that later finds none would end the process."""
    os.ftruncate(descriptor, 0)

    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


_all: WeakSet[Lifelines] = WeakSet()


def _leave_to_parent() -> None:
    """A forked child lives longer than its parent, perhaps, and must not keep the parent's sessions alive."""
    for lifelines in list(_all):
        with suppress(OSError):
            lifelines.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
