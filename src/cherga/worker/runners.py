"""Where functions run: ``def`` on a pool of threads, ``async def`` on one loop in a thread of its own.

User code runs nowhere else, so that a blocked loop or a busy interpreter holds up no lease and no other part of the engine.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from cherga.worker.assignment import Assignment
from cherga.worker.executor import Executor
from cherga.worker.pace import Pace

logger = logging.getLogger("cherga.worker")

NOT_WAITED_FOR = -1


class Runner(Protocol):
    """Runs assignments, a limited number at a time; further ones wait inside."""

    refill_below: int
    """Ring when no more than this many wait; ``NOT_WAITED_FOR``: do not ring."""
    half: int
    """Where it is time to claim again."""

    def start(self) -> None: ...
    def submit(self, assignments: Sequence[Assignment]) -> None: ...
    def in_hand(self) -> int:
        """How many run or wait here."""
        ...

    def room(self) -> int:
        """How many more to claim."""
        ...

    def waiting(self) -> int:
        """How many have not started."""
        ...

    def take_back(self) -> list[Assignment]:
        """Those that never started."""
        ...

    def let_go(self) -> list[Assignment]:
        """The same, because they would wait too long; no more are wanted ahead until the pace is known again."""
        ...

    def cancel(self, assignment: Assignment) -> bool:
        """End the function where that is possible; False where it can only be asked."""
        ...

    def stop(self) -> None: ...


class ThreadRunner:
    """A fixed pool of threads, each with a slot of its own."""

    def __init__(self, executor: Executor, slots: range, lookahead: float, ring: Callable[[], None]) -> None:
        self.refill_below = NOT_WAITED_FOR
        self.half = 0
        self._executor = executor
        self._slots = slots
        self._ring = ring
        self._pace = Pace(len(slots), lookahead)
        self._waiting: SimpleQueue[Assignment | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._taken_in = 0
        self._ended = [0] * len(slots)
        """By each thread. What was taken in and has not ended is in hand, also between the queue and the thread."""

    def start(self) -> None:
        for place, slot in enumerate(self._slots):
            threading.Thread(target=self._work, args=(place, slot), name=f"cherga-run-{slot}", daemon=True).start()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        self._count(len(assignments))

        for assignment in assignments:
            self._waiting.put(assignment)

    def in_hand(self) -> int:
        return self._taken_in - sum(self._ended)

    def room(self) -> int:
        ahead = self._pace.ahead()
        self.half = ahead // 2
        return len(self._slots) + ahead - self.in_hand()

    def waiting(self) -> int:
        return self._waiting.qsize()

    def let_go(self) -> list[Assignment]:
        self._pace.forget()
        return self.take_back()

    def take_back(self) -> list[Assignment]:
        taken: list[Assignment] = []

        while True:
            try:
                assignment = self._waiting.get_nowait()
            except Empty:
                self._count(-len(taken))
                return taken

            if assignment is not None:
                taken.append(assignment)

    def cancel(self, assignment: Assignment) -> bool:
        return False

    def stop(self) -> None:
        for _ in self._slots:
            self._waiting.put(None)

    def _count(self, number: int) -> None:
        with self._counting:
            self._taken_in += number

    def _work(self, place: int, slot: int) -> None:
        waiting, ended, run, pace = self._waiting, self._ended, self._executor.run, self._pace

        while (assignment := waiting.get()) is not None:
            try:
                run(assignment, slot, pace)
            except BaseException:
                _tell_broken(assignment)

            ended[place] += 1
            del assignment

            if waiting.qsize() <= self.refill_below:
                self.refill_below = NOT_WAITED_FOR
                self._ring()


def _tell_broken(assignment: Assignment) -> None:
    """The thread goes on, even where the fault lies in the logging."""
    with suppress(Exception):
        logger.exception("job %s: its end could not be put down", assignment.job.id, extra={"action": "job.broken"})


class LoopRunner:
    """One event loop for all ``async def`` tasks of the process, so that their pools and clients can be shared."""

    def __init__(self, executor: Executor, slots: range, lookahead: float, ring: Callable[[], None]) -> None:
        self.refill_below = NOT_WAITED_FOR
        self.half = 0
        self._executor = executor
        self._count = len(slots)
        self._ring = ring
        self._pace = Pace(len(slots), lookahead)
        self._waiting: deque[Assignment] = deque()
        self._free = list(reversed(slots))
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="cherga-loop", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        self._waiting.extend(assignments)
        self._loop.call_soon_threadsafe(self._fill)

    def in_hand(self) -> int:
        # In this order: one that begins meanwhile is counted twice rather than not at all.
        return len(self._waiting) + self._count - len(self._free)

    def room(self) -> int:
        ahead = self._pace.ahead()
        self.half = ahead // 2
        return self._count + ahead - self.in_hand()

    def waiting(self) -> int:
        return len(self._waiting)

    def let_go(self) -> list[Assignment]:
        self._pace.forget()
        return self.take_back()

    def take_back(self) -> list[Assignment]:
        taken: list[Assignment] = []

        while self._waiting:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                break

        return taken

    def cancel(self, assignment: Assignment) -> bool:
        # Read once: the loop takes it away at the end of the job.
        if (coroutine := assignment.coroutine) is not None:
            with suppress(RuntimeError):  # the loop is closed: nothing runs there any more
                self._loop.call_soon_threadsafe(coroutine.cancel)

        return True

    def stop(self) -> None:
        self._stopping = True

        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(1.0)

    def _fill(self) -> None:
        """On the loop: start what waits, as far as slots are free."""
        while self._free and self._waiting:
            slot = self._free.pop()

            try:
                assignment = self._waiting.popleft()
            except IndexError:
                self._free.append(slot)
                return

            assignment.coroutine = self._loop.create_task(self._live(assignment, slot), context=self._executor.fresh())

    async def _live(self, assignment: Assignment, slot: int) -> None:
        try:
            await self._executor.arun(assignment, slot, self._pace)
        finally:
            assignment.coroutine = None
            self._free.append(slot)
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._fill()

        if len(self._waiting) <= self.refill_below:
            self.refill_below = NOT_WAITED_FOR
            self._ring()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        try:
            while not self._stopping:
                self._turn()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _turn(self) -> None:
        """Until somebody stops the loop. A coroutine that a job started beside itself can do so by leaving the interpreter."""
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.warning("a coroutine raised %s; the other jobs go on", type(error).__name__, extra={"action": "loop.left"})
