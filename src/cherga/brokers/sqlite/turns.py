"""Whose turn it is to write: one thread of a process at a time, and the processes in the order they came.

SQLite leaves it to chance who gets the file next: whoever has just written is quicker than all who sleep, and among many
processes some hardly get through, while all of them look again and again. So who finds the file taken draws a number, and those
far from their turn sleep longer. Without anybody else a turn costs three short calls of the kernel.
"""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw
from msgspec import Struct

from cherga.brokers.sqlite.locks import FREE, OURS, READ, WRITE, FileLocks, words
from cherga.words.clock import SystemClock

T = TypeVar("T")

SHORTEST_NAP = 0.00005
LONGEST_NAP = 0.02
STANDSTILL = 0.05
"""Seconds after which those are passed over who have their turn and do not write: they may have been stopped."""

QUEUE, WRITING, DRAWING, NUMBERS = OURS, OURS + 1, OURS + 2, 1 << 50
WRITE_AT_ONCE, TAKE_WRITING = words(WRITE, QUEUE, 2), words(WRITE, WRITING, 1)
STAND_IN_QUEUE, LEAVE_QUEUE = words(READ, QUEUE, 1), words(FREE, QUEUE, 1)
DRAW, DRAWN = words(WRITE, DRAWING, 1), words(FREE, DRAWING, 1)


class Calls(Struct, frozen=True):
    """The last number that was drawn, the last one that had its turn, and how long a turn takes (seconds, smoothed)."""

    drawn: int = 0
    done: int = 0
    pace: float = 0.0


class Counter:
    """The small file in which the processes of a queue keep count. A wrong one costs order, never a write."""

    NUMBER, CALLED = struct.Struct("q"), struct.Struct("qd")

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> Calls:
        """How it stands."""
        stored = os.pread(self._file, 24, 0).ljust(24, b"\0")
        return Calls(*self.NUMBER.unpack_from(stored), *self.CALLED.unpack_from(stored, 8))

    def note_drawn(self, number: int) -> None:
        """This number is taken."""
        os.pwrite(self._file, self.NUMBER.pack(number), 0)

    def note_done(self, number: int, pace: float) -> None:
        """The turn of this number is over."""
        os.pwrite(self._file, self.CALLED.pack(number, pace), 8)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Turn:
    """The right to write to one file, for the threads of this process and beside other processes."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Of the threads of this process; a thread may take it again."""
        self.locks = FileLocks()
        self._counter: Counter | None = None
        self.number = 0
        """What this process has drawn for the turn that it waits for or has; 0: nothing, there was no queue."""
        self._since = 0.0

    def hold(self, work: Callable[[], T], deadline: float) -> T:
        """What ``work`` returns, called while no other thread of this process writes. ``apsw.BusyError`` when they go on until
        then."""
        lock = self.lock

        # Giving back is one step of C, as is taking: a thread may be stopped between any other two.
        try:
            if not (lock.acquire(False) or lock.acquire(timeout=_left(deadline))):
                raise apsw.BusyError("another thread writes all the time")

            return work()
        finally:
            try:  # noqa: SIM105 (which is more than one step)
                lock.release()
            except RuntimeError:
                pass  # it was never had

    def take(self, deadline: float, live: Path, nested: bool) -> None:
        """Take the right among processes; ``apsw.BusyError`` when it cannot be had by then. With ``lock`` held.

        ``live``: the folder in which processes keep count. ``nested``: this thread may have it already, further up its stack.
        ``note_done`` and ``locks.free`` give it back, also after a call that was interrupted at any point.
        """
        locks = self.locks

        if not locks.held or (nested and locks.attempt(TAKE_WRITING)):
            return

        if locks.attempt(WRITE_AT_ONCE):
            locks.attempt(LEAVE_QUEUE)
        else:
            self._stand_in_queue(deadline, live)

    def note_done(self) -> None:
        """Tell those in the queue that the next number is called."""
        number, self.number, since, self._since = self.number, 0, self._since, 0.0

        if since and self._counter is not None:
            pace = self._count().pace
            took = SystemClock.monotonic() - since

            with suppress(OSError):
                self._counter.note_done(number, pace + (took - pace) / 8)

    def close(self) -> None:
        """Close what it opened, unless somebody in this process still has the file open. After SQLite has closed it."""
        if self.locks.in_use:
            return

        self.locks.forget()
        counter, self._counter = self._counter, None

        if counter is not None:
            counter.close()

    def _stand_in_queue(self, deadline: float, live: Path) -> None:
        naps = Naps(deadline)

        while not self.locks.attempt(STAND_IN_QUEUE):  # as good as free: it is taken together with the right to write
            naps.nap()

        number = self._draw(naps, live)

        if number is not None:
            self._await_call(number, naps)

        while not self.locks.attempt(TAKE_WRITING):
            naps.nap()

        self._since = SystemClock.monotonic()
        self.locks.attempt(LEAVE_QUEUE)

    def _draw(self, naps: Naps, live: Path) -> int | None:
        """Hold the lock of a number that nobody else has; None when no count can be kept."""
        while not self.locks.attempt(DRAW):
            naps.nap()

        try:
            if self._counter is None:
                self._counter = Counter(live / "turns")

            number = self._counter.read().drawn + 1

            while not self.locks.attempt(_number(WRITE, number)):
                number += 1

            self._counter.note_drawn(number)
        except OSError:
            return None
        finally:
            self.locks.attempt(DRAWN)

        self.number = number
        return number

    def _await_call(self, number: int, naps: Naps) -> None:
        """Wait until the number before is done with, or nobody writes though it is somebody's turn."""
        done, since = -1, 0.0

        while not self.locks.attempt(_number(WRITE, number - 1)):
            calls = self._count()

            if calls.done != done:
                done, since = calls.done, SystemClock.monotonic()
            elif SystemClock.monotonic() - since > STANDSTILL and self.locks.attempt(TAKE_WRITING):
                break

            naps.nap((number - done - 1) * calls.pace / 2)

    def _count(self) -> Calls:
        try:
            return Calls() if self._counter is None else self._counter.read()
        except OSError:
            return Calls()


class Naps:
    """Short naps until the time is up."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def nap(self, wish: float = 0.0) -> None:
        """Sleep about as long as is wished, within bounds; ``apsw.BusyError`` when the time is up."""
        if not self.nap_in_time(wish):
            raise apsw.BusyError("others write all the time, or one of them does not end")

    def nap_in_time(self, wish: float = 0.0) -> bool:
        """Sleep about as long as is wished, within bounds; False when the time is up."""
        left = _left(self._deadline)

        if left > 0:
            time.sleep(min(left, random.uniform(0.8, 1.2) * min(max(wish, SHORTEST_NAP), LONGEST_NAP)))

        return left > 0


def _left(deadline: float) -> float:
    return max(0.0, min(deadline - SystemClock.monotonic(), threading.TIMEOUT_MAX))


def _number(kind: int, number: int) -> bytes:
    return words(kind, NUMBERS + number, 1)


def find_turn(identity: tuple[int, int]) -> Turn:
    """The turn to write to the file with this device and inode; one for the whole process."""
    return _turns.setdefault(identity, Turn())


def _begin_anew() -> None:
    for turn in _turns.values():
        turn.locks.forget()

    _turns.clear()


_turns: dict[tuple[int, int], Turn] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
