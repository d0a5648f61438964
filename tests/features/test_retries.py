"""Retries, wishes, limits and decoding, in ``def`` and ``async def`` tasks alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from cherga import JobCancelled, JobFailed, JobState, QueueTasks, Retry, RetryLater, Snooze, TaskCancelError, ctx
from cherga.testing import wait_until


class Away(ConnectionError):
    """A subclass of what is worth another attempt."""


def declare(app: QueueTasks, is_async: bool, body: Callable[[int], Any], **options: Any) -> Any:
    """A task whose body is given the number of its attempt."""
    if is_async:

        @app.task(name="task", **options)
        async def atask() -> Any:
            await asyncio.sleep(0)
            return body(ctx.attempt)

        return atask

    @app.task(**options)
    def task() -> Any:
        return body(ctx.attempt)

    return task


def failing(error: BaseException, times: int) -> Callable[[int], int]:
    def body(attempt: int) -> int:
        if attempt <= times:
            raise error

        return attempt

    return body


@pytest.mark.parametrize("is_async", [False, True])
class TestRetries:
    def test_retry_is_the_number_of_further_attempts_under_one_id(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, failing(ZeroDivisionError("1 / 0"), 9), retry=Retry(max=5, backoff=0))

        with app.worker(name="anna"):
            job = task.enqueue()

            with pytest.raises(JobFailed, match="1 / 0"):
                job.result(5)

        assert job.attempt == 6
        assert app.jobs() == [job]
        assert [attempt.number for attempt in job.attempts] == [1, 2, 3, 4, 5, 6]
        assert {attempt.worker for attempt in job.attempts} == {"anna"}
        assert {attempt.error.message for attempt in job.attempts if attempt.error} == {"1 / 0"}
        assert all(attempt.started_at <= attempt.finished_at for attempt in job.attempts)

    def test_the_last_ten_attempts_are_kept(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, failing(ValueError("no"), 12), retry=Retry(max=12, backoff=0))

        with app.worker():
            job = task.enqueue()
            assert job.result(5) == 13

        numbers = [attempt.number for attempt in job.attempts]
        assert numbers[-1] == 13
        assert numbers[:-1] == list(range(3, 13))

    @pytest.mark.parametrize(
        ("error", "attempts"), [(ConnectionError(), 3), (Away(), 3), (ValueError(), 1), (OSError(), 1), (SystemExit(), 1)]
    )
    def test_retry_on_exc_counts_subclasses_and_nothing_else(
        self, app: QueueTasks, is_async: bool, error: BaseException, attempts: int
    ) -> None:
        task = declare(
            app, is_async, failing(error, 9), retry=Retry(max=2, backoff=0), retry_on_exc=[ConnectionError, TimeoutError]
        )

        with app.worker():
            job = task.enqueue()

            with pytest.raises(JobFailed):
                job.result(5)

        assert job.attempt == attempts

    @pytest.mark.parametrize(("error", "attempts"), [(ConnectionError(), 3), (Away(), 1)])
    def test_give_up_on_is_stronger(self, app: QueueTasks, is_async: bool, error: BaseException, attempts: int) -> None:
        task = declare(
            app, is_async, failing(error, 9), retry=Retry(max=2, backoff=0, on=(ConnectionError,), give_up_on=(Away,))
        )

        with app.worker():
            job = task.enqueue()

            with pytest.raises(JobFailed):
                job.result(5)

        assert job.attempt == attempts

    def test_without_retry_there_is_one_attempt(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, failing(ValueError("no"), 1))

        with app.worker(), pytest.raises(JobFailed):
            task.enqueue().result(5)


@pytest.mark.parametrize("is_async", [False, True])
class TestWishes:
    def test_retry_later_waits_as_long_as_it_says_and_uses_an_attempt(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, failing(RetryLater(60), 1), retry=1)

        with app.worker():
            job = task.enqueue()
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the job will run again")
            assert job.run_at is not None
            assert job.attempts[-1].finished_at + 50 < job.run_at.timestamp() < job.attempts[-1].finished_at + 70
            assert job.attempt == 1

    def test_retry_later_fails_when_no_attempt_is_left(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, failing(RetryLater(60, "come back"), 1))

        words = r"come back \(RetryLater needs attempts that are left, as in @app\.task\(retry=5\)\)"

        with app.worker(), pytest.raises(JobFailed, match=words):
            task.enqueue().result(5)

    def test_a_snooze_is_no_failure_and_uses_none(self, app: QueueTasks, is_async: bool) -> None:
        ran: list[int] = []

        def body(attempt: int) -> list[int]:
            ran.append(attempt)

            if len(ran) < 4:
                raise Snooze(0)

            return ran

        task = declare(app, is_async, body)

        with app.worker():
            job = task.enqueue()
            assert job.result(5) == [1, 1, 1, 1]

        assert [attempt.number for attempt in job.attempts] == [1]

    @pytest.mark.parametrize("where", ["function", "before", "after", "dependency", "decode"])
    def test_cancel_error_is_the_state_cancelled_wherever_it_is_raised(
        self, app: QueueTasks, is_async: bool, where: str
    ) -> None:
        def refuse(*anything: Any) -> None:
            raise TaskCancelError("not wanted any more")

        options: dict[str, dict[str, Any]] = {
            "before": {"middlewares_before": [lambda call: refuse()]},
            "after": {"middlewares_after": [lambda call: refuse()]},
            "decode": {"decode": lambda value: refuse()},
        }
        body = refuse if where == "function" else lambda attempt: attempt

        if where == "dependency":
            body = lambda attempt: ctx.cancel("not wanted any more")

        task = declare(app, is_async, body, retry=5, **options.get(where, {}))

        with app.worker():
            job = task.enqueue()

            with pytest.raises(JobCancelled, match="not wanted any more"):
                job.result(5)

        assert (job.status, job.attempt, job.reason) == (JobState.CANCELLED, 1, "cancelled")


@pytest.mark.parametrize("is_async", [False, True])
class TestMaxTime:
    def test_the_record_says_how_the_job_was_ended(self, app: QueueTasks, is_async: bool) -> None:
        over = threading.Event()

        if is_async:

            @app.task(name="slow", max_time=0.05)
            async def aslow() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    over.set()
        else:

            @app.task(max_time=0.05)
            def slow() -> None:
                ctx.sleep(60)
                over.set()

        with app.worker():
            job = app.tasks["slow"].enqueue()

            with pytest.raises(JobFailed, match=r"max_time of 0\.05 seconds") as caught:
                job.result(5)

            assert over.wait(5)

        assert caught.value.reason == "timeout"
        assert (job.reason, [attempt.reason for attempt in job.attempts]) == ("timeout", ["timeout"])

    def test_a_time_out_is_tried_again_like_any_failure(self, app: QueueTasks, is_async: bool) -> None:
        def options() -> dict[str, Any]:  # where the machine is busy, a quick attempt may be late as well
            return {"max_time": 0.05, "retry": Retry(max=50, backoff=0)}

        if is_async:

            @app.task(name="slow", **options())
            async def aslow() -> int:
                await asyncio.sleep(60 if ctx.attempt == 1 else 0)
                return ctx.attempt
        else:

            @app.task(**options())
            def slow() -> int:
                ctx.sleep(60 if ctx.attempt == 1 else 0)
                return ctx.attempt

        with app.worker():
            job = app.tasks["slow"].enqueue()
            last = job.result(5)

        assert last >= 2
        assert [attempt.reason for attempt in job.attempts] == ["timeout"] * (last - 1) + [None]


@dataclass
class Point:
    x: int
    y: int


def as_text(value: Point) -> str:
    return f"{value.x},{value.y}"


async def as_moment(value: Point) -> datetime:
    await asyncio.sleep(0)
    return datetime(2030, value.x, value.y, tzinfo=UTC)


def from_a_date(value: datetime) -> str:
    return value.isoformat()


@pytest.mark.parametrize("is_async", [False, True])
class TestDecode:
    @pytest.mark.parametrize(("decode", "result"), [(as_text, "1,2"), (as_moment, datetime(2030, 1, 2, tzinfo=UTC))])
    def test_it_turns_the_result_into_what_is_stored_and_its_type_counts(
        self, app: QueueTasks, is_async: bool, decode: Any, result: Any
    ) -> None:
        if is_async:

            @app.task(name="point", decode=decode)
            async def apoint() -> Point:
                return Point(1, 2)
        else:

            @app.task(decode=decode)
            def point() -> Point:
                return Point(1, 2)

        with app.worker():
            assert app.tasks["point"].enqueue().result(5) == result

    def test_what_it_makes_is_not_turned_back_into_the_functions_own_type(self, app: QueueTasks, is_async: bool) -> None:
        def moment() -> datetime:
            return datetime(2030, 1, 2, tzinfo=UTC)

        task = app.task(decode=from_a_date)(moment)

        with app.worker():
            assert task.enqueue().result(5) == "2030-01-02T00:00:00+00:00"

    def test_one_that_fails_fails_the_job(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, lambda attempt: attempt, decode=lambda value: value["no"])

        with app.worker(), pytest.raises(JobFailed, match="TypeError"):
            task.enqueue().result(5)
