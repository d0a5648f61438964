"""Stopping to hand out, and going on."""

from __future__ import annotations

import pytest

from cherga.testing.contract.stage import Stage, ids, new_job, new_jobs
from cherga.words.job import JobState, NewJob, PauseScope

EVERYTHING = PauseScope()

SCOPES = [EVERYTHING, PauseScope("a"), PauseScope(None, "mail"), PauseScope("a", "mail")]


class Pausing:
    """``pause`` and ``paused``."""

    @pytest.mark.parametrize("scope", SCOPES)
    def test_a_scope_is_passed_over_while_it_is_paused(self, stage: Stage, scope: PauseScope) -> None:
        jobs = [new_job(task, queue=queue) for queue in ("a", "b") for task in ("mail", "export")]
        stage.push_each(*jobs)
        stage.broker.pause(scope, True)
        assert ids(stage.claim()) == ids([job for job in jobs if not _within(job, scope)])
        stage.broker.pause(scope, False)
        assert ids(stage.claim()) == ids([job for job in jobs if _within(job, scope)])

    @pytest.mark.parametrize("scope", SCOPES)
    def test_pausing_twice_is_pausing_once(self, stage: Stage, scope: PauseScope) -> None:
        stage.pushed(task="mail", queue="a")
        stage.broker.pause(scope, True)
        stage.broker.pause(scope, True)
        assert stage.broker.paused() == [scope]
        stage.broker.pause(scope, False)
        assert stage.broker.paused() == []
        assert len(stage.claim()) == 1

    def test_going_on_with_what_was_not_paused_changes_nothing(self, stage: Stage) -> None:
        stage.broker.pause(PauseScope("a"), True)
        stage.broker.pause(PauseScope("b"), False)
        assert stage.broker.paused() == [PauseScope("a")]

    def test_all_paused_scopes_are_told(self, stage: Stage) -> None:
        for scope in SCOPES:
            stage.broker.pause(scope, True)

        assert set(stage.broker.paused()) == set(SCOPES)

    def test_scopes_overlap(self, stage: Stage) -> None:
        stage.pushed(task="mail", queue="a")
        stage.broker.pause(PauseScope("a"), True)
        stage.broker.pause(PauseScope(None, "mail"), True)
        stage.broker.pause(PauseScope("a"), False)
        assert stage.claim() == []
        stage.broker.pause(PauseScope(None, "mail"), False)
        assert len(stage.claim()) == 1

    def test_what_runs_goes_on(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.pause(EVERYTHING, True)
        assert stage.broker.heartbeat(["worker.1"]).lost == ()
        stage.write(job)
        assert stage.state(job) is JobState.SUCCEEDED

    def test_jobs_pushed_during_a_pause_wait(self, stage: Stage) -> None:
        stage.broker.pause(PauseScope("a"), True)
        job = stage.pushed(queue="a")
        assert stage.state(job) is JobState.READY
        assert stage.claim() == []

    def test_a_pause_stops_no_promotion(self, stage: Stage) -> None:
        stage.broker.pause(EVERYTHING, True)
        job = stage.pushed(delay=60)
        stage.pass_time(61)
        stage.tidy()
        assert stage.state(job) is JobState.READY

    def test_a_paused_job_can_be_cancelled(self, stage: Stage) -> None:
        stage.broker.pause(EVERYTHING, True)
        job = stage.pushed()
        assert stage.broker.move([job.id], JobState.CANCELLED) == [job.id]

    def test_the_order_survives_a_pause(self, stage: Stage) -> None:
        jobs = new_jobs(20)
        stage.push_each(*jobs[:10])
        stage.broker.pause(EVERYTHING, True)
        stage.push_each(*jobs[10:])
        stage.claim()
        stage.broker.pause(EVERYTHING, False)
        assert ids(stage.claim()) == ids(jobs)

    def test_a_pause_holds_for_every_connection(self, stage: Stage) -> None:
        other = stage.connect()
        other.pause(PauseScope("a"), True)
        stage.pushed(queue="a")
        assert stage.claim() == []
        assert stage.broker.paused() == [PauseScope("a")]

    def test_a_pause_outlives_the_broker(self, stage: Stage) -> None:
        stage.broker.pause(PauseScope("a", "mail"), True)
        stage.broker.close()
        stage.broker.open()
        assert stage.broker.paused() == [PauseScope("a", "mail")]

    @pytest.mark.parametrize("name", ["черга", "a'b\"c;--", "a:b", ""])
    def test_any_name_can_be_paused(self, stage: Stage, name: str) -> None:
        stage.push_each(new_job("mail", queue=name), new_job("mail", queue="other"))
        stage.broker.pause(PauseScope(name), True)
        assert [job.queue for job in stage.claim()] == ["other"]
        assert stage.broker.paused() == [PauseScope(name)]


def _within(job: NewJob, scope: PauseScope) -> bool:
    return scope.queue in (None, job.queue) and scope.task in (None, job.task)
