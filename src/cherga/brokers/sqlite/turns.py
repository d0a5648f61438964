"""Turns to write: one thread of a process at a time, and the processes in the order they came.

SQLite leaves it to chance who gets the file next: whoever has just written is quicker than all who sleep, and among many
processes some hardly get through, while all of them look again and again. So who finds the file taken draws a number, and
sleeps until the one before it rings. Without a queue a turn costs three short calls of the kernel.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import apsw

from cherga.brokers.sqlite.doorbell import Doorbell
from cherga.brokers.sqlite.locks import FREE, OURS, READ, WRITE, FileLocks, words
from cherga.words.clock import SystemClock

T = TypeVar("T")

AT_A_TURN = 8
"""Writes for which whoever has its turn goes on, while the next one has not woken up yet: on a busy machine that takes long."""
STANDSTILL = 0.05
"""Seconds after which those are passed over who have their turn and do not write: they may have been stopped."""
SHORTEST_NAP = 0.00005
LONGEST_NAP = 0.002

QUEUE, WRITING, DRAWING, NUMBERS = OURS, OURS + 1, OURS + 2, 1 << 50
WRITE_AT_ONCE, TAKE_WRITING = words(WRITE, QUEUE, 2), words(WRITE, WRITING, 1)
STAND_IN_QUEUE, LEAVE_QUEUE = words(READ, QUEUE, 1), words(FREE, QUEUE, 1)
DRAW, DRAWN = words(WRITE, DRAWING, 1), words(FREE, DRAWING, 1)

TOPIC = "turn"
LARGEST = 1 << 48
MOST_CALLED = 64
"""Numbers in a row that are called in vain at most; those behind them look by themselves."""


class Line:
    """The place of a process in the queue: a small file in which all keep count (the last number that was drawn, the
    last that had its turn, whom to ring for a number), and a bell. What is wrong in it costs order, never a write."""

    BELLS, BELL = 4096, 8
    """The number of bells that there is room for, and the bytes of each."""

    def __init__(self, doorbell: Doorbell) -> None:
        """``OSError`` where there can be none."""
        self._doorbell = doorbell
        self._bell = doorbell.hang_up(TOPIC)
        self._token = bytes.fromhex(self._bell.token)
        self._file = os.open(doorbell.path("turns"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def drawn(self) -> int:
        """The last number that was drawn."""
        return int.from_bytes(os.pread(self._file, 6, 0), "little")

    @property
    def done(self) -> int:
        """The last number that had its turn."""
        return int.from_bytes(os.pread(self._file, 6, 8), "little")

    def note_drawn(self, number: int) -> None:
        """Note that this number is taken, by whoever hears this bell."""
        os.pwrite(self._file, self._token, self._place(number))
        os.pwrite(self._file, (number % LARGEST).to_bytes(8, "little"), 0)

    def await_ring(self, timeout: float) -> None:
        """Sleep until somebody rings here, or the time is over."""
        self._bell.wait(timeout)

    def call_after(self, number: int) -> None:
        """Note that this number has had its turn: ring for the next that hears it."""
        os.pwrite(self._file, (number % LARGEST).to_bytes(8, "little"), 8)

        for following in range(number + 1, min(self.drawn, number + MOST_CALLED) + 1):
            if self._doorbell.ring_bell(TOPIC, os.pread(self._file, self.BELL, self._place(following)).hex()):
                break

    def close(self) -> None:
        """Give up the bell and the file."""
        self._bell.close()
        os.close(self._file)

    def _place(self, number: int) -> int:
        return 16 + number % self.BELLS * self.BELL


class Transaction:
    """A write transaction under way.

    A signal handler or a ``__del__`` may write in the middle of it, on the same thread. That write cannot wait for this one,
    and must be stored when it returns: so this one is undone, and begins again once the other is over.
    """

    __slots__ = ("db", "depth", "outer", "undone")

    def __init__(self, db: apsw.Connection, outer: Transaction | None) -> None:
        self.db = db
        self.outer = outer
        self.depth: int = 0 if outer is None else outer.depth + 1
        self.undone = False

    def undo_outer(self) -> None:
        """Let those in the middle of which it comes give the file free; nothing that they go on to write is stored."""
        outer = self.outer

        while outer is not None:
            if outer.db.in_transaction:
                outer.undone = True
                outer.db.pragma("query_only", True)
                outer.db.execute("rollback")

            outer = outer.outer

    def begin_again(self) -> None:
        """Forget that it was undone."""
        self.undone = False
        self.db.pragma("query_only", False)


class Turn:
    """The right to write to one file, for the threads of this process and beside other processes."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """The turn among the threads of this process; a thread may take it again."""
        self.locks = FileLocks()
        self.under_way: Transaction | None = None
        """The innermost write of the thread that has the turn."""
        self.number = 0
        """The number that this process has drawn for the turn that it waits for or has; 0: none, there was no queue."""
        self._left = 0
        """Writes that this process may still do at its turn."""
        self._line: Line | None = None

    def hold(self, work: Callable[[], T], deadline: float) -> T:
        """The answer of ``work``, called while no other thread of this process writes. ``apsw.BusyError`` when they go on until
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

    def take(self, deadline: float, doorbell: Doorbell, nested: bool) -> None:
        """Take the right among processes; ``apsw.BusyError`` when it cannot be had by then. With ``lock`` held.

        ``nested``: this thread may have it already, further up its stack. ``locks.free`` gives it back, also after a call that
        was interrupted at any point, and ``call_next`` tells the next in the queue.
        """
        locks = self.locks

        if not locks.held or ((nested or self._goes_on()) and locks.attempt(TAKE_WRITING)):
            return

        if locks.attempt(WRITE_AT_ONCE):
            locks.attempt(LEAVE_QUEUE)
            self._left = 0
        else:
            self._stand_in_queue(Naps(deadline), doorbell)

    def call_next(self) -> None:
        """Ring for the next in the queue; after the locks are free."""
        number, self.number = self.number, 0

        if self._line is not None:
            with suppress(OSError):
                self._line.call_after(number)

    def close(self) -> None:
        """Close what it opened, unless somebody in this process still has the file open. After SQLite has closed it."""
        if self.locks.in_use:
            return

        self.locks.forget()
        line, self._line = self._line, None

        if line is not None:
            line.close()

    def _goes_on(self) -> bool:
        self._left -= 1
        return self._left > 0

    def _stand_in_queue(self, naps: Naps, doorbell: Doorbell) -> None:
        while not self.locks.attempt(STAND_IN_QUEUE):  # as good as free: it is taken together with the right to write
            naps.nap()

        with suppress(OSError):  # where there can be no line, chance decides
            if self._line is None:
                self._line = Line(doorbell)

            self._draw(self._line, naps)
            self._await_call(self._line, naps)

        while not self.locks.attempt(TAKE_WRITING):
            naps.nap()

        self._left = AT_A_TURN
        self.locks.attempt(LEAVE_QUEUE)

    def _draw(self, line: Line, naps: Naps) -> None:
        """Hold the lock of a number that nobody else has."""
        while not self.locks.attempt(DRAW):
            naps.nap()

        try:
            number = line.drawn + 1

            while not self.locks.attempt(_number(number)):
                number += 1

            line.note_drawn(number)
            self.number = number
        finally:
            self.locks.attempt(DRAWN)

    def _await_call(self, line: Line, naps: Naps) -> None:
        """Wait until the number before is done with, or nobody writes though it is somebody's turn."""
        done = -1

        while not self.locks.attempt(_number(self.number - 1)):
            before, done = done, line.done

            if done == before and self.locks.attempt(TAKE_WRITING):
                break

            line.await_ring(naps.clip(STANDSTILL))


class Naps:
    """Short naps, longer and longer, until the time is up."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._length = SHORTEST_NAP

    def nap(self) -> None:
        """Sleep a little; ``apsw.BusyError`` when the time is up."""
        time.sleep(self.clip(random.uniform(0.8, 1.2) * self._length))
        self._length = min(1.3 * self._length, LONGEST_NAP)

    def clip(self, length: float) -> float:
        """At most what is left of the time; ``apsw.BusyError`` when it is up."""
        left = _left(self._deadline)

        if left <= 0:
            raise apsw.BusyError("others write all the time, or one of them does not end")

        return min(length, left)


def _left(deadline: float) -> float:
    return max(0.0, min(deadline - SystemClock.monotonic(), threading.TIMEOUT_MAX))


def _number(number: int) -> bytes:
    return words(WRITE, NUMBERS + number, 1)


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
