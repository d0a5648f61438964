"""Telling: who hears what of the jobs of one worker, and when. Ends are told once they are stored, never before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import Context as Variables
from functools import partial
from uuid import UUID

from msgspec.structs import replace

from cherga.client.app import QueueTasks
from cherga.client.signals import Event, Signal
from cherga.rules.limits import queue_limit
from cherga.rules.notices import error_of
from cherga.rules.progress import read_progress
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobError, JobRow, JobState
from cherga.words.notice import Notice
from cherga.words.push import NewJob
from cherga.words.report import Report
from cherga.words.settlement import Charge, Settlement
from cherga.words.unique import OnConflict
from cherga.worker.assignment import Assignment, Running, wishes_of
from cherga.worker.callbacks import Callbacks
from cherga.worker.herald import Herald
from cherga.worker.journal import Journal

Expect = Callable[[int, Callable[[bool], None]], None]
"""Calls the second with whether the settlement under that claim token was written."""


class Telling:
    """Events, callbacks and what is said of refused children. It costs a job nothing when nobody listens."""

    def __init__(
        self, app: QueueTasks, worker: str, expect: Expect, callbacks: Callbacks, enter: Callable[[], Variables]
    ) -> None:
        self.herald = Herald()
        """Tells what happens; the testing kit has one that tells at once."""
        self._app = app
        self._on = app.on
        self._worker = worker
        self._expect = expect
        self._callbacks = callbacks
        self._enter = enter
        self._journal = Journal(app)
        self._ordering = threading.Lock()
        self._ending: dict[UUID, list[Event]] = {}
        """Jobs whose end is being written, each with the start of its next attempt, which may be claimed before that."""
        self._ends = {
            JobState.SUCCEEDED: app.on.succeeded,
            JobState.FAILED: app.on.failed,
            JobState.CANCELLED: app.on.cancelled,
            JobState.SCHEDULED: app.on.retried,
            JobState.READY: app.on.retried,
        }

    def tell(self, signal: Signal, event: Event) -> None:
        """Tell this soon; returns at once."""
        self.herald.call(partial(self._send, signal, event))

    def start(self, job: ClaimedJob) -> None:
        """User code is about to begin."""
        event = Event("started", job.id, job.task, JobState.RUNNING, job.attempt, worker=self._worker)

        with self._ordering:
            behind = self._ending.get(job.id)

            if behind is not None:
                behind.append(event)
                return

        self.tell(self._on.started, event)

    def reports(self, reports: list[Report], running: Running) -> None:
        """Progress was stored."""
        for report in reports if self._on.progress.handlers else ():
            job = _job_of(report, running)

            if report.progress is not None and job is not None:
                self._progress(job, report.progress)

    def end(self, assignment: Assignment, settlement: Settlement) -> None:
        """The settlement is about to be put down; whoever waits for it hears of it once it is stored."""
        progress = settlement.progress is not None and self._on.progress.handlers

        if not (self._ends[settlement.to].handlers or assignment.wishes is not None or settlement.children or progress):
            return

        if answers := self._answers(assignment, settlement):
            with self._ordering:
                self._ending.setdefault(assignment.job.id, [])

            self._expect(assignment.job.token, partial(self._answered, assignment.job, answers))

    def news(self, notice: Notice, row: JobRow | None, done: Callable[[], None]) -> None:
        """The broker did something with a job by itself: tell it soon, and then call ``done``."""
        self.herald.call(partial(self._tell_news, notice, row, done))

    def _tell_news(self, notice: Notice, row: JobRow | None, done: Callable[[], None]) -> None:
        self._journal.noticed(notice)
        signal, error = self._ends[notice.state], error_of(notice)
        details = {"reason": notice.reason and notice.reason.value, "message": notice.message}
        event = Event(signal.name, notice.id, notice.task, notice.state, notice.attempt, error, None, self._worker, details)
        self._send(signal, event)

        if row is not None and (name := wishes_of(row).name(notice.state)) is not None:
            self._callbacks.call(name, _as_noticed(row, notice), ("notice", notice.number), done)
        else:
            done()

    def _answered(self, job: ClaimedJob, answers: list[Callable[[bool], None]], written: bool) -> None:
        try:
            for answered in answers:
                answered(written)
        finally:
            with self._ordering:
                starts = self._ending.pop(job.id, [])

            for event in starts:
                self.tell(self._on.started, event)

    def _answers(self, assignment: Assignment, settlement: Settlement) -> list[Callable[[bool], None]]:
        answers: list[Callable[[bool], None]] = []

        if assignment.wishes is not None and (answered := self._callbacks.expect(assignment, settlement)) is not None:
            answers.append(answered)

        return [*answers, partial(self._ended, assignment.job, settlement)]

    def _ended(self, job: ClaimedJob, settlement: Settlement, written: bool) -> None:
        if not written:
            return

        if settlement.progress is not None:
            self._progress(job, settlement.progress)

        if settlement.to.final or settlement.charge is Charge.ATTEMPT:
            signal, attempt = self._ends[settlement.to], settlement.attempt
            error = attempt.error if attempt else None
            event = Event(signal.name, job.id, job.task, settlement.to, job.attempt, error, worker=self._worker)
            self.tell(signal, event)

        for group in settlement.children:
            self._pushed(job, group)

    def _progress(self, job: ClaimedJob, packed: bytes) -> None:
        if self._on.progress.handlers:
            self.herald.call(partial(self._tell_progress, job, packed))

    def _tell_progress(self, job: ClaimedJob, packed: bytes) -> None:
        progress = read_progress(packed)
        event = Event("progress", job.id, job.task, JobState.RUNNING, job.attempt, None, progress, self._worker)
        self._send(self._on.progress, event)

    def _pushed(self, parent: ClaimedJob, children: Sequence[NewJob]) -> None:
        """The children of one group are stored, except those whose unique keys were held; or none, if the group was refused."""
        self.herald.call(partial(self._tell_children, parent, children))

    def _tell_children(self, parent: ClaimedJob, children: Sequence[NewJob]) -> None:
        full = self._capped(children)
        unsure = [child.id for child in children if child.unique is not None or child.queue in full]
        rows = self._app.broker.get(unsure) if unsure else []
        missing = {id for id, row in zip(unsure, rows, strict=True) if row is None}
        refused = next((c for c in children if c.id in missing and (_can_be_refused(c) or c.queue in full)), None)

        if refused is not None:
            self._refused(parent, refused)
            return

        for child in children:
            if child.id not in missing:
                event = Event("enqueued", child.id, child.task, JobState.READY, worker=self._worker)
                self._send(self._on.enqueued, event)

    def _capped(self, children: Sequence[NewJob]) -> set[str]:
        """The queues among theirs that may be full."""
        queues = {queue_limit(child.queue): child.queue for child in children}
        return {queues[use.name] for use in self._app.broker.limits(list(queues)) if use.rule.max_length is not None}

    def _refused(self, parent: ClaimedJob, child: NewJob) -> None:
        why = f"queue {child.queue!r} is full"

        if child.unique is not None and _can_be_refused(child):
            why = f"its unique key {child.unique.key!r} is held by another job"

        self._app.job_logger.error(
            "job %s (%s) has succeeded, but its child %s (%s) was refused: %s",
            parent.id,
            parent.task,
            child.id,
            child.task,
            why,
            extra={"action": "child.refused", "job_id": str(parent.id), "task_name": parent.task, "child_id": str(child.id)},
        )
        details = {"parent": parent.id, "parent_task": parent.task}
        error = JobError("EnqueueRefused", why)
        event = Event("refused", child.id, child.task, error=error, worker=self._worker, details=details)
        self._send(self._on.refused, event)

    def _send(self, signal: Signal, event: Event) -> None:
        """Handlers run as jobs do: with fresh variables, inside the application's context."""
        self._enter().run(signal.send, event, self._app.surroundings)


def _job_of(report: Report, running: Running) -> ClaimedJob | None:
    if (assignment := running.find(report.token)) is not None:
        return assignment.job

    call = running.call_of(report.token)
    member = call and call.open.get(report.token)  # it may have been settled meanwhile
    return member.job if member else None


def _as_noticed(row: JobRow, notice: Notice) -> JobRow:
    """Somebody may have moved the job on since."""
    return replace(row, state=notice.state, reason=notice.reason, message=notice.message)


def _can_be_refused(child: NewJob) -> bool:
    return child.unique is not None and child.unique.conflict is OnConflict.REFUSE
