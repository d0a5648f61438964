"""Decisions, from the outcome of a call to the settlement that the worker writes: pure, and tested by a table."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from cherga.rules.deaths import INTERRUPTED, MUST_NOT_RUN_TWICE
from cherga.rules.retry import Retry
from cherga.words.claim import ClaimedJob
from cherga.words.job import Attempt, JobError, JobState, Reason
from cherga.words.outcomes import Cancelled, Failed, GivenBack, Interrupted, Outcome, Snoozed, Succeeded
from cherga.words.push import OnCrash, Overrides
from cherga.words.settlement import Charge, Settlement


class Policy(Struct, frozen=True):
    """The policy of a task's declaration for the ends of its jobs. Times in seconds."""

    retry: Retry = Retry()
    max_time: float | None = None
    result_ttl: float = 86_400.0
    failure_ttl: float = 30 * 86_400.0
    on_crash: OnCrash = OnCrash.RETRY

    def overridden(self, by: Overrides | None) -> Policy:
        """The policy with what ``using(...)`` set for one job."""
        if by is None:
            return self

        return Policy(
            retry=self.retry if by.retry is None else replace(self.retry, max=by.retry),
            max_time=self.max_time if by.max_time is None else by.max_time or None,
            result_ttl=self.result_ttl if by.result_ttl is None else by.result_ttl,
            failure_ttl=self.failure_ttl if by.failure_ttl is None else by.failure_ttl,
            on_crash=by.on_crash or self.on_crash,
        )


class Run(Struct, frozen=True):
    """The worker of the attempt, and its end (broker-independent wall clock, for the history alone)."""

    worker: str
    finished_at: float


def decide(job: ClaimedJob, outcome: Outcome, policy: Policy, run: Run, chance: float) -> Settlement:
    """The settlement of this attempt. ``chance`` is a random number from 0 to 1, for the jitter."""
    match outcome:
        case Succeeded():
            return succeed(job, outcome, policy)
        case Failed():
            return _failed(job, outcome, policy, run, chance)
        case Snoozed(delay):
            return _again(job, delay, Charge.REFUND)
        case Cancelled(message, reason):
            return _ended(job, JobState.CANCELLED, reason, message, policy, run)
        case Interrupted():
            return _interrupted(job, policy, run)
        case GivenBack():
            return _again(job, 0.0, Charge.REFUND)
        case _:
            assert_never(outcome)


def succeed(job: ClaimedJob, outcome: Succeeded, policy: Policy) -> Settlement:
    """The settlement of an attempt that succeeded; no history is kept of it, so neither clock nor chance is asked."""
    return Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED, result=outcome.result, keep=policy.result_ttl)


RETRYLESS = "RetryLater needs attempts that are left, as in @app.task(retry=5)"


def is_retryless(outcome: Failed, policy: Policy) -> bool:
    """True when a task asks to be tried again later that is never tried again."""
    return outcome.delay is not None and policy.retry.max == 0


def _failed(job: ClaimedJob, outcome: Failed, policy: Policy, run: Run, chance: float) -> Settlement:
    error = outcome.error

    if is_retryless(outcome, policy):
        error = replace(error, message=f"{error.message} ({RETRYLESS})")

    attempt = _attempt(job, run, outcome.reason, error)

    if outcome.retryable and job.attempt <= policy.retry.max:
        delay = policy.retry.wait(job.attempt, chance) if outcome.delay is None else outcome.delay
        return replace(_again(job, delay, Charge.ATTEMPT), reason=outcome.reason, attempt=attempt)

    return replace(_final(job, JobState.FAILED, outcome.reason, policy), attempt=attempt)


def _interrupted(job: ClaimedJob, policy: Policy, run: Run) -> Settlement:
    """A deploy is nobody's fault, unless the task must never run twice."""
    attempt = _attempt(job, run, Reason.INTERRUPTED, INTERRUPTED)

    if policy.on_crash is OnCrash.FAIL:
        final = _final(job, JobState.FAILED, Reason.INTERRUPTED, policy)
        return replace(final, message=MUST_NOT_RUN_TWICE, attempt=attempt)

    return replace(_again(job, 0.0, Charge.INTERRUPTION), attempt=attempt)


def _ended(job: ClaimedJob, to: JobState, reason: Reason, message: str, policy: Policy, run: Run) -> Settlement:
    attempt = _attempt(job, run, reason, None)
    return replace(_final(job, to, reason, policy), message=message or None, attempt=attempt)


def _again(job: ClaimedJob, delay: float, charge: Charge) -> Settlement:
    if delay > 0:
        return Settlement(job.id, job.sequence, job.token, JobState.SCHEDULED, charge=charge, delay=delay)

    return Settlement(job.id, job.sequence, job.token, JobState.READY, charge=charge)


def _final(job: ClaimedJob, to: JobState, reason: Reason, policy: Policy) -> Settlement:
    return Settlement(job.id, job.sequence, job.token, to, reason=reason, keep=policy.failure_ttl)


def _attempt(job: ClaimedJob, run: Run, reason: Reason, error: JobError | None) -> Attempt:
    return Attempt(job.attempt, run.worker, job.started_at, run.finished_at, reason, error)
