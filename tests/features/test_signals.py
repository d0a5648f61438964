"""``app.on``: what happens to jobs and workers is told, after it is stored, and no handler can harm anything."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from cherga import ConfigError, Event, JobCancelled, JobFailed, JobState, PluginError, Progress, QueueTasks, Retry, ctx
from cherga.testing import wait_until

JOB_EVENTS = ("enqueued", "started", "progress", "retried", "succeeded", "failed", "cancelled")
WORKER_EVENTS = ("worker_started", "worker_draining", "worker_stopped")


class Diary:
    """Every event of an application, by ``def`` and ``async def`` handlers."""

    def __init__(self, app: QueueTasks) -> None:
        self.heard: list[Event] = []
        self.awaited: list[Event] = []

        for name in (*JOB_EVENTS, *WORKER_EVENTS):
            getattr(app.on, name)(self.heard.append)
            getattr(app.on, name)(self._hear)

    async def _hear(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.awaited.append(event)

    def names(self, job: Any = None) -> list[str]:
        return [event.name for event in self.heard if job is None or event.job_id == job.id]

    def of(self, name: str) -> Event:
        (event,) = (event for event in self.heard if event.name == name)
        return event


@pytest.fixture
def diary(app: QueueTasks) -> Diary:
    return Diary(app)


@pytest.mark.parametrize("is_async", [False, True])
def test_the_life_of_a_job_that_succeeds_and_of_its_worker(app: QueueTasks, diary: Diary, is_async: bool) -> None:
    def body() -> str:
        ctx.progress(1, 2)
        return "done"

    if is_async:

        @app.task(name="task")
        async def atask() -> str:
            return body()
    else:
        app.task("task")(body)

    with app.worker(name="anna"):
        job = app.tasks["task"].enqueue()
        job.result(5)
        # The result can be read before its event is told, and this block's end tells one of its own.
        wait_until(lambda: "succeeded" in diary.names(), "the end is told")

    in_order = [name for name in diary.names() if name != "progress" and name != "enqueued"]
    assert in_order == ["worker_started", "started", "succeeded", "worker_draining", "worker_stopped"]
    assert {event.name for event in diary.awaited} == {event.name for event in diary.heard}
    assert diary.of("progress").progress == Progress(1, 2)
    assert {(event.task_name, event.job_id) for event in diary.heard if event.job_id} == {("task", job.id)}
    assert {event.worker for event in diary.heard if event.name != "enqueued"} == {"anna"}
    assert diary.of("succeeded").state is JobState.SUCCEEDED


def test_the_life_of_a_job_that_is_retried_and_fails(app: QueueTasks, diary: Diary) -> None:
    @app.task(retry=Retry(max=1, backoff=0))
    def task() -> None:
        raise ValueError("no luck")

    with app.worker(), pytest.raises(JobFailed):
        task.enqueue().result(5)

    names = [name for name in diary.names() if name in JOB_EVENTS]
    assert names.count("enqueued") == 1  # by the sender, who may hear of it when the worker has begun
    assert [name for name in names if name != "enqueued"] == ["started", "retried", "started", "failed"]
    retried, failed = diary.of("retried"), diary.of("failed")
    assert (retried.attempt, failed.attempt) == (1, 2)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("ValueError", "no luck")


def test_a_cancelled_job_is_told_as_cancelled(app: QueueTasks, diary: Diary) -> None:
    @app.task
    def task() -> None:
        ctx.cancel("enough")

    with app.worker(), pytest.raises(JobCancelled):
        task.enqueue().result(5)

    assert "cancelled" in diary.names()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("options", [{}, {"run_in": 60}], ids=["ready", "scheduled"])
def test_a_job_that_is_cancelled_before_it_ran_is_told_by_who_cancelled_it(
    app: QueueTasks, diary: Diary, options: Any, is_async: bool
) -> None:
    @app.task
    def task() -> None: ...

    job = task.using(**options).enqueue()

    async def cancel_twice() -> list[bool]:
        return [await job.acancel("too late"), await job.acancel()]

    assert (asyncio.run(cancel_twice()) if is_async else [job.cancel("too late"), job.cancel()]) == [True, False]
    assert diary.names(job) == ["enqueued", "cancelled"]
    assert diary.of("cancelled") == Event("cancelled", job.id, "task", JobState.CANCELLED, attempt=0)


def test_a_running_job_that_is_cancelled_is_told_by_its_worker_alone(app: QueueTasks, diary: Diary) -> None:
    @app.task
    def task() -> None:
        ctx.sleep(20)

    with app.worker(name="anna"):
        job = task.enqueue()
        wait_until(lambda: "started" in diary.names(), "the job runs")
        assert job.cancel()

        with pytest.raises(JobCancelled):
            job.result(5)

        job.cancel()

    assert diary.of("cancelled").worker == "anna"


def test_an_end_is_told_once_it_is_stored(app: QueueTasks) -> None:
    states: list[JobState] = []

    @app.on.succeeded
    def look(event: Event) -> None:
        assert event.job_id is not None
        job = app.get(event.job_id)
        assert job is not None
        states.append(job.row.state)

    @app.task
    def task() -> None: ...

    with app.worker():
        for job in task.enqueue_many([()] * 5):
            job.result(5)

    assert states == [JobState.SUCCEEDED] * 5


@pytest.mark.parametrize("error", [ValueError("oh"), SystemExit(1), asyncio.CancelledError()])
def test_a_handler_that_raises_is_logged_and_harms_nothing(
    app: QueueTasks, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail(event: Event) -> None:
        raise error

    async def afail(event: Event) -> None:
        raise error

    for name in (*JOB_EVENTS, *WORKER_EVENTS):
        getattr(app.on, name)(fail)
        getattr(app.on, name)(afail)

    diary = Diary(app)

    @app.task
    def task() -> str:
        ctx.progress(1)
        return "done"

    with app.worker():
        assert task.enqueue().result(5) == "done"
        assert task.enqueue().result(5) == "done"

    assert diary.names().count("succeeded") == 2
    assert caplog.text.count("a handler of 'succeeded' failed") == 4


def test_progress_that_nobody_can_read_harms_its_own_job_alone(app: QueueTasks, diary: Diary) -> None:
    @app.task
    def task(done: Any) -> None:
        ctx.progress(done)

    with app.worker():
        with pytest.raises(JobFailed, match="to be a number, got 'half'"):
            task.enqueue("half").result(5)

        task.enqueue(1).result(5)

    assert diary.of("progress").progress == Progress(1)


def test_a_handler_that_hangs_holds_up_no_job(app: QueueTasks) -> None:
    go_on = threading.Event()
    app.on.started(lambda event: go_on.wait(20))

    @app.task
    def task(number: int) -> int:
        ctx.progress(number)
        return number

    with app.worker():
        for number in range(20):
            assert task.enqueue(number).result(5) == number

        go_on.set()


def test_handlers_may_be_connected_and_disconnected_while_the_worker_runs(app: QueueTasks) -> None:
    heard: list[str] = []

    @app.task
    def task() -> None: ...

    def hear(event: Event) -> None:
        heard.append(event.name)

    with app.worker():
        task.enqueue().result(5)
        app.on.succeeded(hear)
        task.enqueue().result(5)
        wait_until(lambda: heard, "the handler has heard")
        app.on.succeeded.disconnect(hear)
        app.on.succeeded.disconnect(hear)
        task.enqueue().result(5)

    assert heard == ["succeeded"]


def test_enqueued_is_told_to_async_handlers_without_a_worker_too(app: QueueTasks, diary: Diary) -> None:
    @app.task
    def task(number: int) -> None: ...

    task.enqueue(1)
    assert [event.name for event in diary.awaited] == ["enqueued"]

    async def enqueue() -> None:
        await task.aenqueue(2)

        while len(diary.awaited) < 2:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(enqueue(), 5))

    with app.worker():
        pass

    task.enqueue(3)
    assert len([event for event in diary.awaited if event.name == "enqueued"]) == 3


def test_children_that_come_with_their_parents_success_are_told_as_enqueued(app: QueueTasks, diary: Diary) -> None:
    @app.task
    def sub(number: int) -> None: ...

    @app.task(echo=True)
    def main(self: Any) -> None:
        self.add_task("sub", 1)

    with app.worker():
        main.enqueue().result(5)
        wait_until(lambda: app.jobs(task="sub", states=["succeeded"]), "the child has run")

    assert [event.task_name for event in diary.heard if event.name == "enqueued"] == ["main", "sub"]


class TestPluginError:
    """``ctx.plugin_error`` asks handlers for a result."""

    @pytest.fixture(params=["def", "async def"])
    def ask(self, app: QueueTasks, request: pytest.FixtureRequest) -> Any:
        if request.param == "def":

            @app.task(echo=True)
            def ask(self: Any, /, **details: int) -> Any:
                return self.ctx.plugin_error(**details)

            return ask

        @app.task(echo=True, name="ask")
        async def aask(self: Any, /, **details: int) -> Any:
            return await self.ctx.plugin_error(**details)

        return aask

    def test_without_a_handler_it_is_raised_with_its_details(self, app: QueueTasks, ask: Any) -> None:
        with app.worker(), pytest.raises(JobFailed, match="PluginError: code=7, page=3"):
            ask.enqueue(code=7, page=3).result(5)

    def test_the_first_handler_with_a_result_counts(self, app: QueueTasks, ask: Any) -> None:
        heard: list[Any] = []

        @app.on.plugin_error
        def passes(event: Event) -> None:
            heard.append((event.details, event.task_name))

        @app.on.plugin_error
        def fails(event: Event) -> None:
            raise ValueError("this handler is broken")

        @app.on.plugin_error
        async def answers(event: Event) -> str:
            await asyncio.sleep(0)
            return f"code {(event.details or {})['code']}"

        app.on.plugin_error(lambda event: "too late")

        with app.worker():
            assert ask.enqueue(code=7).result(5) == "code 7"

        assert heard == [({"code": 7}, "ask")]

    def test_it_can_be_caught(self, app: QueueTasks) -> None:
        @app.task
        def task() -> Any:
            try:
                ctx.plugin_error(code=7)
            except PluginError as error:
                return error.details

        with app.worker():
            assert task.enqueue().result(5) == {"code": 7}


class TestWrongUses:
    def test_an_event_that_does_not_exist(self, app: QueueTasks) -> None:
        with pytest.raises(AttributeError, match="there is no event 'suceeded'; did you mean 'succeeded'"):
            app.on.suceeded  # noqa: B018

    def test_a_handler_that_takes_nothing(self, app: QueueTasks) -> None:
        with pytest.raises(ConfigError, match="expected a handler of 'failed' to take one argument"):
            app.on.failed(lambda: None)  # type: ignore[type-var]

    def test_a_handler_that_is_none(self, app: QueueTasks) -> None:
        with pytest.raises(ConfigError, match="expected a handler of 'failed' to be a function, got 'mail'"):
            app.on.failed("mail")  # type: ignore[type-var]


def test_an_enqueue_that_meets_an_unfinished_job_stores_nothing_and_tells_nothing(app: QueueTasks, diary: Diary) -> None:
    @app.task(unique=True)
    def single() -> None: ...

    first, second = single.enqueue(), single.enqueue()

    assert second.existing
    assert [event.job_id for event in diary.heard if event.name == "enqueued"] == [first.id]
