"""``Job``: a handle on one stored job. Attributes are a snapshot; ``refresh`` reads again, the ``is_*`` read live."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, Protocol, TypeVar, cast
from uuid import UUID

from cherga.client import foreign
from cherga.client.applications import application_of
from cherga.client.cancelling import cancel, cancel_untold, tell
from cherga.client.explain import Explanation, explain
from cherga.client.ids import as_id
from cherga.client.lookout import Lookout
from cherga.client.records import public_record
from cherga.client.relatives import children_of, family_of, total_progress_of
from cherga.client.signals import Signals
from cherga.client.snapshot import AsPushed, Snapshot, worker_of
from cherga.client.submit import Submitter
from cherga.client.waiters import LONGEST_LOOK, LoopWaiter, ThreadWaiter, Waiter
from cherga.client.waiting import OUTSIDE, on_loop, refuse_on_loop, waiting_for
from cherga.doors.broker import FullBroker
from cherga.rules.obstacles import Home
from cherga.rules.options import Duration, seconds, short_text
from cherga.rules.results import Results
from cherga.words.clock import Clock
from cherga.words.departure import HandleState
from cherga.words.errors import ChergaError, JobCancelled, JobFailed, JobNotFound, NoCurrentJob, ResultExpired, ResultTimeout
from cherga.words.inspection import Family
from cherga.words.job import JobError, JobRow, JobState, Progress, Reason

R_co = TypeVar("R_co", covariant=True)


class Values(Protocol):
    """A job's values, for ``for`` and ``async for``; ``position`` is that of the last one given."""

    position: int

    def __iter__(self) -> Iterator[Any]: ...
    def __aiter__(self) -> AsyncIterator[Any]: ...


class Source(Protocol):
    """The parts of an application that a handle needs."""

    @property
    def broker(self) -> FullBroker: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def submitter(self) -> Submitter: ...
    @property
    def lookout(self) -> Lookout: ...
    @property
    def home(self) -> Home: ...
    @property
    def on(self) -> Signals: ...
    @property
    def handle_state(self) -> HandleState | None: ...
    def handle(self, row: JobRow) -> Job[Any]: ...
    def held(self, id: UUID) -> Job[Any] | None: ...
    def results_of(self, task: str) -> Results: ...
    def stream(self, id: UUID, after: int) -> Values: ...


