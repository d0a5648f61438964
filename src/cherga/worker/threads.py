"""A pool of threads for ``def`` tasks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from queue import Empty

from cherga.worker.assignment import Assignment
from cherga.worker.crew import Crew, Post
from cherga.worker.executor import Executor
from cherga.worker.pace import Pace
from cherga.worker.runners import NOT_WAITED_FOR, tell_broken
from cherga.worker.turns import start_thread

logger = logging.getLogger("cherga.worker")

LEFT_TO_OTHERS = 4
"""Threads that a runner does without where there is no room for all, so that the process can start others."""


class ThreadRunner:
    """A fixed pool of threads, each with a slot of its own."""

    def __init__(
        self, executor: Executor, slots: range, pace: Pace, ring: Callable[[], None], spare: Sequence[int] = ()
    ) -> None:
        self.refill_below = NOT_WAITED_FOR
        self.ahead = 0
        self.lent = 0
        self._alive = 0
        self._spare = deque(spare)
        self._executor = executor
        self._slots = slots
        self._ring = ring
        self._pace = pace
        self._waiting = Crew(executor.clock)
        self._regular = len(slots)
        """Threads that are not lent."""
        self._starting = threading.Lock()
        self._counting = threading.Lock()
        self._taken_in = 0
        self._ended = dict.fromkeys((*slots, *spare), 0)
        """The ends by slot. A job that was taken in and has not ended is in hand, also between the queue and the thread."""

    def start(self) -> None:
        """Start the threads, as many as there is room for. Raises ``RuntimeError`` when there is room for none."""
        with self._starting:
            if self._alive:
                return

            started = sum(1 for _ in takewhile(self._start_thread, self._slots))
            self._regular = started if started == len(self._slots) else max(1, started - LEFT_TO_OTHERS)

        if started < len(self._slots):
            logger.error(
                "%d of %d threads are used for jobs: there is no room for more",
                min(started, self._regular),
                len(self._slots),
                extra={"action": "threads.few"},
            )

        for _ in range(started - self._regular):
            self._waiting.put(None)

        if not started:
            raise RuntimeError("expected room for one thread at least, but none can be started")

    def lend(self) -> bool:
        """Start a thread more, for one waits for another job; False when all spare slots are lent, or no thread can be had."""
        try:
            slot = self._spare.pop()
        except IndexError:
            return False

        if not self._start_thread(slot):
            self._spare.append(slot)
            return False

        with self._counting:
            self.lent += 1

        self._ring()
        return True

    def reclaim(self) -> None:
        """Let one thread end, after what was already claimed for it."""
        with self._counting:
            self.lent -= 1

        self._waiting.put(None)

    def is_here(self) -> bool:
        """A thread that waits holds up no other."""
        return False

    def submit(self, assignments: Sequence[Assignment]) -> None:
        if not self.in_hand():
            self._pace.resume()

        self._count(len(assignments))

        self._waiting.put_all(assignments)

        if not self._alive:
            with suppress(RuntimeError):  # the jobs wait here until they are given back
                self.start()

    def in_hand(self) -> int:
        return self._taken_in - sum(self._ended.values())

    def room(self) -> int:
        in_hand = self.in_hand()
        self.ahead = self._pace.ahead(busy=in_hand > 0)
        return self._regular + self.lent + self.ahead - in_hand

    def free(self) -> int:
        """Slots without a job; below 0 when more are in hand."""
        return self._regular + self.lent - self.in_hand()

    def waiting(self) -> int:
        return self._waiting.qsize()

    def hurry(self) -> None:
        """Start all as soon as they can."""

    def let_go(self) -> list[Assignment]:
        self._pace.forget()
        return self.take_back()

    def take_back(self) -> list[Assignment]:
        taken: list[Assignment | None] = []

        with suppress(Empty):
            while True:
                taken.append(self._waiting.get_nowait())

        for _ in range(taken.count(None)):
            self._waiting.put(None)

        back = [assignment for assignment in taken if assignment is not None]
        self._count(-len(back))
        return back

    def cancel(self, assignment: Assignment) -> bool:
        return False

    def stop(self) -> None:
        self._waiting.put_all([None] * self._alive)

    def _start_thread(self, slot: int) -> bool:
        with self._counting:
            self._alive += 1

        if start_thread(partial(self._work, slot), f"cherga-run-{slot}") is not None:
            return True

        with self._counting:
            self._alive -= 1

        return False

    def _count(self, number: int) -> None:
        with self._counting:
            self._taken_in += number

    def _work(self, slot: int) -> None:
        waiting, ended, run, note_end, seat = self._waiting, self._ended, self._executor.run, self._pace.ended, Post()

        while (assignment := waiting.next(seat)) is not None:
            try:
                run(assignment, slot)
            except BaseException as error:
                tell_broken(assignment, error)

            ended[slot] += 1
            waiting.done(seat, note_end())
            del assignment

            if waiting.qsize() <= self.refill_below:
                self.refill_below = NOT_WAITED_FOR
                self._ring()

        waiting.leave(seat)

        # Whichever thread is told to end: slots are all alike.
        self._spare.append(slot)

        with self._counting:
            self._alive -= 1
