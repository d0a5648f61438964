"""Jobs that wait for a time, and jobs whose time is over."""

from __future__ import annotations

import pytest

from cherga.testing.contract.stage import Stage, after, ids, new_job, new_jobs
from cherga.words.job import JobState, Reason
from cherga.words.unique import Unique


class Scheduling:
    """``delay``, ``run_at``, ``expires_in``, ``expires_at`` and ``promote``."""

    def test_a_delayed_job_is_scheduled(self, stage: Stage) -> None:
        row = stage.row(stage.pushed(delay=60))
        assert (row.state, row.ready_at) == (JobState.SCHEDULED, None)
        assert row.run_at == pytest.approx(row.enqueued_at + 60, abs=0.01)

    def test_a_scheduled_job_is_not_handed_out(self, stage: Stage) -> None:
        stage.pushed(delay=60)
        stage.tidy()
        assert stage.claim() == []

    def test_a_due_job_is_promoted_and_handed_out(self, stage: Stage) -> None:
        job = stage.pushed(delay=60)
        stage.pass_time(61)
        assert stage.broker.promote().count == 1
        assert stage.state(job) is JobState.READY
        assert ids(stage.claim()) == [job.id]

    def test_a_job_is_not_promoted_early(self, stage: Stage) -> None:
        job = stage.pushed(delay=60)
        stage.pass_time(30)
        assert stage.broker.promote().count == 0
        assert stage.state(job) is JobState.SCHEDULED

    def test_a_promoted_job_tells_when_it_became_ready(self, stage: Stage) -> None:
        job = stage.pushed(delay=60)
        stage.pass_time(100)
        stage.tidy()
        row = stage.row(job)
        assert row.ready_at == pytest.approx(row.enqueued_at + 100, abs=30)

    def test_run_at_in_the_future_is_kept_to(self, stage: Stage) -> None:
        now = stage.row(stage.pushed(queue="other")).enqueued_at
        job = stage.pushed(run_at=now + 500)
        assert (stage.row(job).state, stage.row(job).run_at) == (JobState.SCHEDULED, now + 500)
        stage.pass_time(501)
        stage.tidy()
        assert stage.state(job) is JobState.READY

    def test_run_at_in_the_past_is_ready_at_once(self, stage: Stage) -> None:
        now = stage.row(stage.pushed(queue="other")).enqueued_at
        assert stage.state(stage.pushed(run_at=now - 500)) is JobState.READY

    def test_no_delay_is_ready_at_once(self, stage: Stage) -> None:
        assert stage.state(stage.pushed(delay=0.0)) is JobState.READY

    def test_promote_tells_when_the_next_job_is_due(self, stage: Stage) -> None:
        stage.push_each(new_job(delay=300), new_job(delay=100), new_job(delay=200))
        assert stage.broker.promote().next_in == pytest.approx(100, abs=30)
        stage.pass_time(150)
        promoted = stage.broker.promote()
        assert promoted.count == 1
        assert promoted.next_in == pytest.approx(50, abs=30)

    def test_promote_tells_that_nothing_is_scheduled(self, stage: Stage) -> None:
        stage.pushed()
        assert stage.broker.promote().next_in is None

    def test_promote_moves_at_most_its_limit(self, stage: Stage) -> None:
        jobs = new_jobs(25, delay=10)
        stage.push_each(*jobs)
        stage.pass_time(11)
        promoted = stage.broker.promote(limit=10)
        assert promoted.count == 10
        assert promoted.next_in == 0
        assert stage.states(jobs).count(JobState.READY) == 10
        stage.tidy()
        assert stage.states(jobs) == [JobState.READY] * 25

    def test_the_job_that_was_due_first_is_promoted_first(self, stage: Stage) -> None:
        jobs = [new_job(delay=delay) for delay in (30, 10, 20)]
        stage.push_each(*jobs)
        stage.pass_time(31)
        stage.broker.promote(limit=1)
        assert [state is JobState.READY for state in stage.states(jobs)] == [False, True, False]

    def test_an_expired_job_is_not_handed_out(self, stage: Stage) -> None:
        stage.pushed(expires_in=60)
        fresh = stage.pushed()
        stage.pass_time(61)
        assert ids(stage.claim()) == [fresh.id]

    def test_an_expired_job_is_cancelled(self, stage: Stage) -> None:
        job = stage.pushed(expires_in=60)
        stage.pass_time(61)
        stage.tidy()
        row = stage.row(job)
        assert (row.state, row.reason) == (JobState.CANCELLED, Reason.EXPIRED)
        assert row.finished_at == pytest.approx(row.enqueued_at + 61, abs=30)

    def test_a_job_that_has_expired_when_it_is_pushed_is_cancelled_at_once(self, stage: Stage) -> None:
        now = stage.row(stage.pushed(queue="other")).enqueued_at
        job = new_job(expires_at=now - 500)
        answer = stage.push(job)
        row = stage.row(job)
        assert [pushed.state for pushed in answer.jobs] == [JobState.CANCELLED]
        assert (row.state, row.reason) == (JobState.CANCELLED, Reason.EXPIRED)
        assert row.prune_at is not None

    def test_what_waits_for_a_job_that_has_expired_when_it_is_pushed_is_told(self, stage: Stage) -> None:
        now = stage.row(stage.pushed(queue="other")).enqueued_at
        first = new_job(expires_at=now - 500)
        second = after(first)
        stage.push(second, first)
        stage.tidy()
        assert [stage.row(job).reason for job in (first, second)] == [Reason.EXPIRED, Reason.UPSTREAM]

    def test_a_job_runs_before_it_expires(self, stage: Stage) -> None:
        job = stage.pushed(expires_in=60)
        stage.pass_time(20)
        stage.tidy()
        assert ids(stage.claim()) == [job.id]

    def test_expires_at_is_a_time_of_the_brokers_clock(self, stage: Stage) -> None:
        now = stage.row(stage.pushed(queue="other")).enqueued_at
        job = stage.pushed(expires_at=now + 500)
        assert stage.row(job).expires_at == now + 500
        stage.pass_time(501)
        stage.tidy()
        assert stage.row(job).reason is Reason.EXPIRED

    def test_expires_in_counts_from_the_push(self, stage: Stage) -> None:
        row = stage.row(stage.pushed(expires_in=60))
        assert row.expires_at == pytest.approx(row.enqueued_at + 60, abs=0.01)

    def test_a_scheduled_job_expires(self, stage: Stage) -> None:
        job = stage.pushed(delay=1000, expires_in=60)
        stage.pass_time(61)
        stage.tidy()
        assert stage.row(job).reason is Reason.EXPIRED

    def test_a_blocked_job_expires(self, stage: Stage) -> None:
        parent = stage.pushed()
        child = after(parent, expires_in=60)
        stage.push(child)
        stage.pass_time(61)
        stage.tidy()
        assert stage.row(child).reason is Reason.EXPIRED
        assert stage.state(parent) is JobState.READY

    def test_a_running_job_does_not_expire(self, stage: Stage) -> None:
        job = stage.started(expires_in=60)
        stage.pass_time(61)
        stage.tidy()
        assert stage.state(job) is JobState.RUNNING
        stage.write(job)
        assert stage.state(job) is JobState.SUCCEEDED

    def test_an_expired_job_releases_its_key(self, stage: Stage) -> None:
        stage.pushed(unique=Unique("k"), expires_in=60)
        stage.pass_time(61)
        stage.tidy()
        assert not stage.push(new_job(unique=Unique("k"))).jobs[0].existing

    def test_many_expired_jobs_go_within_the_limit(self, stage: Stage) -> None:
        jobs = new_jobs(25, expires_in=10)
        stage.push_each(*jobs)
        stage.pass_time(11)
        stage.broker.promote(limit=10)
        assert stage.states(jobs).count(JobState.CANCELLED) == 10
        stage.tidy()
        assert stage.states(jobs) == [JobState.CANCELLED] * 25
