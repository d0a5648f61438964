"""Attempts that are ended from outside while their function still runs: whether they may be settled at once."""

from __future__ import annotations

from collections.abc import Sequence

from cherga.doors.broker import FullBroker
from cherga.rules.limits import limit_names
from cherga.words.claim import ClaimedJob
from cherga.words.errors import BrokerError
from cherga.words.outcomes import Failed, Interrupted, Outcome
from cherga.worker.assignment import Assignment
from cherga.worker.calls import Call


def settles_now(broker: FullBroker, assignment: Assignment, verdict: Outcome) -> bool:
    """Whether nothing may start on the attempt's account: no retry, nobody after its unique key or its limit's slot."""
    if type(assignment) is Call:
        members = list(assignment.open.values())
        return all(_concerns_nobody(each, verdict) for each in members) and not _hold_a_slot(broker, [m.job for m in members])

    return _concerns_nobody(assignment, verdict) and not _hold_a_slot(broker, [assignment.job])


def _concerns_nobody(assignment: Assignment, verdict: Outcome) -> bool:
    if assignment.job.unique_key is not None or isinstance(verdict, Interrupted):
        return False

    again = isinstance(verdict, Failed) and verdict.retryable and assignment.job.attempt <= assignment.policy.retry.max
    return not again


def _hold_a_slot(broker: FullBroker, jobs: Sequence[ClaimedJob]) -> bool:
    """Whether one of the jobs counts for a limit on jobs that run. A broker that is away is given the benefit of the doubt."""
    try:
        rows = broker.get([job.id for job in jobs])
        keys = [row.limit_keys if row is not None else () for row in rows]
        names = {name: None for job, own in zip(jobs, keys, strict=True) for name in limit_names(job.queue, job.task, own)}
        uses = broker.limits(list(names))
    except BrokerError:
        return True

    return any(use.rule.max_running is not None for use in uses)
