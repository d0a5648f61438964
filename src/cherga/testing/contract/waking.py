"""Waking those who wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from cherga.doors.broker import FullBroker, Topic
from cherga.testing.contract.limits import set_limit, take_back
from cherga.testing.contract.listening import assert_followed
from cherga.testing.contract.stage import SOON, Stage, after, hush, ids, new_job, settlement
from cherga.words.claim import ClaimedJob
from cherga.words.clock import SystemClock
from cherga.words.job import JobState
from cherga.words.limits import LIMIT, OVERRIDE
from cherga.words.report import EventKind, Report
from cherga.words.schedule import SCHEDULE
from cherga.words.session import Death
from cherga.words.shared import Definition, PauseScope

Act = Callable[[Stage, FullBroker, ClaimedJob], object]
"""Something that one broker does to a running job, or beside it."""


def _push(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.push([[new_job()]])


def _push_later(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.push([[new_job(delay=60)]])


def _give_back(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.settle([settlement(job, JobState.READY)])


def _put_off(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.settle([settlement(job, JobState.SCHEDULED, delay=60)])


def _crash_of_one(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.reap([Death("worker.1", frozenset({job.token}))])


def _succeed(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.settle([settlement(job)])


def _forget(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.settle([settlement(job, keep=0)])


def _push_child(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.settle([settlement(job, children=((new_job(),),))])


def _reap(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.reap([Death("worker.1")])


def _cancel(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.move([job.id], JobState.CANCELLED)


def _report(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.report([Report(job.id, job.sequence, job.token, b"\x01")])


def _log(stage: Stage, broker: FullBroker, job: ClaimedJob) -> None:
    broker.report([Report(job.id, job.sequence, job.token, events=((EventKind.LOG, b"x"),))])


class Waking:
    """``listen``: nothing that happened since the listener was made is missed, whoever did it."""

    @pytest.mark.parametrize("act", [_push, _give_back, _reap, _push_child])
    def test_a_job_that_becomes_ready_wakes(self, stage: Stage, act: Act) -> None:
        _assert_wakes(stage, Topic.READY, act)

    @pytest.mark.parametrize("act", [_push_later, _put_off])
    def test_a_job_that_is_scheduled_wakes(self, stage: Stage, act: Act) -> None:
        _assert_wakes(stage, Topic.DUE, act)

    def test_a_running_job_to_be_cancelled_wakes(self, stage: Stage) -> None:
        _assert_wakes(stage, Topic.CANCEL, _cancel)

    @pytest.mark.parametrize("act", [_succeed, _forget, _give_back, _put_off, _reap, _report, _log])
    def test_a_change_of_a_job_wakes(self, stage: Stage, act: Act) -> None:
        _assert_wakes(stage, None, act)

    def test_the_claim_of_a_job_wakes(self, stage: Stage) -> None:
        job = stage.pushed()
        assert_followed(stage, job.id, stage.claim)

    def test_a_person_who_cancels_wakes(self, stage: Stage) -> None:
        job = stage.pushed()
        assert_followed(stage, job.id, lambda: stage.broker.move([job.id], JobState.CANCELLED))

    def test_a_promoted_job_wakes(self, stage: Stage) -> None:
        stage.pushed(delay=60)
        stage.pass_time(61)
        _assert_heard(stage, Topic.READY, stage.broker.promote)

    def test_a_retried_job_wakes(self, stage: Stage) -> None:
        job = stage.ended(JobState.FAILED)
        _assert_heard(stage, Topic.READY, lambda: stage.broker.move([job.id], JobState.READY))

    def test_a_released_dependant_wakes(self, stage: Stage) -> None:
        parent = stage.started()
        stage.push(after(parent))
        _assert_heard(stage, Topic.READY, lambda: stage.write(parent))

    def test_dependants_that_wait_for_their_release_wake(self, stage: Stage) -> None:
        parent = stage.started()
        stage.push(*[after(parent) for _ in range(150)])
        _assert_heard(stage, Topic.DUE, lambda: stage.write(parent))

    def test_a_queue_that_is_opened_again_wakes(self, stage: Stage) -> None:
        stage.broker.pause(PauseScope("q"), True)
        stage.pushed(queue="q")
        _assert_heard(stage, Topic.READY, lambda: stage.broker.pause(PauseScope("q"), False))

    @pytest.mark.parametrize("arguments", [PauseScope(None, "mail", '{"user":7}'), PauseScope("q", "mail", '{"user":7}')])
    def test_held_jobs_that_may_go_again_wake(self, stage: Stage, arguments: PauseScope) -> None:
        stage.pushed(task="mail", queue="q", payload=b"\x81\xa4user\x07")
        stage.broker.pause(arguments, True)
        assert stage.claim() == []
        _assert_heard(stage, Topic.READY, lambda: stage.broker.pause(arguments, False))

    @pytest.mark.parametrize("name", ["task:export", "queue:default", "key:user", "key:user|7"])
    @pytest.mark.parametrize("act", [_succeed, _put_off, _crash_of_one])
    def test_a_slot_that_frees_wakes_those_who_wait_for_it(self, stage: Stage, name: str, act: Act) -> None:
        set_limit(stage, name, max_running=1)
        job = stage.started(limit_keys=("key:user|7",))
        stage.pushed(limit_keys=("key:user|7",))
        assert stage.claim() == []
        _assert_heard(stage, Topic.READY, lambda: act(stage, stage.connect(), job))
        assert len(stage.claim(session="worker.2")) == 1

    def test_a_slot_wakes_also_a_job_of_another_task(self, stage: Stage) -> None:
        set_limit(stage, "key:user", max_running=1)
        job = stage.started(limit_keys=("key:user|7",))
        stage.pushed(task="mail", queue="q", limit_keys=("key:user|7",))
        _assert_heard(stage, Topic.READY, lambda: stage.write(job))

    def test_a_slot_that_nobody_waits_for_wakes_nobody(self, stage: Stage) -> None:
        set_limit(stage, "key:user", max_running=1)
        job = stage.started(limit_keys=("key:user|7",))
        stage.pushed(limit_keys=("key:user|8",))

        with stage.broker.listen([Topic.READY]) as listener:
            hush(listener)
            stage.write(job)
            assert not listener.wait(0.05)

    @pytest.mark.parametrize("kind", [LIMIT, OVERRIDE])
    def test_a_rule_that_changes_wakes(self, stage: Stage, kind: str) -> None:
        set_limit(stage, "task:export", kind, max_running=0)
        stage.pushed()
        _assert_heard(stage, Topic.READY, lambda: set_limit(stage, "task:export", kind, max_running=5))
        _assert_heard(stage, Topic.READY, lambda: take_back(stage, "task:export", kind))

    @pytest.mark.parametrize("data", [b"x", b""])
    def test_a_schedule_that_is_declared_wakes(self, stage: Stage, data: bytes) -> None:
        stage.broker.define([Definition(SCHEDULE, "nightly", b"x", 1, "at six")])
        _assert_heard(stage, Topic.DUE, lambda: stage.broker.define([Definition(SCHEDULE, "nightly", data, 1, "at seven")]))
        _assert_heard(stage, Topic.DUE, lambda: stage.connect().define([Definition(SCHEDULE, "new", b"x")]))

    def test_a_listener_hears_all_its_topics(self, stage: Stage) -> None:
        job = stage.started()

        with stage.broker.listen([Topic.READY, Topic.DUE, Topic.CANCEL]) as listener:
            for act in (_push, _push_later, _cancel):
                hush(listener)
                act(stage, stage.broker, job)
                assert listener.wait(SOON), act

    def test_every_listener_wakes(self, stage: Stage) -> None:
        listeners = [stage.broker.listen([Topic.READY]) for _ in range(3)] + [stage.connect().listen([Topic.READY])]
        stage.pushed()
        assert [listener.wait(SOON) for listener in listeners] == [True] * 4

        for listener in listeners:
            listener.close()

    def test_nothing_is_missed_between_listen_and_wait(self, stage: Stage) -> None:
        with stage.broker.listen([Topic.READY]) as listener:
            hush(listener)

            for _ in range(20):
                stage.pushed()
                assert listener.wait(SOON)

    def test_a_sleeper_is_woken_by_another_thread(self, stage: Stage) -> None:
        with stage.broker.listen([Topic.READY]) as listener, ThreadPoolExecutor(1) as pool:
            hush(listener)
            sleeper = pool.submit(listener.wait, 20)
            stage.pushed()
            assert sleeper.result(SOON)

    def test_a_sleeper_is_woken_by_another_connection(self, stage: Stage) -> None:
        other = stage.connect()

        with stage.broker.listen([Topic.READY]) as listener, ThreadPoolExecutor(1) as pool:
            hush(listener)
            sleeper = pool.submit(listener.wait, 20)
            other.push([[new_job()]])
            assert sleeper.result(SOON)

    def test_a_listener_in_a_quiet_store_sleeps_until_its_timeout(self, stage: Stage) -> None:
        stage.pushed()

        with stage.broker.listen([Topic.READY, Topic.CANCEL]) as listener:
            hush(listener)
            begun = SystemClock.monotonic()
            assert not listener.wait(0.2)
            assert SystemClock.monotonic() - begun > 0.15

    def test_a_wait_of_no_time_returns_at_once(self, stage: Stage) -> None:
        with stage.broker.listen([Topic.READY]) as listener:
            hush(listener)
            assert not listener.wait(0)
            stage.pushed()
            assert listener.wait(SOON)

    def test_what_was_told_is_not_told_again(self, stage: Stage) -> None:
        with stage.broker.listen([Topic.READY]) as listener:
            stage.push_each(new_job(), new_job())
            hush(listener)
            assert not listener.wait(0)

    @pytest.mark.parametrize("timeout", [20.0, None])
    def test_a_listener_may_be_woken_by_hand(self, stage: Stage, timeout: float | None) -> None:
        with stage.broker.listen([Topic.READY]) as listener, ThreadPoolExecutor(1) as pool:
            hush(listener)
            sleeper = pool.submit(listener.wait, timeout)
            listener.wake()
            assert sleeper.result(SOON)

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this platform has no such signals")
    def test_a_signal_handler_may_wake_a_sleeper(self, stage: Stage) -> None:
        with stage.broker.listen([Topic.READY]) as listener, ThreadPoolExecutor(1) as pool:
            hush(listener)
            before = signal.signal(signal.SIGUSR1, lambda *_: listener.wake())

            try:
                pool.submit(signal.pthread_kill, threading.main_thread().ident or 0, signal.SIGUSR1)
                assert listener.wait(SOON)
            finally:
                signal.signal(signal.SIGUSR1, before)

    def test_a_wake_before_the_wait_counts(self, stage: Stage) -> None:
        with stage.broker.listen([]) as listener:
            listener.wake()
            listener.wake()
            assert listener.wait(SOON)

    def test_a_listener_may_be_closed_twice(self, stage: Stage) -> None:
        listener = stage.broker.listen([Topic.READY])
        listener.close()
        listener.close()
        stage.pushed()
        assert ids(stage.claim())


def _assert_wakes(stage: Stage, topic: str | None, act: Act) -> None:
    """The act wakes a listener on the topic (None: on the running job), done here or by another connection."""
    for broker in (stage.broker, stage.connect()):
        job = _running_job(stage)

        if topic is None:
            assert_followed(stage, job.id, partial(act, stage, broker, job))
        else:
            _assert_heard(stage, topic, partial(act, stage, broker, job))


def _running_job(stage: Stage) -> ClaimedJob:
    new = new_job()
    stage.push(new)
    return next(job for job in stage.claim(alone=False) if job.id == new.id)


def _assert_heard(stage: Stage, topic: str, act: Callable[[], object]) -> None:
    with stage.broker.listen([topic]) as listener:
        hush(listener)
        act()
        assert listener.wait(SOON)
