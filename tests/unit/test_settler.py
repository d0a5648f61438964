"""The settler: what was put down is written, in order, and again until the broker takes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cherga import BrokerUnavailable, Context, JobState, Progress, QueueTasks
from cherga.testing import FakeClock, wait_until
from cherga.words.claim import ClaimedJob, ClaimWish
from cherga.words.clock import Clock, SystemClock
from cherga.words.report import Reading, Report
from cherga.words.session import SessionInfo
from cherga.words.settlement import Settlement
from cherga.worker.settler import Settler
from cherga.worker.slots import Pulse, SlotTable
from tests.odd_brokers import AppWith, FailingBroker

HOUR = 3600.0


class Desk:
    """Jobs that run, and a settler to put things down for."""

    def __init__(
        self,
        *errors: Exception,
        interval: float = 0.05,
        heard: Callable[[list[Report]], object] = len,
        longest: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.broker = FailingBroker()
        self.app: QueueTasks = AppWith(self.broker)
        self.slots = SlotTable.private(1)
        self._clock = clock or SystemClock()
        self.settler = Settler(self.broker, self._clock, interval, self.slots, heard, longest)
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
        return Context(job, self._clock, self.settler)

    def states(self) -> set[JobState]:
        return {job.row.state for job in self.app.jobs()}


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
    assert desk.slots.ticks[Pulse.SETTLER] > 0


def test_what_waits_is_written_together() -> None:
    desk = Desk()

    for job in desk.claim(50):
        desk.settler.settle(success(job))

    assert not desk.settler.idle
    desk.settler.start()
    assert desk.settler.stop(10)
    assert desk.states() == {JobState.SUCCEEDED}
    assert desk.broker.calls.count("settle") == 1


def test_what_is_put_down_while_somebody_claims_is_written_together_after_it() -> None:
    desk, seen = Desk(), list[tuple[int, bool]]()
    first, second = map(success, desk.claim(2))

    class Claim(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            seen.append((desk.broker.calls.count("settle"), desk.settler.idle))

            if len(seen) == 1:
                desk.settler.settle(second)

            return True

    desk.settler.may_write = Claim()
    desk.settler.settle(first)
    desk.settler.start()
    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "both are written")
    assert seen[0] == (0, False)
    assert desk.broker.calls.count("settle") == 1
    assert desk.settler.stop(10)


def test_a_claim_that_takes_long_holds_up_no_settlement_for_ever(desk: Desk) -> None:
    (job,) = desk.claim()
    desk.settler.may_write.clear()
    desk.settler.settle(success(job))

    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "it is written")


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
    (followed,) = desk.broker.follow([Reading(job.id)])

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


def test_the_first_report_is_stored_at_once_on_a_machine_that_has_just_started() -> None:
    desk = Desk(interval=HOUR, clock=FakeClock())
    desk.settler.start()
    (job,) = desk.claim()
    desk.context(job).progress(1)

    wait_until(lambda: desk.app.jobs()[0].progress, "it is stored")
    assert desk.settler.stop(10)


def fail(_: object) -> None:
    raise SystemExit("there is no room for one more thread")


def test_whoever_fails_to_hear_of_a_report_or_an_end_costs_no_settlement(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(heard=fail)
    desk.settler.start()

    for job in desk.claim(3):
        desk.settler.expect(job.token, fail)
        desk.context(job).progress(1)
        desk.settler.settle(success(job))

    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "all are written")
    (late,) = desk.claim()
    desk.settler.settle(success(late))
    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "so is the next one")
    assert caplog.text.count("could not tell of what it wrote") >= 4
    assert desk.settler.stop(10)


class Mute(Context):
    """What the job tells cannot be read."""

    def take_events(self) -> Any:
        raise RuntimeError("no")


def test_one_job_whose_report_cannot_be_read_keeps_nothing_from_others() -> None:
    desk = Desk()
    first, second = desk.claim(2)
    Mute(first, SystemClock(), desk.settler).progress(1)
    desk.context(second).progress(2)
    desk.settler.settle(success(first))
    desk.settler.settle(success(second))
    desk.settler.start()

    assert desk.settler.stop(10)
    assert desk.states() == {JobState.SUCCEEDED}


def test_what_a_failing_turn_left_is_written_by_the_next(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(MemoryError("no room for the answers"))
    (job,) = desk.claim()
    desk.settler.settle(success(job))
    desk.settler.start()

    wait_until(lambda: desk.states() == {JobState.SUCCEEDED}, "it is written")
    assert "the settler failed; it goes on in 0.1 seconds" in caplog.text
    assert desk.settler.stop(10)


@pytest.mark.parametrize("errors", [(), [BrokerUnavailable("gone")] * 1000], ids=["idle", "without its broker"])
def test_a_settler_shows_that_it_lives(errors: list[Exception]) -> None:
    desk = Desk(*errors, longest=0.01)
    (job,) = desk.claim()
    desk.settler.settle(success(job))
    desk.settler.start()

    wait_until(lambda: desk.slots.ticks[Pulse.SETTLER] > 3, "it turns")
    desk.settler.stop(0.0)
