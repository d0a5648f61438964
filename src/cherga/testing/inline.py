"""Inline: jobs run before their enqueue returns, on whichever thread or loop enqueues them.

It is the worker's engine without its claimer, runners and settler threads: the caller claims, runs and settles. Jobs that
enqueue jobs do it one inside the other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context as Variables
from typing import Any, TypeVar, cast
from uuid import UUID

from msgspec.structs import replace

from cherga.client.app import QueueTasks
from cherga.client.applications import current_source
from cherga.client.batches import Batching
from cherga.client.context import Context, current
from cherga.client.handle import Job
from cherga.testing.waiting import wait_until
from cherga.testing.watching import WatchedExecutor
from cherga.words.claim import ClaimWish
from cherga.words.errors import JobFailed
from cherga.words.job import JobState
from cherga.words.settlement import Charge, Settlement
from cherga.worker.assignment import Assignment
from cherga.worker.engine import Engine, EngineOptions, Parts
from cherga.worker.herald import DirectHerald
from cherga.worker.loop import LoopRunner
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable

T = TypeVar("T")

FOREVER = float("inf")
SLOT = 0
LONGEST_JOB = 3600.0
DEEPEST = 50
"""Jobs that may be enqueued one inside the other; somewhat further Python itself gives up."""


class TooDeep(BaseException):
    """Jobs enqueue each other without end: goes through all of them, whatever they catch."""


class DirectSettler(Settler):
    """Writes at once, on the caller's thread. A retry does not wait for its backoff."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.settle = self._settle_now
        self._parents: dict[UUID, UUID] = {}

    def start(self) -> None:
        """There is no thread to start."""

    def stop(self, timeout: float | None = None) -> bool:
        return True

    def touch(self, context: Context) -> None:
        self._report([context], final=True)

    def flush(self, context: Context) -> None:
        self.touch(context)

    def line_of(self, id: UUID) -> Iterator[UUID]:
        """The job, the one with whose success it was stored, if so it was, and so on."""
        yield id

        while id in self._parents:
            id = self._parents[id]
            yield id

    def _settle_now(self, settlement: Settlement) -> None:
        self._parents.update((child.id, settlement.id) for group in settlement.children for child in group)

        if settlement.to is JobState.SCHEDULED and settlement.charge is Charge.ATTEMPT:
            settlement = replace(settlement, to=JobState.READY, delay=None)

        self._settle([settlement])


class SpareLoops(LoopRunner):
    """Loops for threads that have to wait for something async. One that runs on such a loop itself is given another."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._make: Callable[[], LoopRunner] = lambda: LoopRunner(*parts)
        self._made: list[LoopRunner] = []
        self._idle: list[LoopRunner] = []

    def start(self) -> None:
        """The runners start at the first use."""

    def stop(self, patience: float = 1.0) -> None:
        while self._made:
            self._made.pop().stop(patience)

        self._idle.clear()

    def wait_for(self, made: Awaitable[T]) -> T:
        runner = self._take()

        try:
            return runner.wait_for(made)
        finally:
            self._idle.append(runner)

    def is_here(self) -> bool:
        """True when the caller is an async job, which would hold up its loop in a worker."""
        if asyncio._get_running_loop() is None or not current_source():
            return False

        assignment = self._executor.running.find(current().job.token)
        return assignment is not None and assignment.task.is_async

    def cancel(self, assignment: Assignment) -> bool:
        if (coroutine := assignment.coroutine) is not None:
            coroutine.get_loop().call_soon_threadsafe(coroutine.cancel)

        return True

    def _take(self) -> LoopRunner:
        try:
            return self._idle.pop()
        except IndexError:
            runner = self._make()
            self._made.append(runner)
            return runner


class InlineEngine(Engine):
    """Claims, runs and settles on the caller's thread."""

    parts = Parts(executor=WatchedExecutor, settler=DirectSettler, loop=SpareLoops)

    def __init__(self, app: QueueTasks) -> None:
        options = EngineOptions(name="testing", threads=1, concurrency=1)
        super().__init__(app, options, SlotTable.private(Engine.slot_count(options)))
        self.host.process = self.host.worker
        self.executor.telling.herald = DirectHerald()

    @property
    def watched(self) -> WatchedExecutor:
        """The ends of the jobs."""
        return cast(WatchedExecutor, self.executor)

    def take_failures(self, jobs: Sequence[Job[Any]]) -> list[JobFailed]:
        """The failures of these jobs and of their children, in order; each is given once."""
        line_of, ids = cast(DirectSettler, self._settler).line_of, {job.id for job in jobs}
        failed = [id for id in list(self.watched.failures) if not ids.isdisjoint(line_of(id))]
        return [self.watched.failures.pop(id) for id in failed]

    def start(self) -> None:
        """Be ready for ``run``."""
        self.register()
        self.slots.lease_until = FOREVER
        self.app.publish()
        self._deadlines.start(self.judge.expire)
        self.app.on.run_with(self._loop.wait_for)
        self._started = True
        self._tell_worker(self.app.on.worker_started)

    def run(self) -> None:
        """Run everything that is ready, here; ``async def`` tasks on a loop of their own while this thread waits."""
        self._renew()

        while (assignment := self._next()) is not None:
            if assignment.task.is_async:
                self._loop.wait_for(self._live(assignment))
            else:
                self.executor.run(assignment, SLOT)

            self._pass_on()

        self.news.turn()

    async def arun(self) -> None:
        """Run everything that is ready: ``async def`` tasks on this loop, ``def`` tasks on a thread."""
        self._renew()

        while (assignment := self._next()) is not None:
            if assignment.task.is_async:
                await self._live(assignment)
            else:
                await asyncio.to_thread(self.executor.run, assignment, SLOT)

            self._pass_on()

        await asyncio.to_thread(self.news.turn)

    def busy_with(self, jobs: Sequence[Job[Any]]) -> bool:
        """True while one of these jobs still runs, claimed by another caller, or something is still to be called back."""
        rows = self.app.broker.get([job.id for job in jobs])
        return self.executor.callbacks.open or any(row is not None and row.state is JobState.RUNNING for row in rows)

    def _renew(self) -> None:
        """Nobody sends heartbeats, and another worker of the test may have looked for the dead, or ended."""
        self.app.broker.register(self.session)
        self.app.on.run_with(self._loop.wait_for)

    def _next(self) -> Assignment | None:
        """The next job that is ready. What cannot even be begun is settled and passed over."""
        while True:
            self.app.broker.promote()
            wish = ClaimWish(session=self.session.id, limit=1, tasks=self._tasks(), alone=True)
            jobs = self.app.broker.claim(wish).jobs

            if not jobs:
                return None

            if (assignment := self.executor.prepare(jobs[0], self.session.id)) is not None:
                return assignment if assignment.task.features.batch is None else self._batch_with(assignment)

    def _batch_with(self, first: Assignment) -> Assignment:
        """A call for this job and for what waits beside it."""
        batching = cast(Batching, first.task.features.batch)
        wish = ClaimWish(session=self.session.id, limit=batching.most - 1, tasks=frozenset({first.job.task}))
        others = self.app.broker.claim(wish).jobs if not first.job.crashes else []
        ready = [each for job in others if (each := self.executor.prepare(job, self.session.id)) is not None]
        return self.executor.many.call_for([first, *ready])

    def _tasks(self) -> frozenset[str]:
        """Looked up each time: a test may declare tasks whenever it likes."""
        return frozenset((*self.app.tasks, *self.app.aliases))

    async def _live(self, assignment: Assignment) -> None:
        """Run the job as a task of this loop, in a context of its own."""
        loop = asyncio.get_running_loop()
        coroutine = self.executor.arun(assignment, SLOT)
        assignment.coroutine = loop.create_task(coroutine, context=self.executor.fresh())

        try:
            await asyncio.wait([assignment.coroutine])
        except asyncio.CancelledError:
            assignment.coroutine.cancel()
            raise

    def _pass_on(self) -> None:
        error, self.watched.escaped = self.watched.escaped, None

        if error is not None:
            raise error


