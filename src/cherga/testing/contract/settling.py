"""Settlements that workers write about their attempts: fenced, repeatable, one by one, and each in one piece."""

from __future__ import annotations

from collections import Counter
from functools import partial

import msgspec
import pytest

from cherga.testing.contract.stage import Stage, after, ids, new_job, new_jobs, settlement, together
from cherga.words.job import ATTEMPTS_KEPT, Attempt, JobError, JobRow, JobState, Reason
from cherga.words.session import Death
from cherga.words.settlement import Charge, Settled
from cherga.words.unique import OnConflict, Unique

WRITTEN, REFUSED = Settled.WRITTEN, Settled.REFUSED

_decode_attempts = msgspec.msgpack.Decoder(list[Attempt]).decode


class Settling:
    """``settle``."""

    def test_success_keeps_the_result(self, stage: Stage) -> None:
        row = stage.row(stage.ended(result=b"\x2a"))
        assert (row.state, row.reason, row.result) == (JobState.SUCCEEDED, None, b"\x2a")
        assert row.finished_at is not None

    def test_no_result_is_not_an_empty_result(self, stage: Stage) -> None:
        assert stage.row(stage.ended(result=b"")).result == b""
        assert stage.row(stage.ended(result=None)).result is None

    def test_a_large_result_comes_back_byte_for_byte(self, stage: Stage) -> None:
        result = bytes(range(256)) * 4096
        assert stage.row(stage.ended(result=result)).result == result

    def test_failure_keeps_the_reason_and_the_error(self, stage: Stage) -> None:
        attempt = _attempt(1, Reason.TIMEOUT, JobError("TimeoutError", "too slow", "Traceback …"))
        row = stage.row(stage.ended(JobState.FAILED, reason=Reason.TIMEOUT, attempt=attempt))
        assert (row.state, row.reason, row.result) == (JobState.FAILED, Reason.TIMEOUT, None)
        assert _history(row) == [attempt]

    @pytest.mark.parametrize("reason", [*Reason])
    def test_every_reason_can_be_kept(self, stage: Stage, reason: Reason) -> None:
        assert stage.row(stage.ended(JobState.FAILED, reason=reason)).reason is reason

    def test_a_cancelled_attempt_keeps_its_message(self, stage: Stage) -> None:
        row = stage.row(stage.ended(JobState.CANCELLED, message="no longer needed"))
        assert (row.state, row.reason, row.message) == (JobState.CANCELLED, Reason.ASKED, "no longer needed")

    def test_the_last_progress_and_meta_are_kept(self, stage: Stage) -> None:
        row = stage.row(stage.ended(progress=b"\x01", meta=b"\x80"))
        assert (row.progress, row.meta) == (b"\x01", b"\x80")

    def test_an_end_takes_the_job_out_of_the_session(self, stage: Stage) -> None:
        job = stage.ended()
        assert stage.broker.workers()[0].running == 0
        stage.crash()
        assert stage.state(job) is JobState.SUCCEEDED

    def test_an_ended_job_tells_which_session_ran_it(self, stage: Stage) -> None:
        job = stage.ended()
        assert stage.row(job).session == "worker.1"
        stage.crash()
        assert stage.row(job).session == "worker.1"

    # --- the fence

    def test_a_settlement_with_an_old_token_is_refused(self, stage: Stage) -> None:
        old = stage.started()
        stage.write(old, JobState.READY)
        new = stage.claim_one()
        before = stage.row(new)
        assert stage.broker.settle([settlement(old, result=b"late")]) == [REFUSED]
        assert stage.row(new) == before
        stage.write(new)

    def test_a_settlement_with_a_token_from_nowhere_is_refused(self, stage: Stage) -> None:
        job = stage.started()
        forged = msgspec.structs.replace(job, token=job.token + 1)
        assert stage.broker.settle([settlement(forged)]) == [REFUSED]
        assert stage.state(job) is JobState.RUNNING

    def test_a_token_is_worth_nothing_for_another_job(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(2))
        mine, yours = stage.claim()
        forged = msgspec.structs.replace(yours, token=mine.token)
        assert stage.broker.settle([settlement(forged)]) == [REFUSED]
        assert stage.state(yours) is JobState.RUNNING

    def test_a_settlement_of_a_job_that_never_was_is_refused(self, stage: Stage) -> None:
        stranger = msgspec.structs.replace(stage.started(), id=new_job().id, sequence=10**9)
        assert stage.broker.settle([settlement(stranger)]) == [REFUSED]

    def test_a_settlement_after_the_reaper_is_refused(self, stage: Stage) -> None:
        job = stage.started()
        stage.crash()
        before = stage.row(job)
        assert stage.broker.settle([settlement(job)]) == [REFUSED]
        assert stage.row(job) == before

    def test_a_settlement_after_the_lease_but_before_the_reaper_is_written(self, stage: Stage) -> None:
        job = stage.started()
        stage.pass_time(10_000)
        stage.write(job)
        assert stage.state(job) is JobState.SUCCEEDED

    def test_a_settlement_may_come_by_another_connection(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.connect().settle([settlement(job)]) == [WRITTEN]
        assert stage.state(job) is JobState.SUCCEEDED

    # --- the same again

    @pytest.mark.parametrize("to", [JobState.SUCCEEDED, JobState.FAILED, JobState.READY, JobState.SCHEDULED])
    def test_a_repeated_settlement_is_answered_as_written(self, stage: Stage, to: JobState) -> None:
        job = stage.started()
        repeated = settlement(job, to, delay=60, attempt=_attempt(1), charge=Charge.CRASH, children=((new_job(),),))
        stage.broker.settle([repeated])
        before, counts = stage.row(job), sorted(map(repr, stage.broker.counts()))
        assert stage.broker.settle([repeated]) == [WRITTEN]
        assert stage.row(job) == before
        assert sorted(map(repr, stage.broker.counts())) == counts

    def test_a_repeated_settlement_of_a_job_that_was_not_kept_is_answered_as_written(self, stage: Stage) -> None:
        job = stage.started()
        child = new_job()
        repeated = settlement(job, keep=0, children=((child,),))
        assert [stage.broker.settle([repeated]) for _ in range(2)] == [[WRITTEN], [WRITTEN]]
        assert ids(stage.claim()) == [child.id]

    def test_one_settlement_twice_in_a_call_counts_once(self, stage: Stage) -> None:
        job = stage.started()
        twice = [settlement(job, JobState.READY, charge=Charge.CRASH)] * 2
        assert stage.broker.settle(twice) == [WRITTEN, WRITTEN]
        assert stage.row(job).crashes == 1

    def test_two_threads_with_one_token_write_once(self, stage: Stage) -> None:
        brokers = [stage.broker, stage.connect()]

        for _ in range(10):
            job = stage.started()
            write = settlement(job, JobState.FAILED, attempt=_attempt(1), children=((new_job(queue="child"),),))
            assert together(*[partial(broker.settle, [write]) for broker in brokers]) == [[WRITTEN], [WRITTEN]]
            assert len(_history(stage.row(job))) == 1
            assert len(stage.claim(queues=("child",))) == 1

    def test_a_settlement_and_the_reaper_do_not_both_win(self, stage: Stage) -> None:
        other = stage.connect()

        for _ in range(10):
            job = stage.started()
            together(partial(stage.broker.settle, [settlement(job)]), partial(other.reap, [Death("worker.1")]))
            row = stage.row(job)
            assert (row.state, row.crashes) in {(JobState.SUCCEEDED, 0), (JobState.READY, 1)}
            stage.broker.move([job.id], JobState.CANCELLED)

    # --- many

    def test_settlements_are_answered_in_order(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3))
        first, second, third = stage.claim()
        forged = msgspec.structs.replace(second, token=second.token ^ 1)
        assert stage.broker.settle([settlement(first), settlement(forged), settlement(third)]) == [WRITTEN, REFUSED, WRITTEN]
        assert [stage.state(job) for job in (first, second, third)] == [
            JobState.SUCCEEDED,
            JobState.RUNNING,
            JobState.SUCCEEDED,
        ]

    def test_many_settlements_go_in_one_call(self, stage: Stage) -> None:
        jobs = new_jobs(500)
        stage.push(*jobs)
        written = stage.broker.settle([settlement(job, result=job.id.bytes) for job in stage.claim()])
        assert Counter(written) == {WRITTEN: 500}
        assert [row.result for row in stage.broker.get(ids(jobs)) if row] == [job.id.bytes for job in jobs]

    def test_ends_of_all_kinds_go_in_one_call(self, stage: Stage) -> None:
        ends = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.READY, JobState.SCHEDULED]
        jobs = new_jobs(5)
        stage.push(*jobs)
        stage.broker.settle([settlement(job, to, delay=60) for job, to in zip(stage.claim(), ends, strict=True)])
        assert stage.states(jobs) == ends

    def test_nothing_to_settle_is_nothing(self, stage: Stage) -> None:
        assert stage.broker.settle([]) == []

    # --- again

    def test_a_job_given_back_costs_nothing(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.READY, charge=Charge.REFUND)
        row = stage.row(job)
        assert (row.state, row.attempt, row.claims, row.crashes, row.interruptions) == (JobState.READY, 0, 1, 0, 0)
        assert row.session is None
        assert ids(stage.claim()) == [job.id]

    def test_a_snoozed_job_comes_back_uncharged(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.SCHEDULED, charge=Charge.REFUND, delay=60)
        assert (stage.state(job), stage.row(job).attempt) == (JobState.SCHEDULED, 0)
        assert stage.claim() == []
        stage.pass_time(61)
        stage.tidy()
        assert stage.claim_one().attempt == 1

    def test_a_retry_counts_the_attempt_and_waits(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.SCHEDULED, reason=Reason.ERROR, delay=60, attempt=_attempt(1, Reason.ERROR))
        row = stage.row(job)
        assert (row.state, row.reason, row.attempt) == (JobState.SCHEDULED, Reason.ERROR, 1)
        assert row.finished_at is None
        assert row.run_at == pytest.approx(job.started_at + 60, abs=30)
        stage.pass_time(90)
        stage.tidy()
        assert stage.claim_one().attempt == 2

    def test_an_interruption_is_no_attempt(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.READY, charge=Charge.INTERRUPTION)
        row = stage.row(job)
        assert (row.attempt, row.crashes, row.interruptions) == (0, 0, 1)

    def test_a_crash_is_counted_apart(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.READY, charge=Charge.CRASH)
        row = stage.row(job)
        assert (row.crashes, row.interruptions, row.claims) == (1, 0, 1)

    def test_a_job_that_was_charged_a_crash_is_a_suspect(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.READY, charge=Charge.CRASH)
        answer = stage.ask()
        assert (answer.jobs, answer.suspects) == ([], True)
        assert ids(stage.claim(alone=True)) == [job.id]

    def test_the_history_holds_the_last_attempts(self, stage: Stage) -> None:
        stage.pushed()

        for number in range(1, ATTEMPTS_KEPT + 4):
            job = stage.claim_one()
            stage.write(job, JobState.READY, attempt=_attempt(number, Reason.ERROR))

        history = _history(stage.row(job))
        assert [attempt.number for attempt in history] == list(range(4, ATTEMPTS_KEPT + 4))

    def test_a_success_keeps_the_history(self, stage: Stage) -> None:
        stage.write(stage.started(), JobState.READY, attempt=_attempt(1, Reason.ERROR))
        job = stage.claim_one()
        stage.write(job)
        assert [attempt.number for attempt in _history(stage.row(job))] == [1]

    def test_the_reason_of_an_earlier_attempt_does_not_stick(self, stage: Stage) -> None:
        stage.write(stage.started(), JobState.READY, reason=Reason.ERROR)
        job = stage.claim_one()
        stage.write(job)
        assert stage.row(job).reason is None

    # --- keeping

    def test_a_job_is_kept_as_long_as_the_settlement_says(self, stage: Stage) -> None:
        row = stage.row(stage.ended(keep=500))
        assert row.finished_at is not None
        assert row.prune_at == pytest.approx(row.finished_at + 500, abs=0.01)

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    def test_a_job_to_be_kept_no_time_is_deleted(self, stage: Stage, end: JobState) -> None:
        assert not stage.is_kept(stage.ended(end, keep=0))
        assert stage.broker.counts() == []

    def test_a_job_that_goes_on_is_kept_whatever_the_settlement_says(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.READY, keep=0)
        assert stage.state(job) is JobState.READY

    # --- children

    def test_children_are_pushed_with_the_settlement(self, stage: Stage) -> None:
        first, second, third = new_jobs(3)
        stage.write(stage.started(), children=((first, second), (third,)))
        assert ids(stage.claim()) == ids([first, second, third])

    def test_children_of_a_refused_settlement_are_dropped(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.READY)
        child = new_job()
        stage.claim_one()
        assert stage.broker.settle([settlement(job, children=((child,),))]) == [REFUSED]
        assert not stage.is_kept(child)

    def test_a_refused_child_does_not_refuse_the_settlement(self, stage: Stage) -> None:
        job = stage.started()
        refused, good = after(new_job()), new_job()
        stage.write(job, children=((refused,), (good,)))
        assert stage.state(job) is JobState.SUCCEEDED
        assert ids(stage.claim()) == [good.id]
        assert not stage.is_kept(refused)

    def test_a_child_may_wait_for_the_job_that_pushed_it(self, stage: Stage) -> None:
        job = stage.started()
        child = after(job)
        stage.write(job, children=((child,),))
        stage.tidy()
        assert stage.state(child) is JobState.READY

    def test_a_child_of_a_retried_attempt_may_wait_for_it(self, stage: Stage) -> None:
        job = stage.started()
        child = after(job)
        stage.write(job, JobState.READY, children=((child,),))
        assert stage.state(child) is JobState.BLOCKED
        stage.write(stage.claim_one())
        assert stage.state(child) is JobState.READY

    def test_a_child_may_take_the_unique_key_of_the_job_that_pushed_it(self, stage: Stage) -> None:
        job = stage.started(unique=Unique("k"))
        child = new_job(unique=Unique("k", conflict=OnConflict.REFUSE))
        stage.write(job, children=((child,),))
        assert ids(stage.claim()) == [child.id]

    def test_a_repeated_child_is_stored_once(self, stage: Stage) -> None:
        child = new_job()
        stage.write(stage.started(), JobState.READY, children=((child,),))
        again = next(job for job in stage.claim() if job.id != child.id)
        stage.write(again, children=((child,),))
        assert stage.claim() == []


def _attempt(number: int, reason: Reason | None = None, error: JobError | None = None) -> Attempt:
    return Attempt(number, "worker", 1000.0, 1001.5, reason, error)


def _history(row: JobRow) -> list[Attempt]:
    return _decode_attempts(row.attempts) if row.attempts else []
