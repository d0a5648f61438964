"""Wishes of people: cancel and run again."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import pytest

from cherga.testing.contract.stage import SETTINGS, Stage, after, ids, new_job, new_jobs, together
from cherga.words.job import JobState, Reason
from cherga.words.push import NewJob
from cherga.words.session import Cancel
from cherga.words.settlement import Charge

CANCELLED, READY = JobState.CANCELLED, JobState.READY


class Cancelling:
    """``move`` to cancelled, and how a running job hears of it."""

    @pytest.mark.parametrize("delay", [None, 60])
    def test_a_job_that_waits_for_its_turn_is_cancelled_at_once(self, stage: Stage, delay: float | None) -> None:
        job = stage.pushed(delay=delay)
        assert stage.broker.move([job.id], CANCELLED, "by mistake") == [job.id]
        row = stage.row(job)
        assert (row.state, row.reason, row.message) == (CANCELLED, Reason.ASKED, "by mistake")
        assert row.finished_at is not None
        stage.pass_time(61)
        stage.tidy()
        assert stage.claim() == []

    def test_a_blocked_job_is_cancelled_at_once(self, stage: Stage) -> None:
        parent = new_job()
        child = after(parent)
        stage.push(parent, child)
        assert stage.broker.move([child.id], CANCELLED) == [child.id]
        assert (stage.state(child), stage.row(child).reason) == (CANCELLED, Reason.ASKED)

    def test_a_job_that_waits_for_a_retry_is_cancelled_at_once(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.SCHEDULED, delay=60)
        assert stage.broker.move([job.id], CANCELLED) == [job.id]
        assert stage.state(job) is CANCELLED

    def test_a_running_job_is_marked(self, stage: Stage) -> None:
        job = stage.started()
        assert not stage.row(job).cancel_requested
        assert stage.broker.move([job.id], CANCELLED) == [job.id]
        assert (stage.state(job), stage.row(job).cancel_requested) == (JobState.RUNNING, True)

    def test_the_heartbeat_tells_the_worker(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.broker.heartbeat(["worker.1"]).cancels == ()
        stage.broker.move([job.id], CANCELLED)
        assert stage.broker.heartbeat(["worker.1"]).cancels == (Cancel("worker.1", job.id, job.token),)

    def test_the_heartbeat_tells_only_the_session_that_runs_the_job(self, stage: Stage) -> None:
        job = stage.started()
        stage.register("worker.2")
        stage.broker.move([job.id], CANCELLED)
        assert stage.broker.heartbeat(["worker.2"]).cancels == ()
        assert [cancel.session for cancel in stage.broker.heartbeat(["worker.2", "worker.1"]).cancels] == ["worker.1"]

    def test_the_heartbeat_falls_silent_when_the_job_has_ended(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], CANCELLED)
        stage.write(job, CANCELLED)
        assert stage.broker.heartbeat(["worker.1"]).cancels == ()
        assert stage.state(job) is CANCELLED

    def test_the_words_of_the_person_outlive_the_worker(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], CANCELLED, "wrong file")
        stage.write(job, CANCELLED)
        assert stage.row(job).message == "wrong file"

    def test_a_job_that_succeeded_all_the_same_has_succeeded(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], CANCELLED)
        stage.write(job, result=b"\x01")
        assert (stage.state(job), stage.row(job).result) == (JobState.SUCCEEDED, b"\x01")

    @pytest.mark.parametrize("to", [READY, JobState.SCHEDULED])
    def test_a_job_to_be_cancelled_does_not_run_again(self, stage: Stage, to: JobState) -> None:
        job = stage.started()
        stage.broker.move([job.id], CANCELLED)
        stage.write(job, to, charge=Charge.REFUND, delay=60)
        assert (stage.state(job), stage.row(job).reason) == (CANCELLED, Reason.ASKED)
        stage.tidy()
        assert stage.claim() == []

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, CANCELLED])
    def test_a_final_job_is_not_cancelled(self, stage: Stage, end: JobState) -> None:
        job = stage.ended(end)
        before = stage.row(job)
        assert stage.broker.move([job.id], CANCELLED, "too late") == []
        assert stage.row(job) == before

    def test_only_the_jobs_touched_are_returned(self, stage: Stage) -> None:
        done = stage.ended()
        jobs = new_jobs(3)
        stage.push_each(*jobs)
        assert set(stage.broker.move([uuid4(), done.id, *ids(jobs)], CANCELLED)) == set(ids(jobs))

    def test_many_jobs_are_cancelled_in_one_call(self, stage: Stage) -> None:
        jobs = new_jobs(600)
        stage.push(*jobs)
        assert len(stage.broker.move(ids(jobs), CANCELLED)) == 600
        assert stage.claim() == []

    def test_moving_nothing_touches_nothing(self, stage: Stage) -> None:
        assert stage.broker.move([], CANCELLED) == []

    def test_a_cancel_that_races_with_a_claim_is_never_lost(self, stage: Stage) -> None:
        other = stage.connect()

        for _ in range(15):
            job = stage.pushed()
            together(stage.claim, partial(other.move, [job.id], CANCELLED))
            row = stage.row(job)
            assert row.state is CANCELLED or (row.state is JobState.RUNNING and row.cancel_requested)
            stage.crash()


class Retrying:
    """``move`` to ready."""

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, CANCELLED])
    def test_a_final_job_runs_again_from_attempt_0(self, stage: Stage, end: JobState) -> None:
        job = stage.ended(end, result=b"\x01", message="m")
        assert stage.broker.move([job.id], READY) == [job.id]
        row = stage.row(job)
        assert (row.state, row.attempt, row.claims) == (READY, 0, 1)
        assert (row.reason, row.message, row.result, row.finished_at, row.prune_at) == (None, None, None, None, None)
        again = stage.claim_one()
        assert (again.attempt, again.claims) == (1, 2)
        stage.write(again)
        assert stage.state(job) is JobState.SUCCEEDED

    def test_a_retried_job_is_no_longer_to_be_cancelled(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], CANCELLED)
        stage.write(job, CANCELLED)
        stage.broker.move([job.id], READY)
        stage.claim_one()
        assert not stage.row(job).cancel_requested
        assert stage.broker.heartbeat(["worker.1"]).cancels == ()

    def test_a_scheduled_job_runs_now(self, stage: Stage) -> None:
        job = stage.pushed(delay=1000)
        assert stage.broker.move([job.id], READY) == [job.id]
        assert ids(stage.claim()) == [job.id]

    def test_a_job_that_waits_for_a_retry_runs_now(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.SCHEDULED, delay=1000)
        assert stage.broker.move([job.id], READY) == [job.id]
        assert ids(stage.claim()) == [job.id]

    def test_a_running_job_is_left_alone(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.broker.move([job.id], READY) == []
        assert stage.state(job) is JobState.RUNNING

    def test_a_blocked_job_is_left_alone(self, stage: Stage) -> None:
        child = after(stage.pushed())
        stage.push(child)
        assert stage.broker.move([child.id], READY) == []
        assert stage.state(child) is JobState.BLOCKED

    def test_a_job_that_is_not_kept_is_not_touched(self, stage: Stage) -> None:
        assert stage.broker.move([uuid4()], READY) == []

    def test_a_poisonous_job_may_be_tried_again(self, stage: Stage) -> None:
        job = _poisoned(stage)
        assert stage.broker.move([job.id], READY) == [job.id]
        assert ids(stage.claim(alone=True)) == [job.id]
        stage.crash()
        assert stage.state(job) is not JobState.FAILED

    def test_an_expired_job_may_be_run_all_the_same(self, stage: Stage) -> None:
        job = stage.pushed(expires_in=60)
        stage.pass_time(61)
        stage.tidy()
        assert stage.broker.move([job.id], READY) == [job.id]
        stage.tidy()
        assert ids(stage.claim()) == [job.id]

    def test_many_jobs_are_retried_in_one_call(self, stage: Stage) -> None:
        jobs = new_jobs(300)
        stage.push(*jobs)
        stage.broker.move(ids(jobs), CANCELLED)
        assert len(stage.broker.move(ids(jobs), READY)) == 300
        assert len(stage.claim()) == 300


def _poisoned(stage: Stage) -> NewJob:
    job = stage.pushed()

    for _ in range(SETTINGS.crash_cap):
        stage.pass_time(100)
        stage.tidy()
        stage.claim_one(alone=True)
        stage.crash()

    assert stage.row(job).reason is Reason.POISON
    return job
