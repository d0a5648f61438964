"""A crew: jobs that wait, and the threads that take them. Short jobs go to one thread, one after the other; others to all.

Threads that only hand the interpreter round slow each other down. So one thread takes the lead, and another stands by. Where
the leader's jobs turn out to wait (for a file, the network, the clock), or one of them takes longer than a moment, all
threads work together for a while; then one is tried again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from queue import Empty

from cherga.words.clock import Clock
from cherga.worker.assignment import Assignment

Item = Assignment | None
"""A job, or the end of whichever thread takes it."""

GRACE = 0.002
"""Seconds without a start after which the one who stands by calls all to work."""
STRETCH = 8
"""Jobs of the leader between two looks at how it spends its time."""
MOMENT = 0.001
"""Seconds after which such a look is taken anyway."""
BUSY = 0.75
"""Share of the time for which a process was at work that does not merely wait for one thing after the other."""
FIRST_TERM, LONGEST_TERM = 0.02, 2.0
"""Seconds that all work together, longer and longer while jobs still wait at the end of them."""


class Post:
    """A thread's place in the crew."""

    __slots__ = ("called", "cpu", "left", "since", "whole")

    def __init__(self) -> None:
        self.called = threading.Lock()
        self.called.acquire()
        self.rest()

    def call(self) -> None:
        """Wake the thread, unless it has been called and is not yet awake."""
        if self.called.locked():
            self.called.release()

    def rest(self) -> None:
        """A stretch of work is over."""
        self.left = 1
        self.since = self.cpu = self.whole = 0.0

    def waited(self, now: float) -> bool | None:
        """True when the thread was idle for most of the stretch that ends here; None when this one only begins.

        Where the process was busy all the same, the thread only waited for its turn at the interpreter, and more threads
        would make that longer.
        """
        cpu, whole = time.thread_time(), time.process_time()
        spent, worked, busy, known = now - self.since, cpu - self.cpu, whole - self.whole, self.since > 0.0
        self.left, self.since, self.cpu, self.whole = STRETCH, now, cpu, whole
        return worked < spent / 2 and busy < spent * BUSY if known else None


class Crew:
    """Each thread asks ``next`` for its next job, and says ``done`` after it."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._waiting: deque[Item] = deque()
        self._lock = threading.Lock()
        self._resting: list[Post] = []
        """The last one to rest is called first: what it needs is still at hand."""
        self._lead: Post | None = None
        self._standby: Post | None = None
        self._together = False
        self._until = 0.0
        self._term = FIRST_TERM
        self._idle = 0.0
        """The share, from 0 to 1, of the last stretches in which the leader waited."""
        self._taken = 0
        """Lost updates do no harm: that it changes is enough."""
        self._taken_at = 0.0
        self.qsize = self._waiting.__len__

    # --- from outside

    def put(self, *items: Item) -> None:
        """Put down what is to be taken, in this order."""
        self.put_all(items)

    def put_all(self, items: Iterable[Item]) -> None:
        """The same for many."""
        self._waiting.extend(items)

        with self._lock:
            self._call_help()

    def get_nowait(self) -> Item:
        """The next one, for whoever is no thread of the crew. Raises ``Empty``."""
        try:
            return self._waiting.popleft()
        except IndexError:
            raise Empty from None

    # --- from the threads

    def next(self, seat: Post) -> Item:
        """Wait for the next one that this thread is to take."""
        waiting = self._waiting

        while True:
            if self._lead is seat or self._together:
                try:
                    item = waiting.popleft()
                except IndexError:
                    pass
                else:
                    self._taken += 1

                    if waiting and self._resting and self._standby is None:
                        with self._lock:
                            self._call_help()

                    return item

            self._rest(seat)

    def done(self, seat: Post, now: float) -> None:
        """Note that what was taken last has ended, at this monotonic time."""
        if self._together:
            if now >= self._until:
                self._together = False  # whoever asks first takes the lead

            return

        self._taken_at = now

        if self._lead is not seat:
            return

        seat.left -= 1

        if seat.left <= 0 or now - seat.since > MOMENT:
            self._judge(seat.waited(now), now)

    def leave(self, seat: Post) -> None:
        """The thread ends."""
        with self._lock:
            if self._lead is seat:
                self._lead = None

            self._call_help()

    # --- who works

    def _judge(self, waited: bool | None, now: float) -> None:
        if waited is None:
            return

        self._idle = (self._idle + waited) / 2

        if self._idle > 0.5:
            with self._lock:
                self._work_together(now)
        elif not waited:
            self._term = FIRST_TERM

    def _work_together(self, now: float) -> None:
        self._until = now + self._term
        self._term = min(LONGEST_TERM, 2 * self._term)
        self._idle = 0.0
        self._lead = None
        self._together = True
        self._call_help()

    def _call_help(self) -> None:
        """With the lock: have somebody take what waits, or stand by where somebody does."""
        if not self._waiting:
            return

        if not self._together and self._lead is not None:
            if self._monotonic() - self._taken_at <= GRACE:
                self._call_standby()
                return

            self._work_together(self._monotonic())
        elif (seat := self._next_seat()) is not None:
            self._lead = None if self._together else seat
            self._taken_at = self._monotonic()
            seat.call()

    def _next_seat(self) -> Post | None:
        seat, self._standby = self._standby, None
        return seat or (self._resting.pop() if self._resting else None)

    def _call_standby(self) -> None:
        if self._standby is None and self._resting:
            self._standby = self._resting.pop()
            self._standby.call()

    def _rest(self, seat: Post) -> None:
        """Until this thread is called, if there is nothing for it to do now."""
        seat.rest()

        with self._lock:
            if self._lead is seat:
                self._lead = None

            if self._waiting and (self._together or self._lead is None):
                self._lead = None if self._together else seat
                self._taken_at = self._monotonic()
                return

            stands_by = bool(self._waiting) and self._standby is None

            if stands_by:
                self._standby = seat
            else:
                self._resting.append(seat)

        if not stands_by:
            seat.called.acquire()

        while self._standby is seat:
            self._stand_by(seat)

    def _stand_by(self, seat: Post) -> None:
        """A look: nobody has taken anything for a while, so that more threads are of use."""
        seen = self._taken
        called = seat.called.acquire(timeout=GRACE)

        with self._lock:
            if self._standby is not seat:  # called to work, perhaps a moment after the look
                if not called:
                    seat.called.acquire()
            elif not self._waiting:
                self._standby = None
            elif self._taken == seen:
                self._standby = None
                self._work_together(self._monotonic())
