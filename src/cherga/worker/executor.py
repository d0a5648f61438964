"""The executor: runs one job and says what became of it. The longest way through this file is the life of an attempt."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast
from uuid import UUID

import msgspec

from cherga.client.app import QueueTasks
from cherga.client.applications import set_source
from cherga.client.context import Context, set_current
from cherga.client.pipeline import executor_of
from cherga.client.task import Task
from cherga.client.waiting import Waits, set_waits
from cherga.rules.codec import check_size, encode
from cherga.rules.decide import Run, decide, succeed
from cherga.words.claim import ClaimedJob
from cherga.words.errors import PayloadTooLarge
from cherga.words.job import JobError, JobState, Reason
from cherga.words.outcomes import Failed, GivenBack, Outcome, Succeeded
from cherga.words.push import JobHead, OnCrash
from cherga.words.settlement import Settlement
from cherga.worker.assignment import Assignment, Running, Wishes
from cherga.worker.callbacks import Callbacks
from cherga.worker.calls import BatchContext, Call
from cherga.worker.deadlines import Deadlines
from cherga.worker.failure import UNFED, UNREADABLE, broken, outcome_of, unencodable, unfed, unreadable
from cherga.worker.feeding import fed_payload
from cherga.worker.host import WorkerHost
from cherga.worker.journal import Journal
from cherga.worker.many import Many, Steps
from cherga.worker.pace import Pace
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable
from cherga.worker.telling import Telling

_decode_head = msgspec.msgpack.Decoder(JobHead).decode
_RUNS_ONCE = OnCrash.FAIL


class Executor:
    """Runs assignments on whichever thread or loop calls it, and puts down what became of them."""

    chance = staticmethod(random.random)
    """From 0 to 1, for the jitter between attempts."""

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
        self._worker = worker
        self._clock = app.clock
        self._settler = settler
        self._slots = slots
        self._deadlines = deadlines
        self._around = app.around_job
        self._limit = app.settings.max_payload
        self._origin = contextvars.Context()
        self._origin.run(set_source, app)
        self.callbacks = Callbacks(app, self.fresh, host.settle_in_thread)
        self.telling = Telling(app, worker, settler.expect, self.callbacks)
        self._journal = Journal(app)
        steps = Steps(self._feed, self._returned, self._raised, self._put_down)
        self.many = Many(slots, settler, self.running, self._journal, steps)
        self.tell_end: Callable[[Assignment, Settlement], None] = self.telling.end
        """Whoever waits for this end hears of it once it is stored; the testing kit has a look at it first."""

    def lend_with(self, waits: Waits) -> None:
        """Let jobs that wait for other jobs turn to these."""
        self._origin.run(set_waits, waits)

    def fresh(self) -> contextvars.Context:
        """A context for one job: nothing of the place where the worker was started, and nothing of any other job."""
        return self._origin.copy()

    # --- before

    def prepare(self, job: ClaimedJob) -> Assignment | None:
        """What is needed to run the job; None when it cannot be run, which is settled then and there."""
        task = self._find(job.task)

        try:
            head = _decode_head(job.head) if job.head is not None else None
        except (msgspec.DecodeError, TypeError) as error:
            self._put_down(Assignment(job, task, task.policy), unreadable(error))
            return None

        if head is None:
            return Assignment(job, task, task.policy)

        wishes = Wishes(head) if head.on_success or head.on_failure else None
        assignment = Assignment(job, task, task.policy.overridden(head.overrides), wishes)
        assignment.feed = head.feed
        return assignment

    def _find(self, name: str) -> Task[..., object]:
        tasks = self._app.tasks
        return tasks[name] if name in tasks else tasks[self._app.aliases[name]]

    def drop(self, assignment: Assignment, outcome: Outcome) -> None:
        """The job ends so before it began."""
        self._put_down(assignment, outcome)

    def give_back(self, assignment: Assignment) -> None:
        """The job never started: back it goes, uncharged."""
        self._put_down(assignment, GivenBack())

    # --- during

    def run(self, assignment: Assignment, slot: int, pace: Pace) -> None:
        """Run a ``def`` task on this thread."""
        if not self._begin(assignment, slot):
            return

        try:
            outcome = self.fresh().run(self._call, assignment)
        except BaseException as error:
            outcome = broken(error)

        self._end(assignment, slot, outcome, pace)

    async def arun(self, assignment: Assignment, slot: int, pace: Pace) -> None:
        """Run an ``async def`` task on this loop, in a context of its own."""
        if not self._begin(assignment, slot):
            return

        try:
            outcome = await self._acall(assignment)
        except BaseException as error:
            outcome = broken(error)

        self._end(assignment, slot, outcome, pace)

    def _begin(self, assignment: Assignment, slot: int) -> bool:
        """Past the lease somebody else may hold the job: nothing is started then."""
        if self._clock.uptime() > self._slots.lease_until:
            self.give_back(assignment)
            return False

        now = self._clock.monotonic()
        limit = assignment.policy.max_time
        deadline = None if limit is None else now + limit
        made = BatchContext if type(assignment) is Call else Context
        assignment.context = made(assignment.job, self._clock, self._settler, deadline, self._host)
        assignment.started = now
        assignment.slot = slot
        self._slots.begin(slot, assignment.job.token)
        self.running.add(assignment)

        if deadline is not None:
            assignment.deadline = deadline
            self._deadlines.watch(deadline)

        if type(assignment) is Call:
            self.many.begin(assignment)

        if self._listened.handlers:
            self._tell_start(assignment)

        return True

    def _tell_start(self, assignment: Assignment) -> None:
        for member in assignment.members if type(assignment) is Call else (assignment,):
            self.telling.start(member.job)

    def _call(self, assignment: Assignment) -> Outcome:
        """Decode, call, encode: each with failures of its own."""
        set_current(assignment.context)  # type: ignore[arg-type]

        try:
            if assignment.feed is not None:
                self._feed(assignment, assignment.feed)

            args, kwargs = self._arguments(assignment)
        except UNREADABLE as error:
            return unreadable(error)
        except UNFED as error:
            return unfed(error)

        try:
            task = assignment.task
            function = task.function if task.plain and not self._wrapped else self._steps(assignment)
            value = self._call_inside(function, args, kwargs) if self._around else function(*args, **kwargs)
        except BaseException as error:
            return self._raised(assignment, error)

        return self.many.returned(assignment, value) if type(assignment) is Call else self._returned(value)

    async def _acall(self, assignment: Assignment) -> Outcome:
        set_current(assignment.context)  # type: ignore[arg-type]

        try:
            if assignment.feed is not None:
                await self._app.submitter.call(self._feed, assignment, assignment.feed)

            args, kwargs = self._arguments(assignment)
        except UNREADABLE as error:
            return unreadable(error)
        except UNFED as error:
            return unfed(error)

        try:
            task = assignment.task
            function = task.function if task.plain and not self._wrapped else self._steps(assignment)
            value = await (self._acall_inside(function, args, kwargs) if self._around else function(*args, **kwargs))
        except (asyncio.CancelledError, GeneratorExit) as error:
            return assignment.verdict or self._raised(assignment, error)
        except BaseException as error:
            return self._raised(assignment, error)

        return self.many.returned(assignment, value) if type(assignment) is Call else self._returned(value)

    def _steps(self, assignment: Assignment) -> Callable[..., Any]:
        """What is called in place of the function, with all that stands around it."""
        task = assignment.task
        steps = executor_of(task.features.executor)(task, cast(Context, assignment.context), self._host)
        assignment.should_retry = steps.worth
        return steps.arun if task.is_async else steps.run

    def _feed(self, assignment: Assignment, feed: UUID) -> None:
        if type(assignment) is Call:
            self.many.feed(assignment)
            return

        job = assignment.job
        assignment.job = msgspec.structs.replace(job, payload=fed_payload(self._app, assignment.task, job, feed))

    def _arguments(self, assignment: Assignment) -> tuple[tuple[Any, ...], dict[str, Any]]:
        task = assignment.task
        filled = task.injected if task.injected and task.plain and not self._wrapped else ()

        if type(assignment) is Call:
            return self.many.arguments(assignment, tuple(filled))

        if filled:
            return task.signature.unpack(assignment.job.payload, dict.fromkeys(filled, assignment.context))

        return task.signature.unpack(assignment.job.payload)

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

    def _returned(self, value: object) -> Outcome:
        try:
            result = encode(value)
        except BaseException as error:  # models encode themselves, by code that may raise anything
            return unencodable(error, value)

        if len(result) > self._limit:
            try:
                check_size(result, self._limit, "the result")
            except PayloadTooLarge as error:
                return unencodable(error, value)

        return Succeeded(result)

    def _raised(self, assignment: Assignment, error: BaseException) -> Outcome:
        outcome = outcome_of(error, assignment.should_retry or assignment.policy.retry.worth)

        if type(assignment) is Call:
            self.many.raised(assignment, outcome, error)
        elif type(outcome) is Failed:
            self._journal.failed(assignment, outcome, error)

        if assignment.wishes is not None:
            assignment.wishes.error = error

        return outcome

    def _end(self, assignment: Assignment, slot: int, outcome: Outcome, pace: Pace) -> None:
        if assignment.policy.on_crash is _RUNS_ONCE:
            self._slots.remember(assignment.job.token)

        self._slots.end(slot)
        assignment.ended = True

        if self.overdue:
            self.overdue.pop(assignment.job.token, None)

        if type(assignment) is Call:
            self._end_call(assignment, outcome)
            return

        pace.took(self._clock.monotonic() - assignment.started)

        if self.running.take(assignment):
            self._put_down(assignment, assignment.verdict or outcome)

    def _end_call(self, call: Call, outcome: Outcome) -> None:
        """Many jobs at once say nothing about the pace of one."""
        if self.running.take(call):
            self.many.put_down(call, call.verdict or outcome)

        self.many.end(call)

    def outlive(self, assignment: Assignment) -> None:
        """Note that the attempt's end is decided while its function runs, unless that has just ended."""
        self.overdue[assignment.job.token] = assignment

        if assignment.ended:
            self.overdue.pop(assignment.job.token, None)

    def abandon(self, assignment: Assignment) -> None:
        """Settle by its verdict what still runs; what the function returns later is ignored."""
        if assignment.verdict is not None and self.running.take(assignment):
            self._put_down(assignment, assignment.verdict)

    def _put_down(self, assignment: Assignment, outcome: Outcome) -> None:
        if type(assignment) is Call:
            self.many.put_down(assignment, outcome)
            return

        if type(outcome) is Succeeded:
            settlement = succeed(assignment.job, outcome, assignment.policy)
        else:
            run = Run(self._worker, self._clock.now())
            settlement = decide(assignment.job, outcome, assignment.policy, run, self.chance())

        context = assignment.context

        if context is not None and (context.latest_progress is not None or context.latest_meta is not None or context.events):
            settlement = self._with_last_words(context, settlement)

        if context is not None and (context.waiting_children is not None or assignment.task.features.echo):
            settlement = _with_children(context, settlement)

        self.tell_end(assignment, settlement)
        self._settler.settle(settlement)

        if type(outcome) is Failed and not assignment.told:
            self._journal.failed(assignment, outcome)

        self._journal.ended(assignment, settlement)

    def _with_last_words(self, context: Context, settlement: Settlement) -> Settlement:
        progress, meta = self._last_words(context)

        if progress is None and meta is None:
            return settlement

        return msgspec.structs.replace(settlement, progress=progress, meta=meta)

    def _last_words(self, context: Context) -> tuple[bytes | None, bytes | None]:
        if type(context) is BatchContext:  # the same for each of its jobs
            return context.latest_progress, context.latest_meta

        self._settler.flush(context)
        return context.take_unsent()


def _with_children(context: Context, settlement: Settlement) -> Settlement:
    """The children go with a success, and with anything else they are dropped; from now on none can be asked for."""
    children = context.children.take()
    return msgspec.structs.replace(settlement, children=children) if settlement.to is JobState.SUCCEEDED else settlement


def timed_out(assignment: Assignment) -> Outcome:
    """The verdict on an attempt past its ``max_time``."""
    limit = assignment.policy.max_time
    return Failed(JobError("TimeLimitExceeded", f"the job ran longer than its max_time of {limit:g} seconds"), Reason.TIMEOUT)
