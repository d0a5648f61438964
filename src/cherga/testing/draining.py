"""Draining: one life of an embedded worker, which ends when nothing is left to run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextvars import Context as Variables
from queue import Empty
from typing import Any, cast

from msgspec import Struct

from cherga.client.app import QueueTasks
from cherga.testing.ticking import IdleScheduler
from cherga.testing.watching import WatchedExecutor
from cherga.words.clock import SystemClock
from cherga.worker.assignment import Assignment
from cherga.worker.caretaker import Caretaker
from cherga.worker.collecting import HastyCollector
from cherga.worker.embedded import EmbeddedWorker
from cherga.worker.engine import Engine, Parts
from cherga.worker.loop import LoopRunner
from cherga.worker.slots import SlotTable
from cherga.worker.threads import ThreadRunner

SLOT = 0
LOOK = 0.001
"""Seconds between two looks whether everything has ended, while nothing runs on the draining thread."""


class Drained(Struct, frozen=True, kw_only=True):
    """The ends of the jobs of one ``drain``: the attempts that ended, counted by how they did."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    """Cancelled jobs, those too that never ran because what they waited for did not succeed."""
    retried: int = 0
    """Attempts that failed and are, or were, followed by another one."""
    snoozed: int = 0
    """Not a failure: the task itself wants to run later."""


class DrainLimits(Struct, frozen=True):
    """The bounds at which a drain is given up."""

    attempts: int
    seconds: float


class CallerRunner(ThreadRunner):
    """Runs ``def`` tasks one by one, in the order of their priorities, on the thread that calls ``turn``.

    So they see what belongs to that thread: a test's transaction, a database in memory. Only while one of them waits for
    another job does a further thread run others.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._came = threading.Event()

    def start(self) -> None:
        """There are no threads to start."""

    def submit(self, assignments: Sequence[Assignment]) -> None:
        super().submit(assignments)
        self._came.set()

    def room(self) -> int:
        return 1 + self.lent - self.in_hand()

    def waiting(self) -> int:
        """None that anybody should give back, however busy the machine is: the caller takes them in its turn."""
        return 0

    def turn(self, patience: float) -> None:
        """Run what waits, or wait so many seconds for it."""
        try:
            assignment = self._waiting.get_nowait()
        except Empty:
            # Not get(timeout=…): where another thread is faster, that of older CPythons may wait for ever.
            self._came.wait(patience)
            self._came.clear()
            return

        if assignment is None:  # meant for a thread that stood in while a job of this one waited
            self._waiting.put(None)
            return

        self._executor.run(assignment, SLOT)
        self._ended[SLOT] += 1
        self._ring()


class HostedLoop(LoopRunner):
    """Runs ``async def`` tasks on the loop that it is given, if any, else on one of its own."""

    def live_on(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Call it before the start."""
        self._loop = loop


class DrainEngine(Engine):
    """The engine of a worker, with runners that use the thread and the loop of the test."""

    parts = Parts(executor=WatchedExecutor, threads=CallerRunner, loop=HostedLoop, collector=HastyCollector)
    awaits_rates = False

    @property
    def caller(self) -> CallerRunner:
        return cast(CallerRunner, self._threads)

    @property
    def watched(self) -> WatchedExecutor:
        return cast(WatchedExecutor, self.executor)

    def live_on(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run ``async def`` tasks on this loop, which must be another thread's."""
        cast(HostedLoop, self._loop).live_on(loop)

    def opens_in(self) -> float | None:
        """Seconds until a rate lets the next job go; None when no job waits for one."""
        self._claimer.dried_up()
        return 0.0 if self._claimer.in_hand() else self._claimer.again_in


class DrainWorker(EmbeddedWorker):
    """An embedded worker that runs ``def`` tasks on the thread which calls ``work``.

    Jobs see the context variables of ``origin``; ``async def`` tasks run on ``loop``, if one is given.
    """

    def __init__(
        self, app: QueueTasks, limits: DrainLimits, origin: Variables, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(app, threads=1, name="testing")
        self._limits = limits
        self._origin = origin
        self._home = loop

    def make_engine(self) -> DrainEngine:
        slots = SlotTable.private(Engine.slot_count(self.options))
        self.drain_engine = self._origin.copy().run(DrainEngine, self.app, self.options, slots)
        self.drain_engine.live_on(self._home)
        self.drain_engine.host.process = self.drain_engine.host.worker
        return self.drain_engine

    def prove(self) -> None:
        """A test says itself what is to be there."""

    def make_caretaker(self) -> Caretaker:
        broker = self.app.broker
        return Caretaker(broker, self.app.settings.broker, self.app.clock, IdleScheduler(broker))

    @property
    def watched(self) -> WatchedExecutor:
        """The ends of the jobs."""
        return self.drain_engine.watched

    def work(self) -> None:
        """Run jobs until none runs, is due, or is ready and not held up. Raises ``AssertionError`` when that takes too much."""
        deadline = SystemClock.monotonic() + self._limits.seconds
        turn = self.drain_engine.caller.turn

        while not self._over():
            turn(LOOK)
            self._check(self._limits, deadline)

    def next_in(self) -> float | None:
        """Seconds until there is more to do: a job is due, or a rate lets one go; None when nothing waits for the clock."""
        waits = (self.app.broker.promote().next_in, self.drain_engine.opens_in())
        return min((wait for wait in waits if wait is not None), default=None)

    def _over(self) -> bool:
        """Nothing is left. What was raised in a job and is meant for the test is raised here."""
        over = self.drain_engine.exhausted() and not self.app.broker.promote().count

        if self.watched.escaped is not None:
            raise self.watched.escaped

        return over

    def _check(self, limits: DrainLimits, deadline: float) -> None:
        if (ran := self.watched.ends.total()) > limits.attempts:
            raise AssertionError(
                f"expected the jobs to come to an end, but {ran} attempts ran and more are ready: jobs that enqueue each other "
                "without end? Else give drain a higher limit"
            )

        if SystemClock.monotonic() > deadline:
            raise AssertionError(f"expected the jobs to end within {limits.seconds:g} seconds; still running: {self._names()}")

    def _names(self) -> str:
        running = [f"{each.task.name} ({each.job.id})" for each in self.watched.running.all()]
        return ", ".join(running) or "none that this drain could run"


Travel = Callable[[float], None]


def drain_through(worker: DrainWorker, travel: Travel) -> None:
    """Work, set the clock to when the next job may run, and work again, until none waits for the clock."""
    worker.work()

    while (next_in := worker.next_in()) is not None:
        travel(next_in)
        worker.work()
