"""Where functions run: ``def`` on a pool of threads, ``async def`` on one loop in a thread of its own.

User code runs nowhere else, so that a blocked loop or a busy interpreter holds up no lease and no other part of the engine.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from cherga.worker.assignment import Assignment
from cherga.worker.executor import Executor
from cherga.worker.pace import Pace

T = TypeVar("T")

logger = logging.getLogger("cherga.worker")

NOT_WAITED_FOR = -1
LONGEST_FAREWELL = 0.5
"""Seconds that coroutines which outlive the loop get to end."""


class Runner(Protocol):
    """Runs assignments, a limited number at a time; further ones wait inside."""

    refill_below: int
    """Ring when no more than this many wait; ``NOT_WAITED_FOR``: do not ring."""
    half: int
    """Where it is time to claim again."""
    lent: int
    """Slots lent by jobs that wait for other jobs."""

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

    def hurry(self) -> None:
        """Start what waits for more than a slot: nothing more is claimed for now."""
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


class LoopRunner:
    """One event loop for all ``async def`` tasks of the process, so that their pools and clients can be shared."""

    def __init__(
        self, executor: Executor, slots: range, lookahead: float, ring: Callable[[], None], spare: Sequence[int] = ()
    ) -> None:
        self.refill_below = NOT_WAITED_FOR
        self.half = 0
        self.lent = 0
        self._spare = list(spare)
        self._owed = 0
        """Slots beyond the regular ones that still run something after they were reclaimed."""
        self._executor = executor
        self._count = len(slots)
        self._ring = ring
        self._pace = Pace(len(slots), lookahead)
        self._waiting: deque[Assignment] = deque()
        self._free = list(reversed(slots))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        self._stopping = False
        self._soon: set[Future[object]] = set()
        self._thread = threading.Thread(target=self._run, name="cherga-loop", daemon=True)

    def start(self) -> None:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread.start()

    def wait_for(self, made: Awaitable[T]) -> T:
        """Await something on the loop while the calling thread waits; the loop starts at the first use."""
        self.start()
        return asyncio.run_coroutine_threadsafe(_awaited(made), self.loop).result()

    def run_soon(self, made: Awaitable[object]) -> None:
        """Let the loop await something, and do not wait for it before the end."""
        self.start()
        future = asyncio.run_coroutine_threadsafe(_awaited(made), self.loop)
        self._soon.add(future)
        future.add_done_callback(self._soon.discard)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("expected the loop to be started")

        return self._loop

    def submit(self, assignments: Sequence[Assignment]) -> None:
        if self._loop is None:
            self.start()

        self._waiting.extend(assignments)
        self.loop.call_soon_threadsafe(self._fill)

    def in_hand(self) -> int:
        # In this order: one that begins meanwhile is counted twice rather than not at all.
        return len(self._waiting) + self._count + self.lent + self._owed - len(self._free)

    def room(self) -> int:
        ahead = self._pace.ahead()
        self.half = ahead // 2
        return self._count + self.lent + ahead - self.in_hand()

    def is_here(self) -> bool:
        """Whether the caller runs on this loop, and so holds it up."""
        return asyncio._get_running_loop() is self._loop is not None

    def lend(self) -> bool:
        """On the loop: one job more may run; False when all spare slots are lent."""
        if not self._spare:
            return False

        self._free.append(self._spare.pop())
        self.lent += 1
        self._fill()
        self._ring()
        return True

    def reclaim(self) -> None:
        """On the loop: one job less may be started."""
        self.lent -= 1

        if self._free:
            self._spare.append(self._free.pop())
        else:
            self._owed += 1

    def free(self) -> int:
        """Slots without a job; below 0 when more are in hand."""
        return self._count + self.lent - self.in_hand()

    def waiting(self) -> int:
        return len(self._waiting)

    def hurry(self) -> None:
        """All start as soon as they can."""

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
                self.loop.call_soon_threadsafe(coroutine.cancel)

        return True

    def stop(self) -> None:
        wait(list(self._soon), timeout=1.0)

        if self._thread.is_alive() and not self._stopping:
            self._stopping = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(1.0)

    def is_alive(self) -> bool:
        """Whether coroutines may still run here."""
        return self._thread.is_alive()

    def _fill(self) -> None:
        """On the loop: start what waits, as far as slots are free."""
        while self._loop and self._free and self._waiting:
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

            if self._owed:
                self._owed -= 1
                self._spare.append(slot)
            else:
                self._free.append(slot)

            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._fill()

        if len(self._waiting) <= self.refill_below:
            self.refill_below = NOT_WAITED_FOR
            self._ring()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)

        try:
            while not self._stopping:
                self._turn()

            self.loop.run_until_complete(self._tidy_up())
        finally:
            self.loop.close()

    def _turn(self) -> None:
        """Until somebody stops the loop. A coroutine that a job started beside itself can do so by leaving the interpreter."""
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.warning("a coroutine raised %s; the other jobs go on", type(error).__name__, extra={"action": "loop.left"})

    async def _tidy_up(self) -> None:
        """End what tasks have left behind, and do not wait long for it."""
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        for task in left:
            task.cancel()

        if left:
            await asyncio.wait(left, timeout=LONGEST_FAREWELL)

        await self.loop.shutdown_asyncgens()


async def _awaited(made: Awaitable[T]) -> T:
    return await made