class InlineWorker:
    """Runs jobs right after they were stored; they see the context variables of ``origin``, not of whoever enqueues them.

    The engine starts at the first of them.
    """

    def __init__(self, app: QueueTasks, origin: Variables, raise_errors: bool) -> None:
        self._app = app
        self._origin = origin
        self._raise_errors = raise_errors
        self._engine: InlineEngine | None = None
        self._lock = threading.Lock()
        self._depths: dict[UUID, int] = {}

    def run(self, jobs: Sequence[Job[Any]]) -> None:
        """Run what is ready. These jobs were just stored, or become due: their failures are raised where that is wished."""
        engine, mine = self._started(), _own(jobs)

        with self._going_down(mine):
            engine.run()

        wait_until(lambda: not engine.busy_with(mine), "another thread has run the job", LONGEST_JOB)
        self._raise_failure(engine, mine)

    async def arun(self, jobs: Sequence[Job[Any]]) -> None:
        """The async twin of ``run``."""
        engine, mine = self._started(), _own(jobs)

        with self._going_down(mine):
            await engine.arun()

        while engine.busy_with(mine):
            await asyncio.sleep(0.001)

        self._raise_failure(engine, mine)

    def close(self) -> None:
        """End the engine: what lives as long as a worker is closed."""
        if self._engine is not None:
            self._engine.stop()
            self._engine = None

    @contextmanager
    def _going_down(self, jobs: Sequence[Job[Any]]) -> Iterator[None]:
        """Know how deep these jobs stand inside others, and raise ``AssertionError`` at the top for those that find no end."""
        depth = self._depths.get(current().job_id, 1) if current_source() else 0
        self._depths.update((job.id, depth + 1) for job in jobs)

        try:
            if depth >= DEEPEST:
                self._app.broker.move([job.id for job in jobs], JobState.CANCELLED)
                raise TooDeep

            yield
        except TooDeep:
            if depth:
                raise

            raise AssertionError(
                f"expected the jobs to come to an end, but {DEEPEST} stand one inside the other: do they enqueue each other "
                "without end?"
            ) from None

    def _started(self) -> InlineEngine:
        with self._lock:
            if self._engine is None:
                self._engine = self._origin.copy().run(InlineEngine, self._app)
                self._engine.start()

            return self._engine

    def _raise_failure(self, engine: InlineEngine, jobs: Sequence[Job[Any]]) -> None:
        failures = engine.take_failures(jobs)

        if failures and self._raise_errors:
            raise failures[0]


def _own(jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
    """Without those that were there before: one may be the very job that enqueues it again."""
    return [job for job in jobs if not job.existing]
