"""``app.testing()``: an application's jobs under the control of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

from cherga.client import foreign
from cherga.client.app import QueueTasks
from cherga.client.depends import Dependency
from cherga.client.handle import Job
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.options import Duration
from cherga.testing.draining import Drained, DrainLimits, DrainWorker, drain_through
from cherga.testing.expecting import Expectation, Filters, Wanted, canonical_name
from cherga.testing.inline import InlineWorker
from cherga.testing.ticking import Ticker
from cherga.testing.travelling import TravelClock
from cherga.words.clock import moment
from cherga.words.errors import ConfigError
from cherga.words.inspection import JobFilter
from cherga.words.job import WAITING_STATES, JobState

MANY = 1_000_000


class Kit(foreign.Explaining):
    """For as long as the ``with`` block lasts, the application's jobs go to a fresh broker in memory.

    They are stored and do not run until ``drain``. With ``inline`` each runs before its enqueue returns; ``"raise"`` also
    raises its failure there, and those of the children that it left behind; for what waited, where the clock is set ahead.
    The end of the block gives back the broker, the clock and the dependencies that were there before.
    """

    _foreign = foreign.KIT

    def __init__(self, app: QueueTasks, inline: bool | Literal["raise"] = False) -> None:
        if inline not in (True, False, "raise"):
            raise ConfigError(f'expected inline to be True, False or "raise", got {inline!r}')

        self.app = app
        self.clock = TravelClock()
        """The application's clock in this block; ``advance`` sets it ahead."""
        self._mode = inline
        self._inline: InlineWorker | None = None
        self._sent: dict[UUID, Job[Any]] = {}
        self._block = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as block:
            self.broker: FullBroker = block.enter_context(self.app.standing_in("memory://"))
            block.enter_context(_restored(self.app))
            self.app.clock = self.clock
            self.app.after_send = self
            self._ticker = Ticker(self.app)
            self._origin = copy_context()

            if self._mode:
                self._inline = InlineWorker(self.app, self._origin, raise_errors=self._mode == "raise")
                block.callback(self._inline.close)

            self._block = block.pop_all()

        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._block.__exit__(kind, error, trace)

    # --- what was enqueued

    def enqueued(self, task: Wanted | None = None) -> list[Job[Any]]:
        """The jobs of this block, of one task or all, oldest first, in whatever state they are now.

        One that is not kept any more (``result_ttl=0``) is there as it was when it was enqueued.
        """
        kept: dict[UUID, Job[Any]] = {row.id: Job(row, self.app) for row in reversed(self.broker.find(JobFilter(), MANY))}
        jobs = [*(job for id, job in self._sent.items() if id not in kept), *kept.values()]
        name = None if task is None else canonical_name(self.app, task)
        return [job for job in jobs if name is None or canonical_name(self.app, job.task_name) == name]

    def assert_enqueued(
        self,
        task: Wanted,
        /,
        *args: Any,
        within: Duration | None = None,
        queue: str | None = None,
        owner: str | None = None,
        count: int | None = None,
        **kwargs: Any,
    ) -> list[Job[Any]]:
        """The jobs of this task with these arguments, oldest first; arguments that are not given may be anything.

        ``within``: due by then at the latest. ``count``: exactly so many, 0 for none; else one at least. If a parameter of the
        task shares one of these names, pass it positionally. Raises ``AssertionError`` that shows what was
        enqueued.
        """
        __tracebackhide__ = True
        filters = Filters(None if within is None else check.seconds(within, "within"), queue, owner, count)
        return Expectation(self.app, task, args, kwargs, filters).check(self.enqueued(), self.clock.now())

    # --- running it

    def drain(
        self, *, scheduled: bool = False, raise_errors: bool = False, limit: int = 10_000, timeout: Duration = 60.0
    ) -> Drained:
        """Run everything that is ready or due, with what that enqueues, releases and retries, until nothing is left.

        The worker's engine does it: ``def`` tasks run one by one on this thread, ``async def`` tasks on a loop of their own.
        ``scheduled`` also sets the clock to when the next job is due, again and again, until none is. ``raise_errors`` raises
        the first job that failed for good, as ``JobFailed`` with the job's own error as its cause. More attempts than
        ``limit``, or jobs that do not end within ``timeout``, are an ``AssertionError``.
        """
        limits = DrainLimits(check.count(limit, "limit"), check.seconds(timeout, "timeout"))
        return self._drain(scheduled, raise_errors, limits, None)

    async def adrain(
        self, *, scheduled: bool = False, raise_errors: bool = False, limit: int = 10_000, timeout: Duration = 60.0
    ) -> Drained:
        """The async twin of ``drain``: ``async def`` tasks run on this loop, ``def`` tasks on a thread."""
        limits = DrainLimits(check.count(limit, "limit"), check.seconds(timeout, "timeout"))
        return await asyncio.to_thread(self._drain, scheduled, raise_errors, limits, asyncio.get_running_loop())

    def _drain(
        self, scheduled: bool, raise_errors: bool, limits: DrainLimits, loop: asyncio.AbstractEventLoop | None
    ) -> Drained:
        before = self._count(JobState.CANCELLED)

        with DrainWorker(self.app, limits, self._origin, loop) as worker:
            if scheduled:
                drain_through(worker, self._travel)
            else:
                worker.work()

        if raise_errors and worker.watched.failures:
            raise next(iter(worker.watched.failures.values()))

        ends = worker.watched.ends
        return Drained(**dict(ends) | {"cancelled": self._count(JobState.CANCELLED) - before})

    def _count(self, state: JobState) -> int:
        return sum(row.count for row in self.broker.counts() if row.state is state)

    # --- time

    def advance(self, duration: Duration) -> None:
        """Set the clock ahead: jobs that are due by then become ready, and schedules fire. With ``inline`` their jobs run."""
        self._pass(check.seconds(duration, "the time to advance"))

        if self._inline is not None:
            self._inline.run(self._waiting())

    async def aadvance(self, duration: Duration) -> None:
        """The async twin of ``advance``, for ``inline``."""
        self._pass(check.seconds(duration, "the time to advance"))

        if self._inline is not None:
            await self._inline.arun(self._waiting())

    def advance_to(self, when: datetime) -> None:
        """Set the clock ahead to this moment. Raises ``ConfigError`` for one that has passed."""
        self.advance(check.timestamp(when, "the moment to advance to") - self.clock.now())

    def now(self) -> datetime | None:
        """The time that the clock shows."""
        return moment(self.clock.now())

    def _waiting(self) -> list[Job[Any]]:
        """The jobs that have not begun."""
        return [Job(row, self.app) for row in self.broker.find(JobFilter(states=WAITING_STATES), MANY)[::-1]]

    def _pass(self, seconds: float) -> None:
        self._ticker.begin()
        self._travel(seconds)
        self._ticker.fire()

    def _travel(self, seconds: float) -> None:
        workers = [each.session.id for each in self.broker.workers()]
        self.clock.ahead += seconds
        self.broker.time_offset = self.clock.ahead
        self.broker.heartbeat(workers)  # to travel is not to die

        while self.broker.promote().count:
            pass

    # --- what jobs need

    def override(self, dependency: Callable[..., Any] | Dependency, fake: Callable[..., Any]) -> None:
        """Let this function stand in for that of a dependency until the end of the block.

        ``fake`` is what the dependency's own function could be: a function, a coroutine function, a generator that yields once
        or a context manager. Raises ``ConfigError`` for what could not be one.
        """
        function, scope = _of(dependency)

        if not callable(function):
            raise ConfigError(f"expected the function of a dependency to be overridden, got {function!r}")

        if not callable(fake):
            raise ConfigError(f"expected a function to stand in for {function!r}, got {fake!r}; for a value write lambda: it")

        self.app.dependency_overrides[function] = Dependency(fake, scope).function

    # --- what the application tells

    def sent(self, jobs: Sequence[Job[Any]]) -> None:
        """Jobs were stored."""
        self._remember(jobs)

        if self._inline is not None:
            self._inline.run(jobs)
            _refresh(self.broker, jobs)

    async def asent(self, jobs: Sequence[Job[Any]]) -> None:
        """The async twin of ``sent``."""
        self._remember(jobs)

        if self._inline is not None:
            await self._inline.arun(jobs)
            _refresh(self.broker, jobs)

    def _remember(self, jobs: Sequence[Job[Any]]) -> None:
        for job in jobs:
            self._sent.setdefault(job.id, Job(job.row, self.app))


def _of(dependency: Callable[..., Any] | Dependency) -> tuple[Callable[..., Any], str]:
    return (dependency.function, dependency.scope) if isinstance(dependency, Dependency) else (dependency, "task")


@contextmanager
def _restored(app: QueueTasks) -> Iterator[None]:
    """Changes of the block are taken back at its end."""
    clock, after_send, overrides = app.clock, app.after_send, dict(app.dependency_overrides)

    try:
        yield
    finally:
        app.clock, app.after_send = clock, after_send
        app.dependency_overrides.clear()
        app.dependency_overrides.update(overrides)


def _refresh(broker: FullBroker, jobs: Sequence[Job[Any]]) -> None:
    """Let the handles show what became of the jobs; one that is not kept stays as it is."""
    kept = {row.id for row in broker.get([job.id for job in jobs]) if row is not None}

    for job in jobs:
        if job.id in kept:
            job.refresh()
