"""Generator tasks: values are handled, sent back, collected, streamed and stopped between two of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from cherga import Depends, Job, JobCancelled, JobFailed, JobState, QueueTasks, ctx
from cherga.testing import wait_until
from cherga.words.report import EVENTS_KEPT

begun: list[str] = []
closed: list[str] = []


@pytest.fixture(autouse=True)
def nothing_closed() -> None:
    begun.clear()
    closed.clear()


def handler(value: Any) -> Any:
    return f"<{value}>"


async def ahandler(value: Any) -> Any:
    await asyncio.sleep(0)
    return f"<{value}>"


@pytest.mark.parametrize("handle", [handler, ahandler])
class TestHandlers:
    def test_what_the_handler_returns_is_sent_back_and_a_return_gives_the_result(
        self, app: QueueTasks, handle: Callable[[Any], Any]
    ) -> None:
        @app.task(generate_handler=handle)
        def mytask() -> Generator[str, str, str]:
            step = yield "INIT"
            return step

        with app.worker():
            assert mytask.enqueue().result(5) == "<INIT>"

    def test_else_the_result_is_the_list_of_handled_values(self, app: QueueTasks, handle: Callable[[Any], Any]) -> None:
        @app.task(generate_handler=handle)
        def numbers(count: int) -> Iterator[int]:
            yield from range(count)

        @app.task(generate_handler=handle)
        async def anumbers(count: int) -> AsyncIterator[int]:
            for number in range(count):
                await asyncio.sleep(0)
                yield number

        with app.worker():
            for task in (numbers, anumbers):
                assert task.enqueue(3).result(5) == ["<0>", "<1>", "<2>"]
                assert task.enqueue(0).result(5) == []

    def test_an_async_generator_is_sent_the_answers_too(self, app: QueueTasks, handle: Callable[[Any], Any]) -> None:
        heard: list[Any] = []

        @app.task(generate_handler=handle)
        async def talk() -> Any:
            heard.append((yield 1))
            heard.append((yield 2))

        with app.worker():
            talk.enqueue().result(5)

        assert heard == ["<1>", "<2>"]

    def test_an_error_of_the_handler_fails_the_job_and_closes_the_generator(
        self, app: QueueTasks, handle: Callable[[Any], Any]
    ) -> None:
        async def acheck(value: int) -> int:
            await asyncio.sleep(0)
            return check(value)

        def check(value: int) -> int:
            if value == 2:
                raise ValueError("two is wrong")

            return value

        check_values = check if handle is handler else acheck

        @app.task(generate_handler=check_values)
        def numbers() -> Iterator[int]:
            try:
                yield from range(5)
            finally:
                closed.append("numbers")

        @app.task(generate_handler=check_values)
        async def anumbers() -> AsyncIterator[int]:
            try:
                for number in range(5):
                    yield number
            finally:
                await asyncio.sleep(0)
                closed.append("anumbers")

        with app.worker():
            for task in (numbers, anumbers):
                job = task.enqueue()

                with pytest.raises(JobFailed, match="two is wrong"):
                    job.result(5)

                assert list(job.stream()) == [0, 1]

        assert closed == ["numbers", "anumbers"]


class TestWithoutAHandler:
    def test_nothing_is_sent_back_and_the_values_are_the_result(self, app: QueueTasks) -> None:
        heard: list[Any] = []

        @app.task
        def numbers() -> Generator[int, Any, None]:
            heard.append((yield 1))
            heard.append((yield 2))

        with app.worker():
            assert numbers.enqueue().result(5) == [1, 2]

        assert heard == [None, None]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_an_error_in_the_middle_keeps_what_was_streamed_and_a_retry_begins_anew(
        self, app: QueueTasks, is_async: bool
    ) -> None:
        if is_async:

            @app.task(name="numbers", retry=1)
            async def anumbers() -> AsyncIterator[int]:
                yield 1
                yield 2

                if ctx.attempt == 1:
                    raise ValueError("in the middle")
        else:

            @app.task(retry=1)
            def numbers() -> Iterator[int]:
                yield 1
                yield 2

                if ctx.attempt == 1:
                    raise ValueError("in the middle")

        with app.worker():
            job = app.tasks["numbers"].enqueue()
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
            job.retry()
            assert job.result(5) == [1, 2]

        assert list(job.stream()) == [1, 2, 1, 2]

    def test_generators_use_echo_dependencies_and_decode(self, app: QueueTasks) -> None:
        def session() -> Iterator[str]:
            yield "session"
            closed.append("session")

        @app.task(echo=True, decode=len)
        def values(self: Any, count: int, session: str = Depends(session)) -> Iterator[str]:
            try:
                for number in range(count):
                    yield f"{self.task_name} {session} {number}"
            finally:
                closed.append("values")

        with app.worker():
            job = values.enqueue(2)
            assert job.result(5) == 2

        assert list(job.stream()) == ["values session 0", "values session 1"]
        assert closed == ["values", "session"]

    def test_what_cannot_be_stored_fails_where_it_was_yielded(self, app: QueueTasks) -> None:
        @app.task
        def values() -> Iterator[object]:
            yield 1
            yield object()

        with app.worker(), pytest.raises(JobFailed, match="a object cannot be stored in a job"):
            values.enqueue().result(5)


class TestBeingStopped:
    @pytest.fixture(params=["def", "async def"])
    def endless(self, app: QueueTasks, request: pytest.FixtureRequest) -> Callable[..., Any]:
        def declare(**options: Any) -> Any:
            if request.param == "def":

                @app.task(name="endless", **options)
                def endless() -> Iterator[int]:
                    begun.append("endless")

                    try:
                        while True:
                            threading.Event().wait(0.001)
                            yield 1
                    finally:
                        closed.append("endless")

                return endless

            @app.task(name="endless", **options)
            async def aendless() -> AsyncIterator[int]:
                begun.append("endless")

                try:
                    while True:
                        await asyncio.sleep(0.001)
                        yield 1
                finally:
                    await asyncio.sleep(0)
                    closed.append("endless")

            return aendless

        return declare

    def test_cancellation_stops_it_between_two_values(self, app: QueueTasks, endless: Callable[..., Any]) -> None:
        task = endless()

        with app.worker():
            job = task.enqueue()
            wait_until(lambda: job.is_running, "the job runs")
            job.cancel("enough")

            with pytest.raises(JobCancelled):
                job.result(5)

        assert closed == ["endless"]

    def test_so_does_max_time_and_the_record_says_so(self, app: QueueTasks, endless: Callable[..., Any]) -> None:
        task = endless(max_time=0.05)

        with app.worker():
            job = task.enqueue()

            with pytest.raises(JobFailed, match=r"max_time of 0\.05 seconds") as caught:
                job.result(5)

        assert caught.value.reason == "timeout"
        assert [attempt.reason for attempt in job.attempts] == ["timeout"]
        assert closed == ["endless"]

    def test_so_does_a_drain_and_counts_as_an_interruption(self, app: QueueTasks, endless: Callable[..., Any]) -> None:
        app.configure(app.name, app.broker_url, **{**app.given_settings, "grace": 0.1})
        task = endless()

        with app.worker():
            job = task.enqueue()
            wait_until(lambda: begun, "the job has begun")

        assert (job.refresh().status, job.attempt, job.interruptions) == (JobState.READY, 0, 1)
        assert closed == ["endless"]

    def test_work_that_must_not_run_twice_does_not(self, app: QueueTasks, endless: Callable[..., Any]) -> None:
        app.configure(app.name, app.broker_url, **{**app.given_settings, "grace": 0.1})
        task = endless(on_crash="fail")

        with app.worker():
            job = task.enqueue()
            wait_until(lambda: begun, "the job has begun")

        assert (job.refresh().status, job.reason) == (JobState.FAILED, "interrupted")

    def test_a_generator_may_cancel_its_own_job(self, app: QueueTasks) -> None:
        @app.task(retry=3)
        def values() -> Iterator[int]:
            yield 1
            ctx.cancel("that was all")

        with app.worker():
            job = values.enqueue()

            with pytest.raises(JobCancelled, match="that was all"):
                job.result(5)

        assert job.attempt == 1


class TestStreams:
    @pytest.fixture
    def steps(self, app: QueueTasks) -> Any:
        self.go_on = threading.Semaphore(0)

        @app.task
        def steps(count: int) -> Iterator[dict[str, int]]:
            for number in range(count):
                self.go_on.acquire(timeout=10)
                yield {"step": number}

        return steps

    def test_values_are_followed_while_the_job_runs(self, app: QueueTasks, steps: Any) -> None:
        with app.worker():
            job: Job[Any] = steps.enqueue(3)
            seen = []

            self.go_on.release()

            for value in job.stream():
                assert job.is_running or value["step"] == 2
                seen.append(value["step"])
                self.go_on.release()

        assert seen == [0, 1, 2]

    def test_and_by_coroutines(self, app: QueueTasks, steps: Any) -> None:
        async def follow(job: Job[Any]) -> list[int]:
            seen = []
            self.go_on.release()

            async for value in job.stream():
                seen.append(value["step"])
                self.go_on.release()

            return seen

        with app.worker():
            assert asyncio.run(asyncio.wait_for(follow(steps.enqueue(3)), 10)) == [0, 1, 2]

    def test_a_stream_goes_on_where_an_earlier_one_was_left(self, app: QueueTasks, steps: Any) -> None:
        with app.worker():
            job = steps.enqueue(5)
            self.go_on.release(5)
            job.result(5)

        stream = job.stream()
        first = [value["step"] for _, value in zip(range(2), stream, strict=False)]

        assert first == [0, 1]
        assert [value["step"] for value in job.stream(after=stream.position)] == [2, 3, 4]

    def test_a_coroutine_that_breaks_off_can_go_on_too(self, app: QueueTasks, steps: Any) -> None:
        with app.worker():
            job = steps.enqueue(4)
            self.go_on.release(4)
            job.result(5)

        async def follow() -> list[int]:
            stream = job.stream()

            async for value in stream:
                if value["step"] == 1:
                    break

            return [value["step"] async for value in job.stream(after=stream.position)]

        assert asyncio.run(follow()) == [2, 3]

    def test_the_last_thousand_values_are_kept(self, app: QueueTasks) -> None:
        @app.task
        def many(count: int) -> Iterator[int]:
            yield from range(count)

        with app.worker():
            job = many.enqueue(EVENTS_KEPT + 500)
            assert len(job.result(5)) == EVENTS_KEPT + 500

        assert list(job.stream()) == list(range(500, EVENTS_KEPT + 500))

    def test_a_watch_shows_the_values_to_the_browser(self, app: QueueTasks, steps: Any) -> None:
        with app.worker():
            job = steps.enqueue(3)
            self.go_on.release(3)
            shown = [value for update in app.watch(job.id) for value in update.public()["values"]]

        assert shown == [{"step": 0}, {"step": 1}, {"step": 2}]

    def test_any_task_may_emit_values(self, app: QueueTasks) -> None:
        @app.task
        def plain() -> str:
            ctx.emit("one")
            ctx.emit({"two": 2})
            return "done"

        with app.worker():
            job = plain.enqueue()
            assert job.result(5) == "done"

        assert list(job.stream()) == ["one", {"two": 2}]


def test_an_async_generator_that_awaits_nothing_can_be_stopped_and_lets_other_jobs_run(app: QueueTasks) -> None:
    @app.task(max_time=30)
    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append("endless")

    @app.task
    async def neighbour() -> str:
        return "ran"

    with app.worker():
        job = endless.enqueue()
        wait_until(lambda: job.refresh().status is JobState.RUNNING, "the generator runs")
        assert neighbour.enqueue().result(5) == "ran"
        job.cancel("enough")

        with pytest.raises(JobCancelled, match="enough"):
            job.result(5)

    assert closed == ["endless"]
