"""When jobs run: by key, by time, by what they wait for, by priority and by queue."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cherga import Job, JobCancelled, JobFailed, JobState, QueueTasks, Reason, ctx
from cherga.client.ids import new_id
from cherga.testing import wait_until
from cherga.words.clock import SystemClock
from cherga.words.push import Edge, EdgePolicy
from cherga.words.shared import PauseScope
from tests.conftest import NewApp

WAIT = 10.0


class Ran:
    """Notes which jobs ran, in their order."""

    def __init__(self, app: QueueTasks) -> None:
        self.marks: list[Any] = []
        self.task = app.task(name="note")(self.note)

    def note(self, mark: str) -> str:
        self.marks.append(mark)
        return mark


@pytest.fixture
def ran(app: QueueTasks) -> Ran:
    return Ran(app)


# --- keys and ids


def test_a_second_request_while_one_runs_is_the_first(app: QueueTasks) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @app.task(unique=True)
    def export(user: int) -> str:
        begun.set()
        go_on.wait(WAIT)
        return f"posts of {user}"

    async def aenqueue() -> Job[str]:
        return await export.aenqueue(7)

    with app.worker():
        first = export.enqueue(7)
        assert begun.wait(WAIT)
        again, async_again = export.enqueue(7), asyncio.run(aenqueue())
        assert (again.existing, async_again.existing) == (True, True)
        assert again == async_again == first
        go_on.set()
        assert again.result(WAIT) == "posts of 7"

        third = export.enqueue(7)
        assert not third.existing
        assert third.result(WAIT) == "posts of 7"


def test_a_repeated_id_is_run_once(app: QueueTasks, ran: Ran) -> None:
    id = new_id()

    with app.worker():
        assert ran.task.using(id=id).enqueue("once").result(WAIT) == "once"
        assert ran.task.using(id=id).enqueue("once").result(WAIT) == "once"

    assert ran.marks == ["once"]


# --- time


def test_a_job_runs_when_its_time_has_come(app: QueueTasks, ran: Ran) -> None:
    with app.worker():
        late = ran.task.using(run_in=60).enqueue("late")
        # Far enough away that a slow machine has stored them before their time.
        soon = datetime.fromtimestamp(SystemClock.now() + 1.0, UTC)
        jobs = [ran.task.using(run_in=1.0).enqueue("in"), ran.task.using(run_at=soon).enqueue("at"), ran.task.enqueue("now")]
        assert [job.status for job in jobs] == [JobState.SCHEDULED, JobState.SCHEDULED, JobState.READY]

        for job in jobs:
            job.result(WAIT)
            assert job.run_at is None or (
                job.started_at is not None and job.started_at >= job.run_at - timedelta(milliseconds=5)
            )

    assert ran.marks[0] == "now"
    assert sorted(ran.marks) == ["at", "in", "now"]
    assert late.refresh().status is JobState.SCHEDULED


def test_a_time_that_is_over_is_now(app: QueueTasks, ran: Ran) -> None:
    with app.worker():
        assert ran.task.using(run_at=datetime(2000, 1, 1, tzinfo=UTC)).enqueue("old").result(WAIT) == "old"


def test_a_scheduled_job_may_be_run_at_once(app: QueueTasks, ran: Ran) -> None:
    with app.worker():
        job = ran.task.using(run_in=3600).enqueue("now")
        assert job.retry()
        assert job.result(WAIT) == "now"


def test_a_job_that_has_expired_does_not_run(app: QueueTasks, ran: Ran) -> None:
    job = ran.task.using(expires=0.01).enqueue("too late")
    expires = job.expires_at
    assert expires is not None
    wait_until(lambda: SystemClock.now() > expires.timestamp() + 0.01, "it has expired")

    with app.worker(), pytest.raises(JobCancelled, match="expired"):
        job.result(WAIT)

    assert job.reason is Reason.EXPIRED
    assert ran.marks == []


def test_a_job_that_starts_in_time_does_not_expire_while_it_runs(app: QueueTasks) -> None:
    @app.task
    def work() -> str:
        ctx.sleep(1.1)
        return "done"

    with app.worker():
        assert work.using(expires=1.0).enqueue().result(WAIT) == "done"


# --- edges


def test_what_comes_after_runs_after(app: QueueTasks, ran: Ran) -> None:
    first = ran.task.using(run_in=0.05).enqueue("first")
    second = ran.task.using(after=[first]).enqueue("second")
    third = ran.task.using(after=[first, second]).enqueue("third")

    with app.worker():
        assert third.result(WAIT) == "third"

    assert ran.marks == ["first", "second", "third"]


def test_a_failure_cancels_what_comes_after_all_the_way_down(app: QueueTasks, ran: Ran) -> None:
    fail = app.task(name="fail")(lambda: 1 / 0)
    first = fail.using(run_in=0.05).enqueue()
    second = ran.task.using(after=[first]).enqueue("second")
    third = ran.task.using(after=[second]).enqueue("third")
    anyway = ran.task.using(after=[Edge(first.id, EdgePolicy.ENDED)]).enqueue("anyway")

    with app.worker():
        with pytest.raises(JobFailed):
            first.result(WAIT)

        assert anyway.result(WAIT) == "anyway"

        with pytest.raises(JobCancelled, match="upstream"):
            third.result(WAIT)

    assert second.refresh().reason is Reason.UPSTREAM
    assert ran.marks == ["anyway"]


def test_more_dependants_than_a_page_are_all_released(app: QueueTasks, ran: Ran) -> None:
    first = ran.task.using(run_in=0.05).enqueue("first")
    others = ran.task.using(after=[first]).enqueue_many([(str(number),) for number in range(250)])

    with app.worker():
        for job in others:
            job.result(WAIT)

    assert ran.marks[0] == "first"
    assert len(ran.marks) == 251


# --- order


def test_higher_priority_runs_first_then_older(app: QueueTasks, ran: Ran) -> None:
    jobs = [
        ran.task.using(priority=priority).enqueue(mark)
        for mark, priority in (("a", 0), ("b", 10), ("c", -5), ("d", 10), ("e", 0), ("f", 100))
    ]

    with app.worker(threads=1):
        for job in jobs:
            job.result(WAIT)

    assert "".join(ran.marks) == "fbdaec"


def test_a_worker_serves_its_own_queues_alone(app: QueueTasks, ran: Ran) -> None:
    mine = ran.task.using(queue="mine").enqueue("mine")
    other = ran.task.using(queue="other").enqueue("other")

    with app.worker(queues=["mine"]):
        assert mine.result(WAIT) == "mine"

    assert other.refresh().status is JobState.READY


def test_queues_are_served_in_the_order_given(app: QueueTasks, ran: Ran) -> None:
    jobs = [ran.task.using(queue=queue, priority=priority).enqueue(queue) for queue, priority in (("low", 100), ("high", -100))]

    with app.worker(queues=["high", "low"], threads=1):
        for job in jobs:
            job.result(WAIT)

    assert ran.marks == ["high", "low"]


def test_a_paused_queue_waits_and_goes_on(app: QueueTasks, ran: Ran) -> None:
    app.broker.pause(PauseScope(queue="mail"), True)

    with app.worker():
        waiting = ran.task.using(queue="mail").enqueue("mail")
        assert ran.task.enqueue("other").result(WAIT) == "other"
        assert waiting.refresh().status is JobState.READY
        app.broker.pause(PauseScope(queue="mail"), False)
        assert waiting.result(WAIT) == "mail"


def test_a_task_that_the_worker_does_not_know_is_left_alone_and_told_once(
    app: QueueTasks, ran: Ran, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [app.add_task("of_another_application") for _ in range(3)]

    with app.worker():
        assert ran.task.enqueue("known").result(WAIT) == "known"
        assert ran.task.enqueue("again").result(WAIT) == "again"
        wait_until(lambda: "of_another_application" in caplog.text, "it is told")

    assert {job.refresh().status for job in jobs} == {JobState.READY}
    assert caplog.text.count("'of_another_application'") == 1


def test_a_job_under_an_old_name_runs_under_the_new_one(new_app: NewApp) -> None:
    old = new_app()
    job = old.task(name="old_name")(lambda: "old").enqueue()
    new = new_app()
    new.task(name="new_name", aliases=["old_name"])(lambda: "new")

    if old.broker_url.startswith("memory"):
        assert new.get(job.id) == job

    with new.worker():
        assert job.result(WAIT) == "new"


# --- jobs that enqueue jobs


def test_a_job_may_enqueue_others_and_wait_for_them(app: QueueTasks, ran: Ran) -> None:
    @app.task
    def parent() -> list[str]:
        return [job.result(WAIT) for job in ran.task.enqueue_many([("a",), ("b",)])]

    @app.task
    async def aparent() -> str:
        return await (await ran.task.aenqueue("c")).aresult(WAIT)

    with app.worker():
        assert parent.enqueue().result(WAIT) == ["a", "b"]
        assert aparent.enqueue().result(WAIT) == "c"
