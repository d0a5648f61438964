"""From what became of an attempt to what the worker writes: every outcome under every policy."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import pytest
from msgspec.structs import replace

from cherga import JobState, Reason, Retry
from cherga.rules.decide import Policy, Run, decide
from cherga.rules.lifecycle import Move, allowed
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobError
from cherga.words.outcomes import Cancelled, Failed, GivenBack, Interrupted, Outcome, Snoozed, Succeeded
from cherga.words.push import OnCrash, Overrides
from cherga.words.settlement import Charge, Settlement

ERROR = JobError("ValueError", "no", "Traceback …")
JOB = ClaimedJob(
    id=UUID(int=7),
    sequence=70,
    token=700,
    task="work",
    queue="default",
    priority=0,
    payload=b"",
    head=None,
    attempt=1,
    claims=1,
    crashes=0,
    interruptions=0,
    enqueued_at=10.0,
    started_at=20.0,
    owner=None,
    unique_key=None,
    meta=None,
)
RUN = Run("here", 25.0)
PLAIN = Policy(result_ttl=60.0, failure_ttl=600.0)
AGAIN = replace(PLAIN, retry=Retry(max=2, backoff=8, jitter=0.5))
NEVER_TWICE = replace(PLAIN, on_crash=OnCrash.FAIL)
S = JobState

TABLE = [
    # outcome, policy, attempt -> state, reason, charge, delay, keep
    (Succeeded(b"1"), PLAIN, 1, S.SUCCEEDED, None, Charge.ATTEMPT, None, 60.0),
    (Succeeded(None), AGAIN, 3, S.SUCCEEDED, None, Charge.ATTEMPT, None, 60.0),
    (Failed(ERROR), PLAIN, 1, S.FAILED, Reason.ERROR, Charge.ATTEMPT, None, 600.0),
    (Failed(ERROR), AGAIN, 1, S.SCHEDULED, Reason.ERROR, Charge.ATTEMPT, 8.0, None),
    (Failed(ERROR), AGAIN, 2, S.SCHEDULED, Reason.ERROR, Charge.ATTEMPT, 8.0, None),
    (Failed(ERROR), AGAIN, 3, S.FAILED, Reason.ERROR, Charge.ATTEMPT, None, 600.0),
    (Failed(ERROR, retryable=False), AGAIN, 1, S.FAILED, Reason.ERROR, Charge.ATTEMPT, None, 600.0),
    (Failed(ERROR, delay=3.0), AGAIN, 1, S.SCHEDULED, Reason.ERROR, Charge.ATTEMPT, 3.0, None),
    (Failed(ERROR, delay=0.0), AGAIN, 1, S.READY, Reason.ERROR, Charge.ATTEMPT, None, None),
    (Failed(ERROR, delay=3.0), AGAIN, 3, S.FAILED, Reason.ERROR, Charge.ATTEMPT, None, 600.0),
    (Failed(ERROR, delay=3.0), PLAIN, 1, S.FAILED, Reason.ERROR, Charge.ATTEMPT, None, 600.0),
    (Failed(ERROR, Reason.TIMEOUT), PLAIN, 1, S.FAILED, Reason.TIMEOUT, Charge.ATTEMPT, None, 600.0),
    (Failed(ERROR, Reason.TIMEOUT), AGAIN, 1, S.SCHEDULED, Reason.TIMEOUT, Charge.ATTEMPT, 8.0, None),
    (Failed(ERROR, Reason.MALFORMED, False), AGAIN, 1, S.FAILED, Reason.MALFORMED, Charge.ATTEMPT, None, 600.0),
    (Snoozed(5.0), PLAIN, 1, S.SCHEDULED, None, Charge.REFUND, 5.0, None),
    (Snoozed(5.0), AGAIN, 3, S.SCHEDULED, None, Charge.REFUND, 5.0, None),
    (Snoozed(0.0), PLAIN, 1, S.READY, None, Charge.REFUND, None, None),
    (Cancelled("stop"), AGAIN, 1, S.CANCELLED, Reason.ASKED, Charge.ATTEMPT, None, 600.0),
    (Cancelled("", Reason.CANCELLED), PLAIN, 1, S.CANCELLED, Reason.CANCELLED, Charge.ATTEMPT, None, 600.0),
    (Interrupted(), PLAIN, 1, S.READY, None, Charge.INTERRUPTION, None, None),
    (Interrupted(), AGAIN, 3, S.READY, None, Charge.INTERRUPTION, None, None),
    (Interrupted(), NEVER_TWICE, 1, S.FAILED, Reason.INTERRUPTED, Charge.ATTEMPT, None, 600.0),
    (GivenBack(), PLAIN, 1, S.READY, None, Charge.REFUND, None, None),
    (GivenBack(), NEVER_TWICE, 1, S.READY, None, Charge.REFUND, None, None),
]


def settled(outcome: Outcome, policy: Policy, attempt: int = 1, chance: float = 0.5) -> Settlement:
    return decide(replace(JOB, attempt=attempt), outcome, policy, RUN, chance)


@pytest.mark.parametrize(("outcome", "policy", "attempt", "to", "reason", "charge", "delay", "keep"), TABLE)
def test_what_becomes_of_an_attempt(
    outcome: Outcome,
    policy: Policy,
    attempt: int,
    to: JobState,
    reason: Reason | None,
    charge: Charge,
    delay: float | None,
    keep: float | None,
) -> None:
    settlement = settled(outcome, policy, attempt)

    assert (settlement.to, settlement.reason, settlement.charge, settlement.delay) == (to, reason, charge, delay)
    assert keep is None or settlement.keep == keep


EVERY_OUTCOME: list[Outcome] = [
    Succeeded(b""),
    *(Failed(ERROR, reason, retryable, delay) for reason, retryable, delay in product(Reason, (True, False), (None, 0.0, 9.0))),
    Snoozed(0.0),
    Snoozed(9.0),
    *(Cancelled("", reason) for reason in Reason),
    Interrupted(),
    GivenBack(),
]
EVERY_POLICY = [
    PLAIN,
    AGAIN,
    NEVER_TWICE,
    replace(AGAIN, on_crash=OnCrash.FAIL),
    replace(PLAIN, result_ttl=0.0, failure_ttl=0.0),
]


@pytest.mark.parametrize("policy", EVERY_POLICY)
@pytest.mark.parametrize("attempt", [1, 2, 3, 50])
def test_every_settlement_is_a_legal_move_under_the_attempts_own_token(policy: Policy, attempt: int) -> None:
    for outcome in EVERY_OUTCOME:
        settlement = settled(outcome, policy, attempt)

        assert allowed(Move.SETTLE, JobState.RUNNING, settlement.to)
        assert (settlement.id, settlement.sequence, settlement.token) == (JOB.id, JOB.sequence, JOB.token)
        assert (settlement.to is JobState.SCHEDULED) == (settlement.delay is not None and settlement.delay > 0)
        assert settlement.result is None or settlement.to is JobState.SUCCEEDED


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_a_job_has_one_attempt_and_so_many_more_as_retry_says(retries: int) -> None:
    policy = replace(PLAIN, retry=Retry(max=retries))
    ends = [settled(Failed(ERROR), policy, attempt).to for attempt in range(1, retries + 2)]

    assert ends == [JobState.SCHEDULED] * retries + [JobState.FAILED]


def test_the_wait_is_the_backoff_with_its_jitter() -> None:
    assert [settled(Failed(ERROR), AGAIN, chance=chance).delay for chance in (0.0, 0.5, 1.0)] == [4.0, 8.0, 12.0]


def test_the_history_tells_who_ran_when_and_what_happened() -> None:
    attempt = settled(Failed(ERROR, Reason.TIMEOUT), AGAIN, attempt=2).attempt

    assert attempt is not None
    assert (attempt.number, attempt.worker, attempt.started_at, attempt.finished_at) == (2, "here", 20.0, 25.0)
    assert (attempt.reason, attempt.error) == (Reason.TIMEOUT, ERROR)


@pytest.mark.parametrize("outcome", [Succeeded(b""), Snoozed(1.0), GivenBack()])
def test_what_is_no_failure_leaves_no_line_in_the_history(outcome: Outcome) -> None:
    assert settled(outcome, PLAIN).attempt is None


@pytest.mark.parametrize("policy", [PLAIN, NEVER_TWICE])
def test_an_interruption_leaves_a_line_in_the_history(policy: Policy) -> None:
    attempt = settled(Interrupted(), policy).attempt

    assert attempt is not None
    assert attempt.reason is Reason.INTERRUPTED


def test_the_words_of_a_cancellation_are_kept() -> None:
    assert settled(Cancelled("wrong file"), PLAIN).message == "wrong file"
    assert settled(Cancelled(""), PLAIN).message is None


def test_the_result_is_written_with_the_success() -> None:
    assert settled(Succeeded(b"\x07"), PLAIN).result == b"\x07"


def test_nothing_given_for_the_job_leaves_the_tasks_policy() -> None:
    assert AGAIN.overridden(None) is AGAIN
    assert AGAIN.overridden(Overrides()) == AGAIN


def test_what_was_given_for_the_job_stands_before_the_tasks_policy() -> None:
    given = Overrides(retry=7, max_time=5.0, result_ttl=1.0, failure_ttl=2.0, on_crash=OnCrash.FAIL)
    policy = AGAIN.overridden(given)

    assert policy.retry == replace(AGAIN.retry, max=7)
    assert (policy.max_time, policy.result_ttl, policy.failure_ttl, policy.on_crash) == (5.0, 1.0, 2.0, OnCrash.FAIL)


def test_zero_for_the_job_means_what_it_says() -> None:
    limited = replace(AGAIN, max_time=60.0)

    assert limited.overridden(Overrides(max_time=0.0)).max_time is None
    assert limited.overridden(Overrides(retry=0)).retry.max == 0
    assert limited.overridden(Overrides(result_ttl=0.0, failure_ttl=0.0)).result_ttl == 0.0
