"""An event loop for ``async def`` tasks."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, TypeVar
from weakref import WeakSet

from cherga.words.later import asyncio, futures
from cherga.worker.assignment import Assignment
from cherga.worker.copies import leave_waiting
from cherga.worker.executor import Executor
from cherga.worker.failure import broken
from cherga.worker.pace import Pace
from cherga.worker.runners import NOT_WAITED_FOR, tell_broken
from cherga.worker.turns import start_thread

T = TypeVar("T")

logger = logging.getLogger("cherga.worker")

LONGEST_FAREWELL = 0.5
"""Seconds that coroutines which outlive the loop get to end."""


class LoopRunner:
    """The event loop for all ``async def`` tasks of the process, so that their pools and clients can be shared."""

    def __init__(
        self, executor: Executor, slots: range, pace: Pace, ring: Callable[[], None], spare: Sequence[int] = ()
    ) -> None:
        self.refill_below = NOT_WAITED_FOR
        self.ahead = 0
        self.lent = 0
        self._spare = list(spare)
        self._owed = 0
        """Slots beyond the regular ones that still run something after they were reclaimed."""
        self._executor = executor
        self._count = len(slots)
        self._ring = ring
        self._pace = pace
        self._waiting: deque[Assignment] = deque()
        self._free = list(reversed(slots))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        self._stopping = False
        self._soon: set[futures.Future[object]] = set()
        self._thread: threading.Thread | None = None
        _runners.add(self)

    def start(self) -> None:
        """Raises ``RuntimeError`` where there is no room for one more thread, and ``OSError`` for what a loop needs."""
        with self._starting:
            if self._loop is not None:
                return

            self._loop = asyncio.new_event_loop()

            if (thread := start_thread(self._run, "cherga-loop")) is not None:
                self._thread = thread
                return

            self._loop.close()
            self._loop = None

        raise RuntimeError("expected room for a thread with an event loop, but none can be started")

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
        if not self.in_hand():
            self._pace.resume()

        self._waiting.extend(assignments)

        if self._loop is None:
            try:
                self.start()
            except (RuntimeError, OSError) as error:  # the jobs wait here until they are given back
                logger.error("no event loop for async jobs: %s", error, extra={"action": "loop.missing"})
                return

        self.loop.call_soon_threadsafe(self._fill)

    def in_hand(self) -> int:
        # In this order: one that begins meanwhile is counted twice rather than not at all.
        return len(self._waiting) + self._count + self.lent + self._owed - len(self._free)

    def room(self) -> int:
        in_hand = self.in_hand()
        self.ahead = self._pace.ahead(busy=in_hand > 0)
        return self._count + self.lent + self.ahead - in_hand

    def is_here(self) -> bool:
        """True when the caller runs on this loop, and so holds it up."""
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
        """Start all as soon as they can."""

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

    def stop(self, patience: float = 1.0) -> None:
        """Wait so many seconds for what was to run soon, and end; jobs that are left are cancelled."""
        if self._soon:
            futures.wait(list(self._soon), timeout=patience)

        if self._thread is not None and self._thread.is_alive() and not self._stopping:
            self._stopping = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(1.0)

    def is_alive(self) -> bool:
        """True when coroutines may still run here."""
        return self._thread is not None and self._thread.is_alive()

    def _fill(self) -> None:
        """On the loop: start what waits, as far as slots are free."""
        while self._loop and self._free and self._waiting:
            slot = self._free.pop()

            try:
                assignment = self._waiting.popleft()
            except IndexError:
                self._free.append(slot)
                return

            self._begin(self._loop, assignment, slot)

    def _begin(self, loop: asyncio.AbstractEventLoop, assignment: Assignment, slot: int) -> None:
        coroutine, variables = self._live(assignment, slot), self._executor.fresh()

        try:
            if loop.get_task_factory() is None:
                task = _life()(coroutine, loop=loop, context=variables)
                task.unbegun, task.assignment, task.reserved = self._unbegun, assignment, slot
                assignment.coroutine = task
            else:  # a job gave it to the loop
                assignment.coroutine = loop.create_task(coroutine, context=variables)
                assignment.coroutine.add_done_callback(partial(self._unbegun, assignment, slot))
        except Exception as error:
            coroutine.close()
            self._free.append(slot)
            self._executor.drop(assignment, broken(error))

    async def _live(self, assignment: Assignment, slot: int) -> None:
        try:
            await self._executor.arun(assignment, slot)
        except BaseException as error:
            tell_broken(assignment, error)
        finally:
            self._let_go_of(assignment, slot)

    def _unbegun(self, assignment: Assignment, slot: int, task: asyncio.Task[None]) -> None:
        """The task was cancelled before its first step, and is over: its job has not begun."""
        if task.cancelled() and assignment.coroutine is task:
            self._executor.give_back(assignment)
            self._let_go_of(assignment, slot)

    def _let_go_of(self, assignment: Assignment, slot: int) -> None:
        """The slot is free for the next job."""
        assignment.coroutine = None
        self._pace.ended()

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

    def leave_in_copy(self) -> None:
        """In a child that was forked on this loop: end it before anything else takes a step there."""
        if self._loop is None or self._thread is not threading.current_thread():
            return

        if (ready := getattr(self._loop, "_ready", None)) is not None:
            ready.clear()

        self._loop.call_soon(leave_waiting)


@cache
def _life() -> type[Any]:
    """The class of jobs' lives on a loop. Made for the first of them, for asyncio is loaded by then, and not before."""

    class Life(asyncio.Task[None]):
        """One that is cancelled before its first step runs nothing, not even what would note that."""

        __slots__ = ("assignment", "reserved", "unbegun")

        assignment: Assignment
        reserved: int
        """The slot that it was given."""
        unbegun: Callable[[Assignment, int, asyncio.Task[None]], None]

        def cancel(self, msg: object = None) -> bool:
            if self.assignment.slot < 0:
                self.add_done_callback(partial(self.unbegun, self.assignment, self.reserved))

            return super().cancel(msg)

    return Life


async def _awaited(made: Awaitable[T]) -> T:
    return await made


_runners: WeakSet[LoopRunner] = WeakSet()


def _leave_in_copy() -> None:
    for runner in list(_runners):
        runner.leave_in_copy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_copy)
