"""The executor: runs a job, or a batch of them, and says what became of it. Read downwards it is the life of an attempt."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

import msgspec

from cherga.client.app import QueueTasks
from cherga.client.applications import set_source
from cherga.client.context import Context, set_current
from cherga.client.pipeline import executor_of
from cherga.client.task import Task
from cherga.client.waiting import Waits, set_waits
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobError, Reason
from cherga.words.later import asyncio
from cherga.words.outcomes import Failed, GivenBack, Outcome
from cherga.words.push import JobHead, OnCrash
from cherga.worker.assignment import Assignment, Running, Wishes
from cherga.worker.callbacks import Callbacks
from cherga.worker.copies import leave_if_copied
from cherga.worker.deadlines import Deadlines
from cherga.worker.failure import UNFED, UNREADABLE, broken, unfed, unreadable
from cherga.worker.host import WorkerHost
from cherga.worker.many import Many
from cherga.worker.one import One
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable
from cherga.worker.telling import Telling

_decode_head = msgspec.msgpack.Decoder(JobHead).decode
_RUNS_ONCE = OnCrash.FAIL


class Executor:
    """Runs assignments on whichever thread or loop calls it, and puts down what became of them."""

    def __init__(
        self, app: QueueTasks, host: WorkerHost, worker: str, settler: Settler, slots: SlotTable, deadlines: Deadlines
    ) -> None:
        self.running = Running()
        self.overdue: dict[int, Assignment] = {}
        """Attempts whose end is decided, though their functions still run; by claim token."""
        self._app = app
        self._host = host
        self._listened = app.on.started
        self._wrapped = bool(app.middlewares)
        self.clock = app.clock
        self.session = ""
        """The session whose jobs may begin."""
        self._slots = slots
        self._pid = os.getpid()
        self._deadlines = deadlines
        self._around = app.around_job
        self._origin = contextvars.Context()
        self._origin.run(set_source, app)
        self.callbacks = Callbacks(app, self.fresh, host.settle_in_thread)
        self.telling = Telling(app, worker, settler.expect, self.callbacks, self.fresh)
        self.one = One(app, host, worker, settler, self.running, self.telling.end)
        self.many = Many(app, host, settler, slots, self.running, self.one)

    def lend_with(self, waits: Waits) -> None:
        """Let jobs that wait for other jobs turn to these."""
        self._origin.run(set_waits, waits)

    def fresh(self) -> contextvars.Context:
        """A context for one job: nothing of the place where the worker was started, and nothing of any other job."""
        return self._origin.copy()

    # --- before

    def prepare(self, job: ClaimedJob, session: str) -> Assignment | None:
        """The assignment that runs the job claimed for this session; None when it cannot be run, which is settled at once."""
        task = self._find(job.task)

        try:
            head = _decode_head(job.head) if job.head is not None else None
        except (msgspec.DecodeError, TypeError) as error:
            self.one.put_down(Assignment(job, task, task.policy), unreadable(error))
            return None

        assignment = Assignment(job, task, task.policy)
        assignment.steps = self.one
        assignment.session = session

        if head is not None:
            _heed(assignment, head)

        return assignment

    def _find(self, name: str) -> Task[..., object]:
        tasks = self._app.tasks
        return tasks[name] if name in tasks else tasks[self._app.aliases[name]]

    def drop(self, assignment: Assignment, outcome: Outcome) -> None:
        """The job ends so before it began."""
        assignment.steps.put_down(assignment, outcome)

    def give_back(self, assignment: Assignment) -> None:
        """The job never started: back it goes, uncharged."""
        assignment.steps.put_down(assignment, GivenBack())

    # --- during

    def run(self, assignment: Assignment, slot: int) -> None:
        """Run a ``def`` task on this thread."""
        if not self._begin(assignment, slot):
            return

        try:
            outcome = self.fresh().run(self._call, assignment)
        except BaseException as error:
            outcome = broken(error)

        self._end(assignment, outcome)

    async def arun(self, assignment: Assignment, slot: int) -> None:
        """Run an ``async def`` task on this loop, in a context of its own."""
        if not self._begin(assignment, slot):
            return

        try:
            outcome = await self._acall(assignment)
        except BaseException as error:
            outcome = broken(error)

        self._end(assignment, outcome)

    def _begin(self, assignment: Assignment, slot: int) -> bool:
        now = self.clock.monotonic()
        limit = assignment.policy.max_time
        deadline = None if limit is None else now + limit
        assignment.started = now
        assignment.slot = slot
        assignment.steps.begin(assignment, deadline)

        self._slots.begin(slot, assignment.job.token)

        if not self._holds(assignment):
            self._slots.take_back(slot)
            assignment.steps.end(assignment, GivenBack())
            return False

        if deadline is not None:
            assignment.deadline = deadline
            self._deadlines.watch(deadline)

        if self._listened.handlers:
            for job in assignment.jobs:
                self.telling.start(job)

            leave_if_copied(self._pid)

        return True

    def _note_once(self, assignment: Assignment) -> bool:
        """Note that user code begins which must not run twice; False when it must not begin."""
        kept = self._slots.once.keep(assignment.once())

        if kept and self._holds(assignment):
            return True

        self._slots.once.let_go(assignment.once())
        return False

    def _holds(self, assignment: Assignment) -> bool:
        """True when the job is certainly still this session's.

        Asked after a note was made: whoever takes the job past the lease has either seen the note, or is found out here.
        """
        return self.clock.uptime() <= self._slots.lease_until and assignment.session == self.session

    def _call(self, assignment: Assignment) -> Outcome:
        """Decode, call, encode: each with failures of its own."""
        set_current(assignment.context)  # type: ignore[arg-type]

        try:
            if assignment.feed is not None:
                assignment.steps.feed(assignment, assignment.feed)

            args, kwargs = assignment.steps.arguments(assignment)
        except UNREADABLE as error:
            return unreadable(error)
        except UNFED as error:
            return unfed(error)

        if assignment.policy.on_crash is _RUNS_ONCE and not self._note_once(assignment):
            return GivenBack()

        try:
            task = assignment.task
            function = task.function if task.plain and not self._wrapped else self._inner(assignment)
            value = self._call_inside(function, args, kwargs) if self._around else function(*args, **kwargs)
        except BaseException as error:
            leave_if_copied(self._pid, error)
            return assignment.steps.raised(assignment, error)

        leave_if_copied(self._pid)
        return assignment.steps.returned(assignment, value)

    async def _acall(self, assignment: Assignment) -> Outcome:
        set_current(assignment.context)  # type: ignore[arg-type]

        try:
            if assignment.feed is not None:
                await self._app.submitter.call(assignment.steps.feed, assignment, assignment.feed)

            args, kwargs = assignment.steps.arguments(assignment)
        except UNREADABLE as error:
            return unreadable(error)
        except UNFED as error:
            return unfed(error)

        if assignment.policy.on_crash is _RUNS_ONCE and not self._note_once(assignment):
            return GivenBack()

        try:
            task = assignment.task
            function = task.function if task.plain and not self._wrapped else self._inner(assignment)
            value = await (self._acall_inside(function, args, kwargs) if self._around else function(*args, **kwargs))

            if (context := assignment.context) is not None and context.waiting_children is not None:
                await context.waiting_children.afinish()
        except (asyncio.CancelledError, GeneratorExit) as error:
            leave_if_copied(self._pid, error)
            return assignment.verdict or assignment.steps.raised(assignment, error)
        except BaseException as error:
            leave_if_copied(self._pid, error)
            return assignment.steps.raised(assignment, error)

        leave_if_copied(self._pid)
        return assignment.steps.returned(assignment, value)

    def _inner(self, assignment: Assignment) -> Callable[..., Any]:
        """The function that is called in place of the task's, with all that stands around it."""
        task = assignment.task
        inner = executor_of(task.features.executor)(task, cast(Context, assignment.context), self._host)
        assignment.should_retry = inner.worth
        return inner.arun if task.is_async else inner.run

    def _call_inside(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Inside the application's own context, made anew for each job; what is raised passes through it."""
        with ExitStack() as stack:
            for make in self._around:
                stack.enter_context(make())

            return function(*args, **kwargs)

    async def _acall_inside(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with ExitStack() as stack:
            for make in self._around:
                stack.enter_context(make())

            return await function(*args, **kwargs)

    # --- after

    def _end(self, assignment: Assignment, outcome: Outcome) -> None:
        assignment.ended = True

        if self.overdue:
            self.overdue.pop(assignment.job.token, None)

        assignment.steps.end(assignment, outcome)

    def outlive(self, assignment: Assignment) -> None:
        """Note that the attempt's end is decided while its function runs, unless that has just ended."""
        self.overdue[assignment.job.token] = assignment

        if assignment.ended:
            self.overdue.pop(assignment.job.token, None)

    def abandon(self, assignment: Assignment) -> None:
        """Settle by its verdict what still runs; what the function returns later is ignored."""
        if assignment.verdict is not None and self.running.take(assignment):
            assignment.steps.put_down(assignment, assignment.verdict)


def _heed(assignment: Assignment, head: JobHead) -> None:
    """The policy in which the job differs from its task."""
    assignment.policy = assignment.policy.overridden(head.overrides)
    assignment.feed = head.feed

    if head.on_success or head.on_failure:
        assignment.wishes = Wishes(head)


def timed_out(assignment: Assignment) -> Outcome:
    """The verdict on an attempt past its ``max_time``."""
    limit = assignment.policy.max_time
    return Failed(JobError("TimeLimitExceeded", f"the job ran longer than its max_time of {limit:g} seconds"), Reason.TIMEOUT)
