"""The keeping of jobs that no worker ended, and the words in which their ends are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cherga.doors.broker import FullBroker
from cherga.rules.rates import read_rate
from cherga.testing.contract.stage import TASKS, Stage, after, new_job, session_info, settlement
from cherga.words.claim import ClaimedJob, ClaimWish
from cherga.words.job import Attempt, JobError, JobState, Reason
from cherga.words.keeping import KEEPING, Keeping
from cherga.words.limits import LIMIT, LimitRule, Overflow
from cherga.words.push import GROUP_TASK, EdgePolicy, JobHead, NewJob, OnCrash, Overrides
from cherga.words.session import Death
from cherga.words.settlement import Charge
from cherga.words.shared import Definition

SUCCESS, FAILURE = 70.0, 700.0
SETTINGS: dict[str, Any] = {"result_ttl": SUCCESS, "failure_ttl": FAILURE, "crash_cap": 1}

End = Callable[[Stage, FullBroker, NewJob], None]


def _cancelled(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    broker.push([[job]])
    broker.move([job.id], JobState.CANCELLED)


def _expired(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    broker.push([[msgspec.structs.replace(job, expires_in=5)]])
    stage.pass_time(6)
    broker.promote()


def _stillborn(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    broker.push([[msgspec.structs.replace(job, expires_in=0)]])


def _upstream(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    parent = new_job()
    broker.push([[parent, msgspec.structs.replace(job, edges=after(parent).edges)]])
    broker.move([parent.id], JobState.CANCELLED)


def _upstream_at_once(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    parent = new_job()
    broker.push([[parent]])
    broker.move([parent.id], JobState.CANCELLED)
    broker.push([[msgspec.structs.replace(job, edges=after(parent).edges)]])


def _child_of_the_cancelled(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    parent = new_job()
    broker.push([[parent, msgspec.structs.replace(job, parent=parent.id)]])
    broker.move([parent.id], JobState.CANCELLED, family=True)


def _poisoned(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    _begin(broker, job)
    broker.reap([Death("worker.1")])


def _cancelled_in_death(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    _begin(broker, job)
    broker.move([job.id], JobState.CANCELLED)
    broker.reap([Death("worker.1")])


def _cancelled_after_the_verdict(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    (claimed,) = _begin(broker, job)
    broker.move([job.id], JobState.CANCELLED)
    broker.settle([settlement(claimed, JobState.SCHEDULED, delay=60)])


def _dropped(stage: Stage, broker: FullBroker, job: NewJob) -> None:
    rule = LimitRule(max_length=1, overflow=Overflow.DROP_OLDEST)
    broker.define([Definition(LIMIT, f"queue:{job.queue}", msgspec.msgpack.encode(rule))])
    broker.push([[job]])
    broker.push([[new_job(queue=job.queue)]])


def _begin(broker: FullBroker, job: NewJob) -> list[ClaimedJob]:
    broker.push([[job]])
    broker.register(session_info("worker.1"))
    return broker.claim(ClaimWish(session="worker.1", limit=1, tasks=TASKS)).jobs


ENDS: list[End] = [
    _cancelled,
    _expired,
    _stillborn,
    _upstream,
    _upstream_at_once,
    _child_of_the_cancelled,
    _poisoned,
    _cancelled_in_death,
    _cancelled_after_the_verdict,
    _dropped,
]
BADLY = pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))


class KeptUnasked:
    """``prune_at`` of jobs that a broker ended by itself."""

    @BADLY
    def test_it_is_kept_as_long_as_the_application_says(self, stage: Stage, end: End) -> None:
        job = new_job()
        end(stage, stage.connect(**SETTINGS), job)
        assert _kept(stage, job) == FAILURE

    @BADLY
    def test_what_the_job_says_of_itself_goes_first(self, stage: Stage, end: End) -> None:
        publish(stage, "export", failure_ttl=9)
        job = new_job(head=packed(overrides=Overrides(failure_ttl=3), keeping=Keeping(failure_ttl=5)))
        end(stage, stage.connect(**SETTINGS), job)
        assert _kept(stage, job) == 3

    @BADLY
    def test_what_workers_have_published_of_the_task_goes_before_what_a_sender_knew(self, stage: Stage, end: End) -> None:
        publish(stage, "export", failure_ttl=9)
        job = new_job(head=packed(keeping=Keeping(failure_ttl=5)))
        end(stage, stage.connect(**SETTINGS), job)
        assert _kept(stage, job) == 9

    @BADLY
    def test_what_the_task_said_at_the_enqueue_goes_before_the_application(self, stage: Stage, end: End) -> None:
        publish(stage, "", failure_ttl=9)
        job = new_job(head=packed(keeping=Keeping(failure_ttl=5)))
        end(stage, stage.connect(**SETTINGS), job)
        assert _kept(stage, job) == 5

    @BADLY
    def test_a_process_without_the_settings_goes_by_what_was_published(self, stage: Stage, end: End) -> None:
        publish(stage, "", result_ttl=1, failure_ttl=9)
        job = new_job()
        end(stage, stage.connect(crash_cap=1), job)
        assert _kept(stage, job) == 9

    @BADLY
    def test_what_was_published_and_cannot_be_read_changes_nothing(self, stage: Stage, end: End) -> None:
        stage.broker.define([Definition(KEEPING, name, b"\xc1") for name in ("", "export")])
        job = new_job()
        end(stage, stage.connect(**SETTINGS), job)
        assert _kept(stage, job) == FAILURE

    @pytest.mark.parametrize("wish", [float("inf"), 1e308, float("nan"), -1.0])
    def test_an_absurd_wish_is_bounded(self, stage: Stage, wish: float) -> None:
        job = new_job(head=packed(overrides=Overrides(failure_ttl=wish)))
        _cancelled(stage, stage.broker, job)
        assert 0 <= _kept(stage, job) <= 100 * 366 * 86_400
        assert stage.started().task == "export"

    def test_a_group_is_kept_like_a_success(self, stage: Stage) -> None:
        broker = stage.connect(**SETTINGS)
        member = new_job()
        empty, group = new_job(task=GROUP_TASK), after(member, task=GROUP_TASK)
        broker.push([[member, empty, group]])
        broker.settle([settlement(stage.claim_one())])
        assert (_kept(stage, empty), _kept(stage, group)) == (SUCCESS, SUCCESS)

    def test_a_group_that_another_process_ends_is_kept_as_published(self, stage: Stage) -> None:
        publish(stage, "", result_ttl=7)
        member = new_job()
        group = after(member, task=GROUP_TASK)
        stage.push(member, group)
        stage.write(stage.claim_one())
        assert _kept(stage, group) == 7

    def test_a_member_that_is_cancelled_with_its_group_goes_with_it(self, stage: Stage) -> None:
        broker = stage.connect(**SETTINGS)
        members = [new_job(), new_job(delay=60)]
        group = after(*members, policy=EdgePolicy.TOGETHER, task=GROUP_TASK)
        broker.push([[*[msgspec.structs.replace(each, parent=group.id) for each in members], group]])
        broker.move([members[0].id], JobState.CANCELLED)
        stage.tidy()
        stage.pass_time(FAILURE + 1)
        assert broker.prune() + broker.prune() == 3


class ToldAlike:
    """The words in which ends are told that no worker wrote."""

    @pytest.mark.parametrize(
        ("orderly", "error", "reason"),
        [
            (False, JobError("Crashed", "the worker process died while the job ran"), Reason.CRASHED),
            (True, JobError("Interrupted", "the worker was stopped while the job ran"), Reason.INTERRUPTED),
        ],
    )
    def test_a_death_stands_in_the_history_in_these_words(
        self, stage: Stage, orderly: bool, error: JobError, reason: Reason
    ) -> None:
        job = stage.started()
        stage.broker.reap([Death("worker.1", orderly=orderly)])
        (attempt,) = msgspec.msgpack.decode(stage.row(job).attempts or b"", type=list[Attempt])
        assert (attempt.number, attempt.worker, attempt.reason, attempt.error) == (1, "worker", reason, error)
        assert stage.row(job).message is None

    @pytest.mark.parametrize(("cap", "words"), [(1, "its process died under it"), (2, "its process died under it 2 times")])
    def test_poison_says_how_often_the_process_died(self, stage: Stage, cap: int, words: str) -> None:
        broker = stage.connect(crash_cap=cap, crash_backoff=(0.0,))
        job = stage.pushed()

        for _ in range(cap):
            stage.claim_one(alone=True)
            broker.reap([Death("worker.1")])

        assert (stage.state(job), stage.row(job).message) == (JobState.FAILED, words)

    @pytest.mark.parametrize("orderly", [False, True])
    def test_a_job_that_must_not_run_twice_says_so(self, stage: Stage, orderly: bool) -> None:
        job = stage.started(head=packed(overrides=Overrides(on_crash=OnCrash.FAIL)))
        stage.broker.reap([Death("worker.1", orderly=orderly)])
        assert stage.row(job).message == "its process ended under it, and it must not run twice"

    def test_a_job_cancelled_in_its_death_keeps_the_words_of_who_asked(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], JobState.CANCELLED, "not today")
        stage.crash()
        assert stage.row(job).message == "not today"

    def test_a_job_cancelled_after_its_verdict_keeps_the_words_of_who_asked(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], JobState.CANCELLED, "not today")
        stage.write(job, JobState.READY, message="once more")
        assert (stage.row(job).message, stage.row(job).reason) == ("not today", Reason.ASKED)

    def test_a_job_that_cannot_be_read_says_so(self, stage: Stage) -> None:
        for field in stage.harness.corruptible:
            job = stage.pushed()
            stage.harness.corrupt(job.id, field)
            stage.claim()
            assert stage.row(job).message == "the stored job cannot be read"

    def test_a_start_is_given_back_where_it_was_and_no_earlier_one(self, stage: Stage) -> None:
        _allow(stage, "2/m")
        stage.push_each(new_job(), new_job(), new_job())
        first = stage.claim(1)
        stage.pass_time(30)
        (second,) = stage.claim(1)
        stage.write(second, JobState.READY, charge=Charge.REFUND)
        stage.write(first[0])
        stage.pass_time(31)
        assert len(stage.claim()) == 2

    def test_a_start_is_given_back_also_when_the_job_is_cancelled_thereby(self, stage: Stage) -> None:
        _allow(stage, "1/m")
        stage.push_each(new_job(), new_job())
        (first,) = stage.claim()
        stage.broker.move([first.id], JobState.CANCELLED)
        stage.write(first, JobState.READY, charge=Charge.REFUND)
        assert len(stage.claim()) == 1


def _allow(stage: Stage, rate: str) -> None:
    rule = LimitRule(rate=read_rate(rate))
    stage.broker.define([Definition(LIMIT, "task:export", msgspec.msgpack.encode(rule))])


def publish(stage: Stage, name: str, **keeping: float) -> None:
    """Let workers have published this."""
    stage.broker.define([Definition(KEEPING, name, msgspec.msgpack.encode(Keeping(**keeping)))])


def packed(**fields: Any) -> bytes:
    """A head with these fields."""
    return msgspec.msgpack.encode(JobHead(**fields))


def _kept(stage: Stage, job: NewJob) -> float:
    row = stage.row(job)
    assert row.state.final
    assert row.prune_at is not None
    assert row.finished_at is not None
    return round(row.prune_at - row.finished_at, 3)
