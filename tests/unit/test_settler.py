"""The settler: what was put down is written, in order, and again until the broker takes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cherga import BrokerUnavailable, Context, JobState, Progress, QueueTasks
from cherga.testing import wait_until
from cherga.words.claim import ClaimedJob, ClaimWish
from cherga.words.clock import SystemClock
from cherga.words.session import SessionInfo
from cherga.words.settlement import Settlement
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable
from tests.odd_brokers import AppWith, FailingBroker

HOUR = 3600.0


class Desk:
    """Jobs that run, and a settler to put things down for."""

    def __init__(self, *errors: Exception, interval: float = 0.05) -> None:
        self.broker = FailingBroker()
        self.app: QueueTasks = AppWith(self.broker)
        self.slots = SlotTable.private(1)
        self.settler = Settler(self.broker, SystemClock(), interval, self.slots)
        self.broker.register(SessionInfo(id="desk.1", worker="desk", host="here", pid=1))
        self._task = self.app.task(name="work")(lambda: None)
        self._errors = errors

    def claim(self, count: int = 1) -> list[ClaimedJob]:
        """New jobs in the hands of this session. The broker fails from here on, as it was told to."""
        self._task.enqueue_many([()] * count)
        jobs = self.broker.claim(ClaimWish(session="desk.1", limit=count, tasks=frozenset({"work"}))).jobs
        self.broker.fail_with(*self._errors)
        return jobs

    def context(self, job: ClaimedJob) -> Context:
        return Context(job, SystemClock(), self.settler)

    def states(self) -> set[JobState]:
        return {job.status for job in self.app.jobs()}


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    desk.settler.start()
    yield desk
    desk.settler.stop(10)


def success(job: ClaimedJob) -> Settlement:
    return Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED)


def test_what_is_put_down_is_written(desk: Desk) -> None:
    for job in desk.claim(5):
        desk.settler.settle(success(job))

    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "all are written")
    wait_until(lambda: desk.settler.idle, "nothing waits")
    assert desk.slots.tick > 0


def test_what_waits_is_written_together() -> None:
    desk = Desk()

    for job in desk.claim(50):
        desk.settler.settle(success(job))

    assert not desk.settler.idle
    desk.settler.start()
    assert desk.settler.stop(10)
    assert desk.states() == {JobState.SUCCEEDED}
    assert desk.broker.calls.count("settle") == 1


def test_a_settlement_is_written_again_until_the_broker_takes_it() -> None:
    desk = Desk(BrokerUnavailable("busy"), BrokerUnavailable("busy"))
    (job,) = desk.claim()
    desk.settler.settle(success(job))
    desk.settler.start()

    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "it is written")
    assert desk.broker.calls.count("settle") == 3
    assert desk.settler.stop(10)


def test_one_settlement_that_no_broker_can_take_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    jobs = desk.claim(9)
    desk.broker.poison = jobs[3].id

    for job in jobs:
        desk.settler.settle(success(job))

    desk.settler.start()
    assert desk.settler.stop(10)
    assert [job.id for job in desk.app.jobs() if job.status is not JobState.SUCCEEDED] == [jobs[3].id]
    assert f"job {jobs[3].id}: the outcome cannot be written" in caplog.text


def test_a_stop_gives_up_when_the_broker_never_takes_it() -> None:
    desk = Desk(*[BrokerUnavailable("gone")] * 1000)
    (job,) = desk.claim()
    desk.settler.settle(success(job))
    desk.settler.start()

    assert not desk.settler.stop(0.1)


def test_an_outcome_that_is_refused_is_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    (job,) = desk.claim()
    desk.settler.settle(Settlement(job.id, job.sequence, job.token + 1, JobState.SUCCEEDED))

    wait_until(lambda: "no longer owns the job" in caplog.text, "it is told")
    assert str(job.id) in caplog.text
    assert desk.states() == {JobState.RUNNING}


def test_a_report_is_stored_soon_and_then_once_an_interval() -> None:
    desk = Desk(interval=HOUR)
    desk.settler.start()
    (job,) = desk.claim()
    context = desk.context(job)

    for done in range(100):
        context.progress(done)

    wait_until(lambda: desk.app.jobs()[0].progress, "the first is stored")

    for done in range(100, 200):
        context.progress(done)

    assert desk.settler.stop(10)
    assert desk.app.jobs()[0].progress == Progress(199)
    assert desk.broker.calls.count("report") == 2


def test_the_last_lines_of_a_job_are_written_before_its_end() -> None:
    desk = Desk(interval=HOUR)
    desk.settler.start()
    (job,) = desk.claim()
    context = desk.context(job)
    context.log("first")
    wait_until(lambda: "report" in desk.broker.calls, "the first report is written")
    context.log("last")
    desk.settler.flush(context)
    desk.settler.settle(success(job))
    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "it is written")
    followed = desk.broker.follow(job.id)

    assert followed is not None
    assert len(followed.events) == 2
    assert desk.settler.stop(10)


def test_a_context_with_nothing_new_is_no_report(desk: Desk) -> None:
    (job,) = desk.claim()
    context = desk.context(job)
    context.progress(1)
    wait_until(lambda: desk.app.jobs()[0].progress, "it is stored")
    desk.settler.touch(context)
    desk.settler.settle(success(job))
    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "it is written")

    assert desk.broker.calls.count("report") == 1