class Job(Snapshot, foreign.Explaining, Generic[R_co]):
    """A stored request to run a task, as it stood when it was last read."""

    __slots__ = ("_source", "existing")
    _foreign = foreign.JOB
    _internal = "become expect_stored row serve_by"

    def __init__(self, row: JobRow | AsPushed, source: Source, existing: bool = False) -> None:
        super().__init__(row)
        self._source = source
        self.existing = existing
        """The enqueue stored nothing: it found this job, which holds the unique key or has the same id."""

    @classmethod
    def fetch(cls, id: UUID | str, connection: Source | None = None) -> Job[Any]:
        """The stored job of that id, read through the application given, else the current one.

        Raises ``JobNotFound`` for an id that is not kept (or is no id at all), ``BrokerUnavailable`` when the broker cannot be
        reached.
        """
        source: Source = application_of(connection)

        try:
            known = as_id(id)
        except (ValueError, TypeError, AttributeError):
            raise JobNotFound(f"no job {id!r} is kept: expected an id to be a UUID") from None

        if (held := source.held(known)) is not None:
            return held

        (row,) = source.broker.get([known])

        if row is None:
            raise JobNotFound(f"no job {id} is kept: it never existed, or its time was over")

        return source.handle(row)

    @property
    def status(self) -> JobState | HandleState:
        """The state at the last look; ``refresh`` looks again. ``held`` while the job waits for its transaction to commit."""
        return self._source.handle_state or self.row.state

    def serve_by(self, source: Source) -> None:
        """Ask this in place of the application."""
        self._source = source

    def expect_stored(self) -> None:
        """Raise ``JobHeld`` while the job waits for its transaction to commit, ``JobNotFound`` when that did not."""
        if self._source.handle_state is not None:
            self._source.lookout  # noqa: B018 # which says so

    def become(self, other: Job[Any]) -> None:
        """Be a handle on what that one is on, from now on."""
        self._source, self.existing = other._source, other.existing
        self._show(other._shown)

    # --- under the names that people know from RQ

    def get_id(self) -> str:
        """The id as text."""
        return str(self.id)

    def get_status(self) -> JobState | HandleState:
        """The state, read live."""
        return self.refresh().status

    def return_value(self) -> R_co | None:
        """The value that the task returned, read live; None while there is none."""
        kept = self.refresh().status is JobState.SUCCEEDED and self.row.result is not None
        return self._value() if kept else None

    def save_meta(self) -> None:
        """Only the job itself stores its ``meta``, while it runs; see ``get_current_job``. Raises ``NoCurrentJob``."""
        raise NoCurrentJob(
            f"expected save_meta to be called inside job {self.id}, on what get_current_job() gives; from outside its meta can "
            "only be read"
        )

    # --- read live

    @property
    def is_finished(self) -> bool:
        """The job has ended, in whatever state; read live."""
        return self.refresh().status.final

    @property
    def is_succeeded(self) -> bool:
        """The job succeeded; read live."""
        return self.refresh().status is JobState.SUCCEEDED

    @property
    def is_failed(self) -> bool:
        """The job failed for good; read live."""
        return self.refresh().status is JobState.FAILED

    @property
    def is_cancelled(self) -> bool:
        """The job was cancelled; read live."""
        return self.refresh().status is JobState.CANCELLED

    @property
    def is_running(self) -> bool:
        """The job is running; read live."""
        return self.refresh().status is JobState.RUNNING

    @property
    def family(self) -> Family:
        """The number of its children in each state, and how many are ``done`` of the ``total``."""
        return family_of(self._source.broker, self.id)

    @property
    def total_progress(self) -> Progress | None:
        """The progress of the job together with its children: each of them counts as one, and so does the job itself.

        That of the job alone while it has no children; of a group that of its members alone.
        """
        return total_progress_of(self._source.broker, self.refresh().row)

    def children(self) -> list[Job[Any]]:
        """The jobs that were enqueued inside this one, or belong to this group, as far as they are kept; oldest first."""
        return [self._source.handle(row) for row in children_of(self._source.broker, self.id)]

    # --- verbs

    def refresh(self) -> Job[R_co]:
        """Read the job again and return this handle. Raises ``JobNotFound`` when it is no longer kept."""
        (row,) = self._source.broker.get([self.id])

        if row is None:
            raise self._gone()

        self._show(row)
        return self

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the end and return what the task returned; ``timeout`` limits the wait, not the job.

        Raises ``JobFailed`` with the remote traceback, ``JobCancelled``, ``ResultTimeout``, ``ResultExpired`` (succeeded
        with nothing kept) or ``JobNotFound``.
        """
        self.await_end(timeout)
        return self._finished()

    def stream(self, after: int = 0) -> Values:
        """The values that the job emits (those of a generator task, or of ``ctx.emit``), for ``for`` and ``async for``.

        Ends with the job; the last thousand are kept. ``after`` resumes behind the ``position`` that a stream had reached.
        """
        return self._source.stream(self.id, after)

    def as_dict(self) -> dict[str, Any]:
        """The handle's values as plain data, ready for JSON: times in ISO 8601, UTC; what JSON cannot say as its text.

        With arguments, error (without its traceback), ``meta``, ``progress`` and ``result``: decide who may see them.
        """
        return public_record(self)

    def cancel(self, message: str | None = None) -> bool:
        """Ask that the job does not run, or stops running. False when it had ended already."""
        words = None if message is None else short_text(message, "message")
        return bool(cancel(self._source, [self.id], words))

    def retry(self) -> bool:
        """Run a final or scheduled job again now, from attempt 0. False when its state or unique key forbids it.

        The handle shows the job afterwards as it is then, so that ``result`` waits for the new end.
        """
        moved = bool(self._source.broker.move([self.id], JobState.READY))

        if moved:
            self.refresh()

        return moved

    def explain(self) -> Explanation:
        """Read the job again and say why it is not running: what stands in its way, and what helps. Raises ``JobNotFound``."""
        self.refresh()

        if (state := self._source.handle_state) is not None:
            return Explanation(self.id, self.task_name, state, "it leaves for the broker when its transaction has committed")

        error = self.error
        words = None if error is None else f"{error.type}: {error.message}"
        return explain(self._source, self.row, worker_of(self.row.session), words)

    async def arefresh(self) -> Job[R_co]:
        """The async twin of ``refresh``."""
        return await self._source.submitter.call(self.refresh)

    async def aresult(self, timeout: Duration | None = None) -> R_co:
        """The async twin of ``result``."""
        await self.aawait_end(timeout)
        return self._finished()

    async def acancel(self, message: str | None = None) -> bool:
        """The async twin of ``cancel``."""
        words = None if message is None else short_text(message, "message")
        touched, events = await self._source.submitter.call(cancel_untold, self._source, [self.id], words)
        tell(self._source, events)
        return bool(touched)

    async def aretry(self) -> bool:
        """The async twin of ``retry``."""
        return await self._source.submitter.call(self.retry)

    async def afamily(self) -> Family:
        """The async twin of ``family``."""
        return await self._source.submitter.call(lambda: self.family)

    async def atotal_progress(self) -> Progress | None:
        """The async twin of ``total_progress``."""
        return await self._source.submitter.call(lambda: self.total_progress)

    async def achildren(self) -> list[Job[Any]]:
        """The async twin of ``children``."""
        return await self._source.submitter.call(self.children)

    async def aexplain(self) -> Explanation:
        """The async twin of ``explain``."""
        return await self._source.submitter.call(self.explain)

    def await_end(self, timeout: Duration | None = None) -> None:
        """Wait until the job is final, with the handle refreshed. Raises ``ResultTimeout`` or ``JobNotFound``."""
        if self.row.state.final:
            return

        if on_loop() and self.refresh().status.final:
            return

        refuse_on_loop("job.result()", "await job.aresult()")
        wait, waiter = _Wait(self._source, timeout), ThreadWaiter(self.id)

        with self._source.lookout.serving(waiter):
            while not self._looked(waiter):
                waiter.wait()

            if self._ended(waiter):
                return

            with waiting_for(self) as pending:
                pending.check()

                with pending.lend(waiter.wake) as go_on:
                    while not self._ended(waiter):
                        go_on()

                        if (left := wait.left()) <= 0:
                            raise self._late(wait, self._why())

                        waiter.wait(min(left, LONGEST_LOOK))

    async def aawait_end(self, timeout: Duration | None = None) -> None:
        """The async twin of ``await_end``."""
        if self.row.state.final:
            return

        wait, waiter = _Wait(self._source, timeout), LoopWaiter(self.id)

        with self._source.lookout.serving(waiter):
            while not self._looked(waiter):
                await waiter.wait()

            if self._ended(waiter):
                return

            with waiting_for(self) as pending:
                if pending is not OUTSIDE:
                    await self._source.submitter.call(pending.check)

                with pending.lend(waiter.wake) as go_on:
                    while not self._ended(waiter):
                        go_on()

                        if (left := wait.left()) <= 0:
                            raise self._late(wait, await self._source.submitter.call(self._why))

                        await waiter.wait(left)

    def _looked(self, waiter: Waiter) -> bool:
        """Show what the waiter has seen since it was asked before; whether that was anything."""
        try:
            sight = waiter.take()
        except JobNotFound:
            raise self._gone() from None

        if sight is not None:
            self._show(sight.job)

        return sight is not None

    def _ended(self, waiter: Waiter) -> bool:
        self._looked(waiter)
        return self.row.state.final

    def _late(self, wait: _Wait, why: str) -> ResultTimeout:
        return ResultTimeout(f"job {self.id} ({self.task_name}) is still {self.status} after {wait.timeout:g} seconds{why}")

    def _why(self) -> str:
        """The obstacle in its way, as the end of a sentence; nothing where that cannot be read."""
        try:
            obstacles = explain(self._source, self.row, worker_of(self.row.session), None).obstacles
        except ChergaError:
            return ""

        return f": {obstacles[0]}" if obstacles else ""

    def _gone(self) -> JobNotFound:
        return JobNotFound(f"job {self.id} ({self.task_name}) is not kept any more")

    def _finished(self) -> R_co:
        row = self.row

        if row.state is JobState.SUCCEEDED:
            return self._value()

        if row.state is JobState.CANCELLED:
            raise JobCancelled(row.id, row.reason or Reason.ASKED, row.message or "")

        error = self.error or JobError(row.reason or "error", row.message or "no attempt was kept")
        raise JobFailed(row.id, row.reason or Reason.ERROR, error.type, error.message, error.traceback)

    def _value(self) -> R_co:
        if self.row.result is None:
            raise ResultExpired(f"job {self.id} ({self.task_name}) succeeded, but its result is not kept")

        return cast(R_co, self._source.results_of(self.task_name).unpack(self.row.result))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.task_name} {self.status}>"


class _Wait:
    """The seconds for which a wait may still go on."""

    def __init__(self, source: Source, timeout: Duration | None) -> None:
        self.timeout = math.inf if timeout is None else seconds(timeout, "timeout")
        self._clock = source.clock
        self._began = self._clock.monotonic()

    def left(self) -> float:
        """Seconds, perhaps without end."""
        return self._began + self.timeout - self._clock.monotonic()
