"""``echo=True``: the task bound to its job, and what its context can do, awaited in async tasks and plain in the others."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cherga import AsyncTask, JobCancelled, JobState, QueueTasks, Settings, SyncTask
from cherga.testing import wait_until


def double(value: Any) -> Any:
    return value


FACTS = ("task_name", "priority", "echo", "max_time", "retry", "retry_on_exc", "decode", "tags", "description")
FIELDS = (*FACTS, "middlewares_before", "middlewares_after", "extra")


def test_self_has_every_field_of_the_seed(app: QueueTasks) -> None:
    seen: dict[str, Any] = {}

    class Before:
        def __call__(self, call: Any) -> None: ...

    class After:
        def __call__(self, call: Any) -> None: ...

    @app.task(
        echo=True,
        max_time=60,
        retry=5,
        retry_on_exc=[ZeroDivisionError, OSError],
        decode=double,
        middlewares_before=[Before],
        middlewares_after=[After],
        tags=["a", "b"],
        description="shows itself",
        priority=3,
        extra={"colour": "red", "shape": "round"},
    )
    def show(self: SyncTask, number: int) -> None:
        seen.update({name: getattr(self, name) for name in FIELDS})
        seen["ctx"] = self.ctx.task_uuid

    with app.worker():
        job = show.using(priority=7).enqueue(1)
        job.result(5)

    assert seen == {
        "task_name": "show",
        "priority": 7,
        "echo": True,
        "max_time": 60,
        "retry": 5,
        "retry_on_exc": [ZeroDivisionError, OSError],
        "decode": double,
        "middlewares_before": [Before],
        "middlewares_after": [After],
        "extra": {"colour": "red", "shape": "round"},
        "tags": ("a", "b"),
        "description": "shows itself",
        "ctx": job.id,
    }


def test_a_task_that_sets_nothing_has_the_defaults_of_the_seed(app: QueueTasks) -> None:
    @app.task(echo=True)
    def show(self: SyncTask) -> list[Any]:
        return [self.priority, self.retry, self.retry_on_exc, self.middlewares_before, self.middlewares_after, dict(self.extra)]

    with app.worker():
        assert show.enqueue().result(5) == [0, 0, [], [], [], {}]


def test_each_kind_of_function_gets_its_kind_of_self(app: QueueTasks) -> None:
    kinds: dict[str, type[Any]] = {}

    @app.task(echo=True)
    def function(self: SyncTask) -> None:
        kinds["function"] = type(self)

    @app.task(echo=True)
    async def coroutine(self: AsyncTask) -> None:
        kinds["coroutine"] = type(self)

    @app.task(echo=True)
    def generator(self: SyncTask) -> Iterator[int]:
        kinds["generator"] = type(self)
        yield 1

    @app.task(echo=True)
    async def async_generator(self: AsyncTask) -> AsyncIterator[int]:
        kinds["async_generator"] = type(self)
        yield 1

    with app.worker():
        for task in (function, coroutine, generator, async_generator):
            task.enqueue().result(5)

    assert kinds == {"function": SyncTask, "coroutine": AsyncTask, "generator": SyncTask, "async_generator": AsyncTask}


class TestContext:
    """Each method once in a ``def`` and once in an ``async def`` task."""

    @pytest.fixture(params=["def", "async def"])
    def ask(self, app: QueueTasks, request: pytest.FixtureRequest) -> Any:
        """Calls one method of the context in a job, awaits it where it is to be awaited, and remembers what it gave."""
        self.got: Any = None

        if request.param == "def":

            @app.task(echo=True)
            def ask(self_: SyncTask, name: str, *args: Any, **kwargs: Any) -> None:
                self.got = getattr(self_.ctx, name)(*args, **kwargs)
        else:

            @app.task(echo=True, name="ask")
            async def aask(self_: AsyncTask, name: str, *args: Any, **kwargs: Any) -> None:
                self.got = getattr(self_.ctx, name)(*args, **kwargs)
                self.got = await self.got if name in {"get_metadata", "get_task", "sleep", "plugin_error"} else self.got

        return app.tasks["ask"]

    def answer(self, app: QueueTasks, ask: Any, *args: Any, **kwargs: Any) -> Any:
        with app.worker(name="anna"):
            self.job = ask.enqueue(*args, **kwargs)
            self.job.result(5)

        return self.got

    def test_get_metadata_gives_the_stored_job(self, app: QueueTasks, ask: Any) -> None:
        job = self.answer(app, ask, "get_metadata")
        assert (job.id, job.status, job.arguments["args"]) == (self.job.id, JobState.RUNNING, [])

    @pytest.mark.parametrize("method", ["get_config"])
    def test_get_config_gives_the_settings(self, app: QueueTasks, ask: Any, method: str) -> None:
        config = self.answer(app, ask, method)
        assert isinstance(config, Settings)
        assert config.report_interval == 0.05

    def test_get_task_gives_another_job_or_none(self, app: QueueTasks, ask: Any) -> None:
        other = ask.enqueue("get_config")
        assert self.answer(app, ask, "get_task", str(other.id)) == other
        assert self.answer(app, ask, "get_task", "00000000-0000-7000-8000-000000000000") is None

    def test_get_logger_writes_with_the_jobs_id(self, app: QueueTasks, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
        logger = self.answer(app, ask, "get_logger", "mine")

        with caplog.at_level(logging.INFO, "mine"):
            logger.info("a line")

        (record,) = (record for record in caplog.records if record.name == "mine")
        assert vars(record)["job_id"] == str(self.job.id)
        assert vars(record)["task_name"] == "ask"

    def test_get_logger_without_a_name_is_named_after_the_task(self, app: QueueTasks, ask: Any) -> None:
        assert self.answer(app, ask, "get_logger").logger.name == "cherga.task.ask"

    @pytest.mark.parametrize("name", ["storage", "broker"])
    def test_the_broker_is_a_component(self, app: QueueTasks, ask: Any, name: str) -> None:
        assert self.answer(app, ask, "get_component", name) is app.broker

    def test_so_are_the_worker_the_config_and_the_application(self, app: QueueTasks, ask: Any) -> None:
        assert self.answer(app, ask, "get_component", "worker").worker == "anna"
        assert self.answer(app, ask, "get_component", "config") is app.settings
        assert self.answer(app, ask, "get_component", "app") is app
        assert self.answer(app, ask, "get_component", "no such thing") is None

    def test_sleep_waits(self, app: QueueTasks, ask: Any) -> None:
        assert self.answer(app, ask, "sleep", 0.01) is True

    def test_cancel_ends_the_job_with_the_reason_and_without_a_retry(self, app: QueueTasks, ask: Any) -> None:
        with app.worker():
            job = ask.using(retry=5).enqueue("cancel", "no need any more")

            with pytest.raises(JobCancelled, match="no need any more") as caught:
                job.result(5)

        assert (job.status, job.attempt, job.message) == (JobState.CANCELLED, 1, "no need any more")
        assert caught.value.reason == "cancelled"

    def test_log_and_meta_are_there_in_both(self, app: QueueTasks, ask: Any) -> None:
        self.answer(app, ask, "log", "a line")
        assert [line for update in app.watch(self.job.id) for line in update.logs] == ["a line"]


def test_get_metadata_is_read_once_unless_it_should_be_fresh(app: QueueTasks) -> None:
    @app.task(echo=True)
    def show(self: SyncTask) -> list[bool]:
        first, second = self.ctx.get_metadata(), self.ctx.get_metadata()
        return [first is second, self.ctx.get_metadata(cache=False) is first]

    @app.task(echo=True)
    async def ashow(self: AsyncTask) -> list[bool]:
        first, second = await self.ctx.get_metadata(), await self.ctx.get_metadata()
        return [first is second, await self.ctx.get_metadata(cache=False) is first]

    with app.worker():
        assert show.enqueue().result(5) == [True, False]
        assert ashow.enqueue().result(5) == [True, False]


def test_progress_track_and_the_facts_of_the_job_are_there_in_both(app: QueueTasks) -> None:
    def facts(ctx: Any) -> list[Any]:
        return [ctx.task_name, ctx.attempt, ctx.cancelled, ctx.deadline is not None, ctx.owner, list(ctx.track([7, 8]))]

    @app.task(echo=True)
    def show(self: SyncTask) -> list[Any]:
        return facts(self.ctx)

    @app.task(echo=True)
    async def ashow(self: AsyncTask) -> list[Any]:
        return facts(self.ctx)

    with app.worker():
        for task in (show, ashow):
            job = task.using(owner="user:7").enqueue()
            assert job.result(5) == [task.name, 1, False, True, "user:7", [7, 8]]
            assert job.progress is not None
            assert job.progress.percent == 100.0


class TestSleepAndCancellation:
    def test_a_sleep_on_a_thread_ends_when_the_job_is_cancelled(self, app: QueueTasks) -> None:
        woken: list[bool] = []
        over = threading.Event()

        @app.task(echo=True)
        def sleeper(self: SyncTask) -> None:
            woken.append(self.ctx.sleep(60))
            woken.append(self.ctx.cancelled)
            over.set()

        with app.worker():
            job = sleeper.enqueue()
            wait_until(lambda: job.is_running, "the job runs")
            job.cancel()

            with pytest.raises(JobCancelled):
                job.result(5)

            assert over.wait(5)

        assert woken == [False, True]

    def test_a_sleep_in_a_coroutine_is_cancelled(self, app: QueueTasks) -> None:
        woken: list[str] = []

        @app.task(echo=True)
        async def sleeper(self: AsyncTask) -> None:
            try:
                await self.ctx.sleep(60)
            except asyncio.CancelledError:
                woken.append("cancelled")
                raise

        with app.worker():
            job = sleeper.enqueue()
            wait_until(lambda: job.is_running, "the job runs")
            job.cancel()

            with pytest.raises(JobCancelled):
                job.result(5)

        assert woken == ["cancelled"]


def test_a_plain_call_of_an_echo_task_is_given_its_self_by_the_caller(app: QueueTasks) -> None:
    @app.task(echo=True)
    def show(self: Any, number: int) -> list[Any]:
        return [self, number]

    assert show("a fake", 7) == ["a fake", 7]
