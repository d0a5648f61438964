"""Attempts that are ended from outside while their function still runs: past their time, cancelled, or lost with their session.

Whether such an attempt may be settled at once depends on who waits for its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from msgspec import Struct

from cherga.client.app import QueueTasks
from cherga.doors.broker import FullBroker
from cherga.rules.limits import limit_names
from cherga.words.claim import ClaimedJob
from cherga.words.errors import BrokerError
from cherga.words.job import Reason
from cherga.words.outcomes import Cancelled, Failed, Interrupted, Outcome
from cherga.words.session import Cancel
from cherga.worker.assignment import Assignment
from cherga.worker.calls import Call
from cherga.worker.collecting import Collectors
from cherga.worker.deadlines import NEVER, Deadlines
from cherga.worker.executor import Executor, timed_out
from cherga.worker.loop import LoopRunner
from cherga.worker.slots import Pulse, SlotTable

logger = logging.getLogger("cherga.worker")


class Endings(Struct, frozen=True):
    """The parts that end attempts, or begin others: the loop, those who wait for company, and the times to look."""

    loop: LoopRunner
    collectors: Collectors
    deadlines: Deadlines


class Judge:
    """Fixes what attempts end as. ``stuck`` is called when a thread outlives its attempt too long."""

    def __init__(
        self, app: QueueTasks, executor: Executor, endings: Endings, slots: SlotTable, stuck: Callable[[], None] | None
    ) -> None:
        self._app = app
        self._executor = executor
        self._endings = endings
        self._slots = slots
        self._stuck = stuck

    def cancel(self, cancel: Cancel) -> None:
        """Somebody asked to cancel a running job."""
        assignment = self._executor.running.find(cancel.token)

        if assignment is None:
            self._cancel_in_batch(cancel.token)
        elif assignment.verdict is None:
            self.end(assignment, Cancelled("", Reason.ASKED))

    def _cancel_in_batch(self, token: int) -> None:
        """The others of the batch go on; a call that is left without jobs is ended."""
        call = None if self._endings.collectors.cancel(token) else self._executor.running.call_of(token)
        member = call and call.open.get(token)

        if call is None or member is None or call.verdict or token in call.outcomes:
            return

        verdict = member.verdict = Cancelled("", Reason.ASKED)

        if settle_now(self._app.broker, [member]):
            self._executor.many.abandon(call, member)

        if all(each.verdict for each in list(call.open.values())):
            self.end(call, verdict)

    def expire(self, now: float) -> float:
        """End what is past its time; return the next deadline. What cannot be done for one is raised at the end."""
        troubles: list[Exception] = []
        late = [each for each in self._executor.running.all() if each.verdict is None and each.deadline <= now]

        for assignment in late:
            self._try(troubles, self._judge, assignment, timed_out(assignment))

        self._try(troubles, self._settle, late)

        for assignment in list(self._executor.overdue.values()):
            if assignment.deadline <= now:
                self._try(troubles, self._tell_stuck, assignment)

        due = self._endings.collectors.flush(now)
        watched = (*self._executor.running.all(), *self._executor.overdue.values())

        if troubles:
            raise ExceptionGroup("attempts past their time", troubles)

        return min((due, *(assignment.deadline for assignment in watched)))

    def _try(self, troubles: list[Exception], act: Callable[..., None], *args: object) -> None:
        """Carry out one verdict, which may take its time where the broker does."""
        self._slots.beat(Pulse.DEADLINES)

        try:
            act(*args)
        except Exception as error:
            troubles.append(error)

    def end(self, assignment: Assignment, verdict: Outcome) -> None:
        """Fix what the attempt ends as, and end it as far as that is possible."""
        self._judge(assignment, verdict)
        self._settle([assignment])

    def _judge(self, assignment: Assignment, verdict: Outcome) -> None:
        assignment.verdict = verdict
        assignment.deadline = self._app.clock.monotonic() + self._app.settings.stuck_after
        self._executor.outlive(assignment)

        if assignment.context is not None:
            assignment.context.cancel_now()

        if assignment.task.is_async:
            self._endings.loop.cancel(assignment)

        self._endings.deadlines.watch(assignment.deadline)

    def _settle(self, judged: Sequence[Assignment]) -> None:
        """A thread cannot be stopped. Its attempt is settled at once when nothing may start on its account; a retry, a unique
        key and a limit's slot wait until the thread ends or its process is replaced.
        """
        for assignment in settle_now(self._app.broker, [each for each in judged if not each.task.is_async]):
            self._executor.abandon(assignment)

    def _tell_stuck(self, assignment: Assignment) -> None:
        assignment.deadline = NEVER
        logger.error(
            "job %s (%s) does not stop; %s",
            assignment.job.id,
            assignment.job.task,
            "its worker process will be replaced" if self._stuck else "its thread is lost until this process ends",
            extra={"action": "job.stuck", "job_id": str(assignment.job.id)},
        )

        if self._stuck is not None:
            self._stuck()


def settle_now(broker: FullBroker, judged: Sequence[Assignment]) -> list[Assignment]:
    """Settlements that let nothing start: no retry, nobody after their unique key or their limit's slot. The broker is
    asked once for all of them.
    """
    jobs = {id(each): [member.job for member in _members(each)] for each in judged if _concern_nobody(each)}
    holding = _holding_a_slot(broker, [job for own in jobs.values() for job in own]) if jobs else set()
    return [each for each in judged if id(each) in jobs and holding.isdisjoint(job.id for job in jobs[id(each)])]


def _members(assignment: Assignment) -> Sequence[Assignment]:
    return list(assignment.open.values()) if type(assignment) is Call else (assignment,)


def _concern_nobody(assignment: Assignment) -> bool:
    verdict = assignment.verdict
    return verdict is not None and all(_concerns_nobody(member, verdict) for member in _members(assignment))


def _concerns_nobody(assignment: Assignment, verdict: Outcome) -> bool:
    if assignment.job.unique_key is not None or isinstance(verdict, Interrupted):
        return False

    again = isinstance(verdict, Failed) and verdict.retryable and assignment.job.attempt <= assignment.policy.retry.max
    return not again


def _holding_a_slot(broker: FullBroker, jobs: Sequence[ClaimedJob]) -> set[UUID]:
    """The jobs that count for a limit on jobs that run. A broker that is away is given the benefit of the doubt."""
    try:
        rows = broker.get([job.id for job in jobs])
        keys = [row.limit_keys if row is not None else () for row in rows]
        names = {job.id: limit_names(job.queue, job.task, own) for job, own in zip(jobs, keys, strict=True)}
        uses = broker.limits(list({name: None for own in names.values() for name in own}))
    except BrokerError:
        return {job.id for job in jobs}

    limited = {use.name for use in uses if use.rule.max_running is not None}
    return {id for id, own in names.items() if not limited.isdisjoint(own)}
