"""``executor=``: a class that replaces how a task runs, whole or in part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cherga import Call, JobCancelled, JobFailed, JobState, QueueTasks, RetryLater, TaskExecutor, ctx
from cherga.testing import wait_until


class Nothing:
    """The seed's: it replaces no step."""


class Shouting:
    """A plain class with two steps, one of each kind, and a state of its own."""

    def __init__(self) -> None:
        self.mark = "!"

    def before(self, call: Call) -> None:
        call.args = (call.args[0] * 10,)

    async def decode(self, call: Call) -> None:
        call.result = f"{call.result}{self.mark}"


class Timed(TaskExecutor):
    """A subclass whose steps use the usual ones."""

    async def call(self, call: Call) -> Any:
        return ["called", await super().call(call), await self.settle(asyncio.sleep(0, "slept"))]

    def decode(self, call: Call) -> Any:
        call.result = [*call.result, self.task.name, self.ctx.attempt]


class Saving:
    def on_error(self, call: Call, error: Exception) -> Any:
        return f"saved from {type(error).__name__} in {call.task_name}"


class AsyncSaving(TaskExecutor):
    async def on_error(self, call: Call, error: Exception) -> Any:
        return await self.settle(asyncio.sleep(0, f"saved from {type(error).__name__} in {call.task_name}"))


class Judge:
    def should_retry(self, error: BaseException) -> bool:
        return "again" in str(error)


class AsyncJudge(TaskExecutor):
    async def should_retry(self, error: BaseException) -> bool:
        return "again" in str(error)


class BrokenJudge:
    def should_retry(self, error: BaseException) -> bool:
        raise LookupError("the judge is away")


class Whole(TaskExecutor):
    """Replaces everything."""

    async def execute(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return [self.task.name, args]


def declare(app: QueueTasks, is_async: bool, executor: type[Any], **options: Any) -> Any:
    if is_async:

        @app.task(name="task", executor=executor, **options)
        async def atask(value: Any) -> Any:
            await asyncio.sleep(0)
            return _body(value)

        return atask

    @app.task(executor=executor, **options)
    def task(value: Any) -> Any:
        return _body(value)

    return task


def _body(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(value)

    return value


@pytest.mark.parametrize("is_async", [False, True])
class TestSteps:
    @pytest.mark.parametrize(
        ("executor", "result"),
        [
            (Nothing, 7),
            (TaskExecutor, 7),
            (Shouting, "70!"),
            (Timed, ["called", 7, "slept", "task", 1]),
            (Whole, ["task", (7,)]),
        ],
    )
    def test_a_class_replaces_the_steps_that_it_has(
        self, app: QueueTasks, is_async: bool, executor: type[Any], result: Any
    ) -> None:
        task = declare(app, is_async, executor)

        with app.worker():
            assert task.enqueue(7).result(5) == result
            assert task.enqueue(7).result(5) == result

    @pytest.mark.parametrize("executor", [Saving, AsyncSaving])
    def test_on_error_turns_a_failure_into_a_result(self, app: QueueTasks, is_async: bool, executor: type[Any]) -> None:
        task = declare(app, is_async, executor, retry=3)

        with app.worker():
            job = task.enqueue("no")
            assert job.result(5) == "saved from ValueError in task"

        assert (job.status, job.attempt) == (JobState.SUCCEEDED, 1)

    def test_on_error_is_not_asked_about_wishes(self, app: QueueTasks, is_async: bool) -> None:
        def wish(call: Call) -> None:
            raise RetryLater(60) if call.args[0] == 1 else ctx.cancel("no more")

        task = declare(app, is_async, Saving, middlewares_before=[wish], retry=1)

        with app.worker():
            later = task.enqueue(1)

            with pytest.raises(JobCancelled, match="no more"):
                task.enqueue(2).result(5)

            wait_until(lambda: later.refresh().status is JobState.SCHEDULED, "the job will run again")

    @pytest.mark.parametrize("executor", [Judge, AsyncJudge])
    def test_should_retry_decides_whether_there_is_another_attempt(
        self, app: QueueTasks, is_async: bool, executor: type[Any]
    ) -> None:
        task = declare(app, is_async, executor, retry=5)

        with app.worker():
            again, never = task.enqueue("try again"), task.enqueue("never")

            with pytest.raises(JobFailed, match="never"):
                never.result(5)

            wait_until(lambda: again.refresh().status is JobState.SCHEDULED, "the job will run again")

        assert never.attempt == 1

    def test_a_judge_that_raises_fails_the_job_and_leaves_the_worker_alone(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, BrokenJudge)

        with app.worker(threads=1, concurrency=1):
            job = task.enqueue("no")

            with pytest.raises(JobFailed, match="the judge is away") as caught:
                job.result(5)

            assert task.enqueue(7).result(5) == 7

        assert "ValueError: no" in caught.value.traceback

    def test_one_that_cannot_be_made_fails_the_job(self, app: QueueTasks, is_async: bool) -> None:
        class Unmade(TaskExecutor):
            def __init__(self, *parts: Any) -> None:
                raise OSError("no scissors")

        task = declare(app, is_async, Unmade)

        with app.worker(), pytest.raises(JobFailed, match="no scissors"):
            task.enqueue(1).result(5)


def test_an_executor_works_with_generators_and_dependencies(app: QueueTasks) -> None:
    class Counting(TaskExecutor):
        async def exhaust(self, generator: Any) -> Any:
            return len(await super().exhaust(generator))

    @app.task(executor=Counting, echo=True)
    def numbers(self: Any, count: int) -> Any:
        yield from range(count)

    with app.worker():
        assert numbers.enqueue(5).result(5) == 5


class TakesTwo:
    """Leaves the rest of the values, and the generator open."""

    def exhaust(self, generator: Any) -> list[int]:
        return [next(generator), next(generator)]


class AsyncTakesTwo:
    async def exhaust(self, generator: Any) -> list[int]:
        return [await anext(generator), await anext(generator)]


def test_a_step_that_leaves_a_generator_open_has_it_closed_for_it(app: QueueTasks) -> None:
    closed: list[str] = []

    @app.task(executor=TakesTwo)
    def numbers() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append("numbers")

    @app.task(executor=AsyncTakesTwo, middlewares_after=[lambda call: call.result.append(len(closed))])
    async def anumbers() -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield number
        finally:
            closed.append("anumbers")

    with app.worker():
        assert numbers.enqueue().result(5) == [0, 1]
        assert anumbers.enqueue().result(5) == [0, 1, 2]
