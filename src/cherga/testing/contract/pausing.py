"""Stopping to hand out, and going on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cherga.rules.pausing import write_arguments
from cherga.testing.contract.limits import set_limit
from cherga.testing.contract.stage import Stage, ids, new_job, new_jobs
from cherga.words.job import JobState
from cherga.words.push import NewJob
from cherga.words.settlement import Charge
from cherga.words.shared import PauseScope

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


class PausingArguments:
    """``PauseScope.arguments``: jobs of a task with these arguments."""

    def test_jobs_with_these_arguments_are_passed_over(self, stage: Stage) -> None:
        jobs = [_mail(user) for user in (7, 8, 7, 9)]
        stage.push_each(*jobs)
        stage.broker.pause(USER_7, True)
        assert ids(stage.claim()) == ids([jobs[1], jobs[3]])
        assert stage.states([jobs[0], jobs[2]]) == [JobState.READY] * 2
        stage.broker.pause(USER_7, False)
        assert ids(stage.claim()) == ids([jobs[0], jobs[2]])

    def test_all_the_arguments_must_be_the_same(self, stage: Stage) -> None:
        jobs = [_mail(7, kind="news"), _mail(7, kind="bill"), _mail(8, kind="news"), _mail(7)]
        stage.push_each(*jobs)
        stage.broker.pause(PauseScope(None, "mail", write_arguments({"user": 7, "kind": "news"})), True)
        assert ids(stage.claim()) == ids(jobs[1:])

    def test_another_task_with_these_arguments_goes_on(self, stage: Stage) -> None:
        job = stage.pushed(task="export", payload=_mail(7).payload)
        stage.broker.pause(USER_7, True)
        assert ids(stage.claim()) == [job.id]

    def test_a_pause_with_arguments_may_be_for_one_queue(self, stage: Stage) -> None:
        jobs = [_mail(7, queue="a"), _mail(7, queue="b")]
        stage.push_each(*jobs)
        stage.broker.pause(PauseScope("a", "mail", USER_7.arguments), True)
        assert ids(stage.claim()) == [jobs[1].id]

    def test_a_payload_that_cannot_be_read_is_not_meant(self, stage: Stage) -> None:
        stage.broker.pause(USER_7, True)
        jobs = [new_job("mail", payload=payload) for payload in (b"\xc1", b"", b"\x90", b"\x07")]
        stage.push_each(*jobs)
        assert ids(stage.claim()) == ids(jobs)

    @pytest.mark.parametrize("value", ["черга", "a'b\"c;--", "", None, True, 1.5, 2**40, "x" * 500])
    def test_any_plain_value_can_be_paused(self, stage: Stage, value: object) -> None:
        scope = PauseScope(None, "mail", write_arguments({"user": value}))
        meant, other = _mail(value), _mail("other")
        stage.push_each(meant, other)
        stage.broker.pause(scope, True)
        assert ids(stage.claim()) == [other.id]
        assert stage.broker.paused() == [scope]
        stage.broker.pause(scope, False)
        assert ids(stage.claim()) == [meant.id]

    def test_many_held_jobs_hide_no_other(self, stage: Stage) -> None:
        stage.push(*(_mail(7, priority=5) for _ in range(400)))
        stage.broker.pause(USER_7, True)
        last = _mail(8, priority=-5)
        stage.push(last)
        assert ids(stage.claim(1)) == [last.id]
        assert stage.claim(1) == []

    def test_held_jobs_keep_their_order_and_priority(self, stage: Stage) -> None:
        jobs = [_mail(7, priority=priority) for priority in (0, 5, -5, 5)]
        stage.push_each(*jobs)
        stage.broker.pause(USER_7, True)
        assert stage.claim() == []
        stage.broker.pause(USER_7, False)
        assert ids(stage.claim()) == ids([jobs[1], jobs[3], jobs[0], jobs[2]])

    def test_two_pauses_that_mean_a_job_both_hold_it(self, stage: Stage) -> None:
        news = PauseScope(None, "mail", write_arguments({"kind": "news"}))
        job = _mail(7, kind="news")
        stage.push(job)
        stage.broker.pause(USER_7, True)
        assert stage.claim() == []
        stage.broker.pause(news, True)
        stage.broker.pause(USER_7, False)
        assert stage.claim() == []
        stage.broker.pause(news, False)
        assert ids(stage.claim()) == [job.id]

    def test_a_held_job_is_held_again_by_the_same_pause(self, stage: Stage) -> None:
        job = _mail(7)
        stage.push(job)

        for _ in range(3):
            stage.broker.pause(USER_7, True)
            assert stage.claim() == []
            stage.broker.pause(USER_7, False)

        assert ids(stage.claim()) == [job.id]

    def test_held_jobs_keep_what_they_are(self, stage: Stage) -> None:
        job = _mail(7, limit_keys=("key:user|7",), priority=3)
        stage.push(job)
        before = stage.row(job)
        stage.broker.pause(USER_7, True)
        assert stage.claim() == []
        after = stage.row(job)
        assert (after.limit_keys, after.queue, after.sequence) == (before.limit_keys, before.queue, before.sequence)
        assert (after.state, after.attempt, after.claims) == (JobState.READY, 0, 0)
        assert [(count.task, count.state, count.count) for count in stage.broker.counts()] == [("mail", JobState.READY, 1)]

    def test_a_held_job_can_be_cancelled(self, stage: Stage) -> None:
        job = _mail(7)
        stage.push(job)
        stage.broker.pause(USER_7, True)
        stage.claim()
        assert stage.broker.move([job.id], JobState.CANCELLED) == [job.id]
        stage.broker.pause(USER_7, False)
        assert stage.claim() == []

    def test_a_held_job_that_expires_is_cancelled(self, stage: Stage) -> None:
        job = _mail(7, expires_in=60)
        stage.push(job)
        stage.broker.pause(USER_7, True)
        stage.claim()
        stage.pass_time(61)
        stage.tidy()
        assert stage.state(job) is JobState.CANCELLED

    def test_a_wider_pause_holds_them_too(self, stage: Stage) -> None:
        job = _mail(7)
        stage.push(job)
        stage.broker.pause(USER_7, True)
        stage.claim()
        stage.broker.pause(PauseScope(None, "mail"), True)
        stage.broker.pause(USER_7, False)
        assert stage.claim() == []
        stage.broker.pause(PauseScope(None, "mail"), False)
        assert ids(stage.claim()) == [job.id]

    def test_what_was_held_counts_for_its_limits_again(self, stage: Stage) -> None:
        set_limit(stage, "key:user|7", max_running=2)
        stage.push_each(*(_mail(7, limit_keys=("key:user|7",)) for _ in range(3)))
        stage.broker.pause(USER_7, True)
        assert stage.claim() == []
        stage.push_each(*(_mail(0, limit_keys=("key:user|7",)) for _ in range(3)))
        (first,) = stage.claim(1)
        stage.broker.pause(USER_7, False)
        assert len(stage.claim()) == 1
        stage.write(first, JobState.READY, charge=Charge.REFUND)
        assert len(stage.claim()) == 1

    def test_jobs_that_came_during_the_pause_and_those_before_are_all_handed_out(self, stage: Stage) -> None:
        jobs = [_mail(user) for user in (7, 8) for _ in range(5)]
        stage.push_each(*jobs[::2])
        stage.broker.pause(USER_7, True)
        claimed = stage.claim()
        stage.push_each(*jobs[1::2])
        claimed += stage.claim()
        stage.broker.pause(USER_7, False)
        claimed += stage.claim()
        assert sorted(ids(claimed)) == sorted(ids(jobs))

    def test_a_suspect_can_be_held(self, stage: Stage) -> None:
        suspect = stage.make_suspect(task="mail", payload=_mail(7).payload)
        stage.pass_time(1000)
        stage.tidy()
        stage.broker.pause(USER_7, True)
        assert stage.claim(alone=True) == []
        assert not stage.ask(alone=True).suspects
        stage.broker.pause(USER_7, False)
        assert ids(stage.claim(alone=True)) == [suspect.id]

    def test_a_pause_with_arguments_outlives_the_broker(self, stage: Stage) -> None:
        job = _mail(7)
        stage.push(job)
        stage.broker.pause(USER_7, True)
        assert stage.claim() == []
        stage.broker.close()
        stage.broker.open()
        assert stage.broker.paused() == [USER_7]
        assert stage.claim() == []
        stage.broker.pause(USER_7, False)
        assert ids(stage.claim()) == [job.id]

    def test_a_pause_with_arguments_holds_for_every_connection(self, stage: Stage) -> None:
        other = stage.connect()
        stage.push(_mail(7))
        stage.claim(0)
        other.pause(USER_7, True)
        assert stage.claim() == []
        other.pause(USER_7, False)
        assert len(stage.claim()) == 1


USER_7 = PauseScope(None, "mail", write_arguments({"user": 7}))


def _mail(user: object, kind: str | None = None, **fields: Any) -> NewJob:
    arguments = {"user": user} if kind is None else {"user": user, "kind": kind}
    return new_job("mail", payload=msgspec.msgpack.encode(arguments), **fields)


def _within(job: NewJob, scope: PauseScope) -> bool:
    return scope.queue in (None, job.queue) and scope.task in (None, job.task)
