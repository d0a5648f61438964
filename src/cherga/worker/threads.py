"""A pool of threads for ``def`` tasks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from cherga.worker.assignment import Assignment
from cherga.worker.executor import Executor
from cherga.worker.pace import Pace
from cherga.worker.runners import NOT_WAITED_FOR

logger = logging.getLogger("cherga.worker")


class ThreadRunner:
    """A fixed pool of threads, each with a slot of its own."""

    def __init__(
        self, executor: Executor, slots: range, lookahead: float, ring: Callable[[], None], spare: Sequence[int] = ()
    ) -> None:
        self.refill_below = NOT_WAITED_FOR
        self.half = 0
        self.lent = 0
        self._alive = 0
        self._spare = deque(spare)
        self._executor = executor
        self._slots = slots
        self._ring = ring
        self._pace = Pace(len(slots), lookahead)
        self._waiting: SimpleQueue[Assignment | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._taken_in = 0
        self._ended = dict.fromkeys((*slots, *spare), 0)
        """By each slot. What was taken in and has not ended is in hand, also between the queue and the thread."""

    def start(self) -> None:
        for slot in self._slots:
            self._start_thread(slot)

    def lend(self) -> bool:
        """Start a thread more, for one waits for another job; False when all spare slots are lent."""
        try:
            slot = self._spare.pop()
        except IndexError:
            return False

        with self._counting:
            self.lent += 1

        self._start_thread(slot)
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
        if not self._alive:
            self.start()

        self._count(len(assignments))

        for assignment in assignments:
            self._waiting.put(assignment)

    def in_hand(self) -> int:
        return self._taken_in - sum(self._ended.values())

    def room(self) -> int:
        ahead = self._pace.ahead()
        self.half = ahead // 2
        return len(self._slots) + self.lent + ahead - self.in_hand()

    def free(self) -> int:
        """Slots without a job; below 0 when more are in hand."""
        return len(self._slots) + self.lent - self.in_hand()

    def waiting(self) -> int:
        return self._waiting.qsize()

    def hurry(self) -> None:
        """All start as soon as they can."""

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
        for _ in range(self._alive):
            self._waiting.put(None)

    def _start_thread(self, slot: int) -> None:
        with self._counting:
            self._alive += 1

        threading.Thread(target=self._work, args=(slot,), name=f"cherga-run-{slot}", daemon=True).start()

    def _count(self, number: int) -> None:
        with self._counting:
            self._taken_in += number

    def _work(self, slot: int) -> None:
        waiting, ended, run, pace = self._waiting, self._ended, self._executor.run, self._pace

        while (assignment := waiting.get()) is not None:
            try:
                run(assignment, slot, pace)
            except BaseException:
                _tell_broken(assignment)

            ended[slot] += 1
            del assignment

            if waiting.qsize() <= self.refill_below:
                self.refill_below = NOT_WAITED_FOR
                self._ring()

        # Whichever thread is told to end: slots are all alike.
        self._spare.append(slot)

        with self._counting:
            self._alive -= 1


def _tell_broken(assignment: Assignment) -> None:
    """The thread goes on, even where the fault lies in the logging."""
    with suppress(Exception):
        logger.exception("job %s: its end could not be put down", assignment.job.id, extra={"action": "job.broken"})
