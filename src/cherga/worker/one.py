"""A job in a call of its own: what is done otherwise than for a batch, step by step."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from cherga.client.app import QueueTasks
from cherga.client.context import Context
from cherga.client.explainers import explain
from cherga.rules.codec import check_size, encode_to_show, kept_plain
from cherga.rules.decide import Run, decide, succeed
from cherga.rules.kinds import Changed
from cherga.words.errors import PayloadTooLarge
from cherga.words.job import JobState
from cherga.words.outcomes import Failed, Interrupted, Outcome, Succeeded
from cherga.words.settlement import Settlement
from cherga.worker.assignment import Assignment, Running
from cherga.worker.failure import explained, outcome_of, unencodable
from cherga.worker.feeding import fed_payload
from cherga.worker.host import WorkerHost
from cherga.worker.journal import Journal, comes_again
from cherga.worker.settler import Settler

TellEnd = Callable[[Assignment, Settlement], None]


class One:
    """The steps for a job that is called by itself; each job of a batch is fed, and ends, by them too."""

    def __init__(
        self, app: QueueTasks, host: WorkerHost, worker: str, settler: Settler, running: Running, tell_end: TellEnd
    ) -> None:
        self.tell_end = tell_end
        """Waiters for an end hear of it once it is stored; the testing kit has a look at it first."""
        self.tell_raised: Callable[[Assignment, BaseException], None] = _keep_error
        """Hears of everything that user code raises; the testing kit remembers it."""
        self.chance = random.random
        """A random number from 0 to 1, for the jitter between attempts."""
        self.interruptions = 0
        """Attempts that ended so; lost updates between threads leave it above what it was."""
        self._app = app
        self._host = host
        self._worker = worker
        self._settler = settler
        self._running = running
        self._clock = app.clock
        self._limit = app.settings.max_payload
        self._wrapped = bool(app.middlewares)
        self.journal = Journal(app)

    # --- during

    def begin(self, assignment: Assignment, deadline: float | None) -> None:
        """The job begins."""
        assignment.context = Context(assignment.job, self._clock, self._settler, deadline, self._host)
        self._running.add(assignment)

    def feed(self, assignment: Assignment, feed: UUID) -> None:
        """Put in the result that the job waits for."""
        job = assignment.job
        assignment.job = msgspec.structs.replace(job, payload=fed_payload(self._app, assignment.task, job, feed))

    def arguments(self, assignment: Assignment) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The job's arguments, and the context where the task wants nothing else filled in."""
        task = assignment.task

        if task.injected and task.plain and not self._wrapped:
            return task.signature.unpack(assignment.job.payload, dict.fromkeys(task.injected, assignment.context))

        return task.signature.unpack(assignment.job.payload)

    # --- after

    def returned(self, assignment: Assignment, value: object) -> Outcome:
        """The value that was returned is the result."""
        try:
            result = self._packed(assignment, value)
        except BaseException as error:  # models encode themselves, by code that may raise anything
            return unencodable(error, value)

        if len(result) > self._limit:
            try:
                check_size(result, self._limit, "the result")
            except PayloadTooLarge as error:
                return unencodable(error, value)

        return Succeeded(result)

    def _packed(self, assignment: Assignment, value: object) -> bytes:
        try:
            return assignment.task.results.pack(value)
        except Changed as change:  # the work is done: it is kept as plain data
            self.journal.changed(assignment, change)
            return kept_plain(encode_to_show(value))

    def raised(self, assignment: Assignment, error: BaseException) -> Outcome:
        """The error that was raised ends the attempt, and is in the log."""
        self.tell_raised(assignment, error)
        outcome = outcome_for(assignment, error)

        if type(outcome) is Failed:
            outcome = self._with_delay(assignment, self.explained(outcome, error))
            self.journal.failed(assignment, outcome, error)

        return outcome

    def explained(self, outcome: Failed, error: BaseException) -> Failed:
        """The failure with the error in other words, where somebody knows what it comes from."""
        if (why := explain(self._app.explainers, error)) is None:
            return outcome

        return msgspec.structs.replace(outcome, error=explained(error, why), explained=True)

    def end(self, assignment: Assignment, outcome: Outcome) -> None:
        """The function has ended: put down what came of it, unless somebody was faster."""
        if self._running.take(assignment):
            self.put_down(assignment, assignment.verdict or outcome)

    def put_down(self, assignment: Assignment, outcome: Outcome) -> None:
        """Settle the job with its last words and its children, and tell of its end."""
        if type(outcome) is Succeeded:
            settlement = succeed(assignment.job, outcome, assignment.policy)
        else:
            if type(outcome) is Failed:
                outcome = self._with_delay(assignment, outcome)

            self.interruptions += type(outcome) is Interrupted
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
            self.journal.failed(assignment, outcome)

        self.journal.ended(assignment, settlement)

    def _with_delay(self, assignment: Assignment, outcome: Failed) -> Failed:
        """The failure with the time until the next attempt, where there is one."""
        if outcome.delay is not None or not comes_again(assignment, outcome):
            return outcome

        delay = assignment.policy.retry.wait(assignment.job.attempt, self.chance())
        return msgspec.structs.replace(outcome, delay=delay)

    def _with_last_words(self, context: Context, settlement: Settlement) -> Settlement:
        progress, meta = self._last_words(context)

        if progress is None and meta is None:
            return settlement

        return msgspec.structs.replace(settlement, progress=progress, meta=meta)

    def _last_words(self, context: Context) -> tuple[bytes | None, bytes | None]:
        if context.is_batch:  # the same for each of its jobs
            return context.latest_progress, context.latest_meta

        self._settler.flush(context)
        return context.take_unsent()


def outcome_for(assignment: Assignment, error: BaseException) -> Outcome:
    """The outcome that the task makes of an error that was raised."""
    return outcome_of(error, assignment.should_retry or assignment.policy.retry.worth)


def _keep_error(assignment: Assignment, error: BaseException) -> None:
    """For whatever is called at the end."""
    for each in assignment.undecided():
        if each.wishes is not None:
            each.wishes.error = error


def _with_children(context: Context, settlement: Settlement) -> Settlement:
    """The children go with a success, and with anything else they are dropped; from now on none can be asked for."""
    children = context.children.take(wanted=settlement.to is JobState.SUCCEEDED)
    return msgspec.structs.replace(settlement, children=children) if children else settlement
