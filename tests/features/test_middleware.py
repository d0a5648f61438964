"""Middleware before and after a task, around every job, and around every enqueue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from cherga import Call, JobCancelled, JobFailed, JobState, Outgoing, QueueTasks, TaskExecutor, ctx
from cherga.testing import wait_until
from cherga.words.push import NewJob

Handler = Callable[[Call], Awaitable[Any]]
Sending = Callable[[Outgoing], NewJob]

tenant: ContextVar[str] = ContextVar("tenant", default="none")


class Double:
    """Changes the arguments in place."""

    def __call__(self, call: Call) -> None:
        call.args = (2 * call.args[0], *call.args[1:])


class AsyncDouble:
    async def __call__(self, call: Call) -> Any:
        await asyncio.sleep(0)
        return (2 * call.args[0], *call.args[1:]), call.kwargs


class KnowsExecutor:
    """Made with the executor."""

    def __init__(self, executor: TaskExecutor) -> None:
        self.executor = executor

    def __call__(self, call: Call) -> Call:
        call.kwargs["y"] = self.executor.task.name
        return call


class Multiply:
    """An instance, rather than a class; and a class with a default."""

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def __call__(self, call: Call) -> Any:
        return None if call.result is None else call.result * self.factor


def plus_one(call: Call) -> Any:
    return call.result + 1


async def aplus_one(call: Call) -> Any:
    await asyncio.sleep(0)
    return call.result + 1


def declare(app: QueueTasks, is_async: bool, **options: Any) -> Any:
    if is_async:

        @app.task(name="task", **options)
        async def atask(x: int, y: Any = None) -> Any:
            await asyncio.sleep(0)
            return [x, y] if y is not None else x

        return atask

    @app.task(**options)
    def task(x: int, y: Any = None) -> Any:
        return [x, y] if y is not None else x

    return task


@pytest.mark.parametrize("is_async", [False, True])
class TestBeforeAndAfter:
    @pytest.mark.parametrize(
        ("before", "after", "result"),
        [
            ([], [], 5),
            ([Double], [], 10),
            ([Double, AsyncDouble, lambda call: None], [], 20),
            ([KnowsExecutor], [], [5, "task"]),
            ([], [plus_one, Multiply], 12),
            ([], [Multiply(10), aplus_one, lambda call: None], 51),
            ([Double()], [Multiply, plus_one], 21),
        ],
    )
    def test_they_change_arguments_and_result(
        self, app: QueueTasks, is_async: bool, before: list[Any], after: list[Any], result: Any
    ) -> None:
        task = declare(app, is_async, middlewares_before=before, middlewares_after=after)

        with app.worker():
            assert task.enqueue(5).result(5) == result

        assert task.features.before == tuple(before)

    def test_a_class_is_made_anew_for_each_job(self, app: QueueTasks, is_async: bool) -> None:
        made: list[int] = []

        class Counting:
            def __init__(self) -> None:
                made.append(1)

            def __call__(self, call: Call) -> None: ...

        task = declare(app, is_async, middlewares_before=[Counting])

        with app.worker():
            for job in task.enqueue_many([(1,), (2,), (3,)]):
                job.result(5)

        assert len(made) == 3

    @pytest.mark.parametrize("when", ["middlewares_before", "middlewares_after"])
    def test_either_may_fail_the_job(self, app: QueueTasks, is_async: bool, when: str) -> None:
        async def refuse(call: Call) -> None:
            raise PermissionError(f"not for {call.task_name}")

        task = declare(app, is_async, **{when: [refuse]})

        with app.worker(), pytest.raises(JobFailed, match="PermissionError: not for task"):
            task.enqueue(5).result(5)

    def test_either_may_cancel_it(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, middlewares_before=[lambda call: call.ctx.cancel("not today")], retry=3)

        with app.worker():
            job = task.enqueue(5)

            with pytest.raises(JobCancelled, match="not today"):
                job.result(5)

        assert job.attempt == 1

    def test_what_makes_no_sense_as_arguments_is_said(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, middlewares_before=[lambda call: 7])

        with app.worker(), pytest.raises(JobFailed, match=r"expected a middleware before task task to return None, a Call or"):
            task.enqueue(5).result(5)


@pytest.mark.parametrize("is_async", [False, True])
class TestAroundEveryJob:
    def test_the_first_one_added_is_outermost(self, app: QueueTasks, is_async: bool) -> None:
        order: list[str] = []

        def named(name: str) -> Callable[[Handler], Handler]:
            def wrap(following: Handler) -> Handler:
                async def handle(call: Call) -> Any:
                    order.append(f"{name} in")
                    result = await following(call)
                    order.append(f"{name} out")
                    return [name, result]

                return handle

            return wrap

        app.middleware(named("outer"))
        app.middleware(named("inner"))
        task = declare(app, is_async, middlewares_before=[lambda call: order.append("before")], middlewares_after=[plus_one])

        with app.worker():
            assert task.enqueue(5).result(5) == ["outer", ["inner", 6]]

        assert order == ["outer in", "inner in", "before", "inner out", "outer out"]

    def test_plain_tasks_are_wrapped_too_and_injected_ones_keep_their_context(self, app: QueueTasks, is_async: bool) -> None:
        seen: list[Any] = []

        @app.middleware
        def look(following: Handler) -> Handler:
            def handle(call: Call) -> Any:
                seen.append((call.task_name, call.args, call.kwargs, call.ctx.job_id == ctx.job_id))
                return following(call)

            return handle

        task = declare(app, is_async)

        with app.worker():
            assert task.enqueue(5).result(5) == 5

        assert seen == [("task", (5, None), {}, True)]

    def test_it_may_answer_itself_catch_errors_and_set_context_variables(self, app: QueueTasks, is_async: bool) -> None:
        @app.middleware
        def guard(following: Handler) -> Handler:
            async def handle(call: Call) -> Any:
                tenant.set("acme")

                if call.args[0] == 0:
                    return "not even called"

                try:
                    return await following(call)
                except TypeError:
                    return f"saved for {tenant.get()}"

            return handle

        task = declare(
            app, is_async, middlewares_after=[lambda call: call.result + 0 if call.args[0] > 1 else "x" + call.result]
        )

        with app.worker():
            assert [task.enqueue(number).result(5) for number in (0, 1, 2)] == ["not even called", "saved for acme", 2]

        assert tenant.get() == "none"

    def test_it_may_await_through_the_call(self, app: QueueTasks, is_async: bool) -> None:
        @app.middleware
        def slow(following: Handler) -> Handler:
            async def handle(call: Call) -> Any:
                before = await call.settle(asyncio.sleep(0.001, "before"))
                return [before, await following(call), threading.current_thread().name.startswith("cherga-loop")]

            return handle

        task = declare(app, is_async)

        with app.worker():
            assert task.enqueue(5).result(5) == ["before", 5, is_async]

    def test_a_failing_one_fails_the_job_and_is_judged_by_the_retry_policy(self, app: QueueTasks, is_async: bool) -> None:
        @app.middleware
        def fail(following: Handler) -> Handler:
            async def handle(call: Call) -> Any:
                await following(call)
                raise ConnectionError("the audit log is away")

            return handle

        task = declare(app, is_async, retry=1, retry_on_exc=[ConnectionError])

        with app.worker():
            job = task.enqueue(5)
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the job will run again")

        assert job.error is not None
        assert job.error.message == "the audit log is away"


def test_a_def_task_whose_middleware_awaits_on_its_own_is_told_what_to_do(app: QueueTasks) -> None:
    @app.middleware
    def wrong(following: Handler) -> Handler:
        async def handle(call: Call) -> Any:
            await asyncio.sleep(0)
            return await following(call)

        return handle

    task = declare(app, is_async=False)

    with app.worker(), pytest.raises(JobFailed, match=r"await anything else through call.settle"):
        task.enqueue(5).result(5)


def test_a_middleware_that_forgets_to_return_a_handler_is_named(app: QueueTasks) -> None:
    @app.middleware
    def forgetful(following: Handler) -> Any:
        return None

    task = declare(app, is_async=False)

    with app.worker(), pytest.raises(JobFailed, match=r"expected the middleware .*forgetful.* to return a function"):
        task.enqueue(5).result(5)


class TestAroundEnqueue:
    @pytest.fixture
    def of_acme(self) -> Iterator[None]:
        token = tenant.set("acme")
        yield
        tenant.reset(token)

    @pytest.fixture
    def task(self, app: QueueTasks) -> Any:
        def adding(text: str) -> Callable[[Sending], Sending]:
            def wrap(following: Sending) -> Sending:
                def handle(outgoing: Outgoing) -> NewJob:
                    outgoing.headers["trace"] = outgoing.headers.get("trace", "") + text
                    outgoing.headers["tenant"] = tenant.get()
                    return following(outgoing)

                return handle

            return wrap

        app.around_enqueue(adding("a"))
        app.around_enqueue(adding("b"))

        @app.task
        def task(number: int) -> dict[str, str]:
            return ctx.head.headers

        return task

    @pytest.mark.usefixtures("of_acme")
    def test_headers_reach_the_job(self, app: QueueTasks, task: Any) -> None:
        with app.worker():
            assert task.enqueue(1).result(5) == {"trace": "ab", "tenant": "acme"}
            assert task.using(headers={"mine": "1"}).enqueue(1).result(5) == {"mine": "1", "trace": "ab", "tenant": "acme"}
            assert app.add_task("task", 1).result(5)["trace"] == "ab"
            assert [job.result(5)["trace"] for job in task.enqueue_many([(1,), (2,)])] == ["ab", "ab"]

            async def enqueue() -> Any:
                return await (await task.aenqueue(1)).aresult(5)

            assert asyncio.run(enqueue())["tenant"] == "acme"

    def test_it_may_refuse(self, app: QueueTasks, task: Any) -> None:
        @app.around_enqueue
        def refuse(following: Sending) -> Sending:
            def handle(outgoing: Outgoing) -> NewJob:
                raise PermissionError(f"{outgoing.task_name} in {outgoing.queue} for {outgoing.owner}")

            return handle

        with pytest.raises(PermissionError, match="task in default for user:7"):
            task.using(owner="user:7").enqueue(1)

        assert app.jobs() == []

    def test_one_that_returns_nothing_is_told_so(self, app: QueueTasks, task: Any) -> None:
        @app.around_enqueue
        def forgetful(following: Sending) -> Any:
            return lambda outgoing: None

        with pytest.raises(TypeError, match="expected middleware around enqueue to return what comes next"):
            task.enqueue(1)


def put_nine(call: Call) -> None:
    call.kwargs["number"] = 9


def test_what_is_put_in_by_name_takes_the_place_of_a_positional_argument(app: QueueTasks) -> None:
    @app.task(middlewares_before=[put_nine])
    def positional(number: int, /) -> int:
        return number

    @app.task(middlewares_before=[put_nine])
    def with_options(number: int, /, **options: int) -> list[Any]:
        return [number, options]

    with app.worker():
        assert positional.enqueue(1).result(5) == 9
        assert with_options.enqueue(1).result(5) == [1, {"number": 9}]
