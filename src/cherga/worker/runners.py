"""Where functions run: ``def`` on a pool of threads, ``async def`` on one loop in a thread of its own.

User code runs nowhere else, so that a blocked loop or a busy interpreter holds up no lease and no other part of the engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from cherga.worker.assignment import Assignment
from cherga.worker.executor import Executor
from cherga.worker.pace import Pace

T = TypeVar("T")

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

    def take_back(self) -> list[Assignment]:
        """Those that never started."""
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
        self._busy: set[int] = set()

    def start(self) -> None:
        for slot in self._slots:
            threading.Thread(target=self._work, args=(slot,), name=f"cherga-run-{slot}", daemon=True).start()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        for assignment in assignments:
            self._waiting.put(assignment)

    def in_hand(self) -> int:
        return len(self._busy) + self._waiting.qsize()

    def room(self) -> int:
        ahead = self._pace.ahead()
        self.half = ahead // 2
        return len(self._slots) + ahead - self.in_hand()

    def take_back(self) -> list[Assignment]:
        taken: list[Assignment] = []

        while True:
            try:
                assignment = self._waiting.get_nowait()
            except Empty:
                return taken

            if assignment is not None:
                taken.append(assignment)

    def cancel(self, assignment: Assignment) -> bool:
        return False

    def stop(self) -> None:
        for _ in self._slots:
            self._waiting.put(None)

    def _work(self, slot: int) -> None:
        waiting, busy, run, pace = self._waiting, self._busy, self._executor.run, self._pace

        while (assignment := waiting.get()) is not None:
            busy.add(slot)
            run(assignment, slot, pace)
            busy.discard(slot)
            del assignment

            if waiting.qsize() <= self.refill_below:
                self.refill_below = NOT_WAITED_FOR
                self._ring()


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
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
        """Let the loop await something, and do not wait for it."""
        self.start()
        asyncio.run_coroutine_threadsafe(_awaited(made), self.loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("expected the loop to be started")

        return self._loop

    def submit(self, assignments: Sequence[Assignment]) -> None:
        self._waiting.extend(assignments)
        self.loop.call_soon_threadsafe(self._fill)

    def in_hand(self) -> int:
        return self._count - len(self._free) + len(self._waiting)

    def room(self) -> int:
        ahead = self._pace.ahead()
        self.half = ahead // 2
        return self._count + ahead - self.in_hand()

    def take_back(self) -> list[Assignment]:
        taken: list[Assignment] = []

        while self._waiting:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                break

        return taken

    def cancel(self, assignment: Assignment) -> bool:
        if assignment.coroutine is not None:
            self.loop.call_soon_threadsafe(assignment.coroutine.cancel)

        return True

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(1.0)

    def _fill(self) -> None:
        """On the loop: start what waits, as far as slots are free."""
        while self._free and self._waiting:
            try:
                assignment = self._waiting.popleft()
            except IndexError:
                return

            slot = self._free.pop()
            assignment.coroutine = self.loop.create_task(self._live(assignment, slot), context=self._executor.fresh())

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
        asyncio.set_event_loop(self.loop)

        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


async def _awaited(made: Awaitable[T]) -> T:
    return await made
