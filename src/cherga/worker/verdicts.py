"""Attempts that are ended from outside while their function still runs: whether they may be settled at once."""

from __future__ import annotations

from cherga.doors.broker import FullBroker
from cherga.rules.limits import limit_names
from cherga.words.errors import BrokerError
from cherga.words.job import ClaimedJob
from cherga.words.outcomes import Failed, Interrupted, Outcome
from cherga.worker.assignment import Assignment


def settles_now(broker: FullBroker, assignment: Assignment, verdict: Outcome) -> bool:
    """Whether nothing may start on the attempt's account: no retry, nobody after its unique key or its limit's slot."""
    if assignment.job.unique_key is not None or isinstance(verdict, Interrupted):
        return False

    again = isinstance(verdict, Failed) and verdict.retryable and assignment.job.attempt <= assignment.policy.retry.max
    return not again and not _holds_a_slot(broker, assignment.job)


def _holds_a_slot(broker: FullBroker, job: ClaimedJob) -> bool:
    """Whether the job counts for a limit on jobs that run. A broker that is away is given the benefit of the doubt."""
    try:
        (row,) = broker.get([job.id])
        keys = row.limit_keys if row is not None else ()
        uses = broker.limits(limit_names(job.queue, job.task, keys))
    except BrokerError:
        return True

    return any(use.rule.max_running is not None for use in uses)
