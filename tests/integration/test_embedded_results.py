"""What a task returns or raises, as the sender sees it: embedded worker, real threads, both brokers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cherga import (
    Backoff,
    JobCancelled,
    JobFailed,
    JobState,
    QueueTasks,
    Reason,
    Retry,
    RetryLater,
    Snooze,
    TaskCancelError,
    ctx,
)
from tests.conftest import NewApp

WAIT = 10.0
SOON: Any = "soon"


@dataclass
class Invoice:
    number: int
    placed: datetime


class Mute(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Killer(Exception):
    """Ends whoever asks for its text."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Rude(BaseException):
    """Not an Exception at all."""


class Lazy(RetryLater):
    """Does not call its parent."""

    def __init__(self) -> None:
        pass


class Proxy:
    """Stands for something that is gone when the job is over."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of application context")


def cyclic() -> BaseException:
    """Two errors, each the cause of the other."""
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def both(app: QueueTasks, function: Callable[[], Any], **options: Any) -> list[Any]:
    """The function as a ``def`` task and as an ``async def`` task."""

    def plain() -> Any:
        return function()

    async def coroutine() -> Any:
        return function()

    return [app.task(name=real.__name__, **options)(real) for real in (plain, coroutine)]


# --- results


def test_a_result_comes_back_as_what_it_was(app: QueueTasks) -> None:
    @app.task
    def bill(number: int) -> Invoice:
        return Invoice(number, datetime(2030, 1, 1, tzinfo=UTC))

    @app.task
    async def abill(number: int) -> Invoice:
        return Invoice(number, datetime(2030, 1, 1, tzinfo=UTC))

    with app.worker():
        for task in (bill, abill):
            assert task.enqueue(7).result(WAIT) == Invoice(7, datetime(2030, 1, 1, tzinfo=UTC))


def test_a_sync_and_an_async_sender_may_share_a_worker(app: QueueTasks) -> None:
    add = app.task(name="add")(lambda a, b: a + b)

    async def send() -> int:
        return int(await (await add.aenqueue(1, 2)).aresult(WAIT))

    with app.worker():
        assert asyncio.run(send()) == 3
        assert add.enqueue(1, 2).result(WAIT) == 3
        assert app.add_task("add", 1, 2, timeout=WAIT).is_succeeded


def test_a_job_that_is_over_tells_its_story(app: QueueTasks) -> None:
    add = app.task(name="add")(lambda a, b: a + b)

    with app.worker(name="here"):
        job = add.enqueue(1, 2)
        job.result(WAIT)

    assert (job.status, job.attempt, job.crashes, job.interruptions) == (JobState.SUCCEEDED, 1, 0, 0)
    assert job.enqueued_at is not None
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.enqueued_at <= job.started_at <= job.finished_at
    assert [(attempt.number, attempt.worker, attempt.error) for attempt in job.attempts] == [(1, "here", None)]


def test_many_jobs_are_each_run_once(app: QueueTasks) -> None:
    ran: list[int] = []
    count = app.task(name="count")(ran.append)

    with app.worker(threads=4):
        jobs = count.enqueue_many([(n,) for n in range(200)])
        assert Counter([job.result(WAIT) for job in jobs]) == {None: 200}

    assert sorted(ran) == list(range(200))


def test_a_result_that_is_not_to_be_kept_goes_with_its_job(app: QueueTasks) -> None:
    done = threading.Event()
    task = app.task(name="work", result_ttl=0)(done.set)

    with app.worker():
        job = task.enqueue()
        assert done.wait(WAIT)

    assert app.get(job.id) is None


@pytest.mark.parametrize(
    "value", [object(), {1, Proxy()}, Proxy(), 2**70, "half \ud83d", print], ids=lambda value: type(value).__name__
)
def test_a_result_that_cannot_be_stored_fails_the_job_and_says_so(new_app: NewApp, value: Any) -> None:
    app = new_app(grace=0.5)

    tasks = both(app, lambda: value, retry=3)

    with app.worker():
        for task in tasks:
            job = task.enqueue()

            with pytest.raises(JobFailed, match="the result cannot be encoded"):
                job.result(WAIT)

            assert (job.attempt, job.reason) == (1, Reason.ERROR)


def test_a_result_over_the_limit_fails_the_job_and_says_so(new_app: NewApp) -> None:
    app = new_app(max_payload=1000)
    task = app.task(name="work", retry=3)(lambda: "x" * 1000)

    with app.worker(), pytest.raises(JobFailed, match="the result: expected at most 1,000 bytes encoded, got 1,003"):
        task.enqueue().result(WAIT)


# --- failures


def test_a_failure_carries_the_remote_traceback_from_the_tasks_own_line(app: QueueTasks) -> None:
    def fail() -> None:
        raise ValueError("no such post")

    tasks = both(app, fail)

    with app.worker():
        for task in tasks:
            job = task.enqueue()

            with pytest.raises(JobFailed, match="no such post") as caught:
                job.result(WAIT)

            error = caught.value
            assert (error.type_name, error.message, error.reason) == ("ValueError", "no such post", "error")
            first = error.traceback.splitlines()[1]
            assert __file__ in first
            assert task.name in first
            assert "raise ValueError" in error.traceback
            assert job.error is not None
            assert job.error.type == "ValueError"


HOSTILE: list[BaseException] = [
    Mute(),
    Killer(),
    Rude("rude"),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration(),
    asyncio.CancelledError(),
    cyclic(),
    ValueError("half \ud83d and \0"),
    ValueError("x" * 10_000_000),
    ExceptionGroup("group", [ValueError("one")]),
    Lazy(),
    Snooze(SOON),
    RetryLater(SOON),
]


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [0, 1], ids=["thread", "async"])
def test_whatever_a_task_raises_fails_its_job_and_nothing_else(new_app: NewApp, error: BaseException, kind: int) -> None:
    app = new_app(grace=0.5)
    quiet(app)

    def fail() -> None:
        raise error

    tasks = both(app, fail)
    fine = app.task(name="fine")(lambda: "fine")
    afine = app.task(name="afine")(nothing)

    with app.worker(threads=1, concurrency=1):
        with pytest.raises(JobFailed):
            tasks[kind].enqueue().result(WAIT / 4)

        assert fine.enqueue().result(WAIT / 4) == "fine"
        assert afine.enqueue().result(WAIT / 4) is None


async def nothing() -> None:
    """An ordinary job."""


def test_a_user_s_logging_that_raises_does_not_keep_the_job(new_app: NewApp) -> None:
    """Filters and handlers are the application's; its faults are not to cost a thread."""
    app = new_app(grace=0.5)
    app.job_logger = logging.getLogger("tests.broken")
    app.job_logger.filters = [Broken()]
    task = app.task(name="fail")(lambda: 1 / 0)
    fine = app.task(name="fine")(lambda: "fine")

    with app.worker(threads=1):
        with pytest.raises(JobFailed, match="ZeroDivisionError"):
            task.enqueue().result(WAIT / 4)

        assert fine.enqueue().result(WAIT / 4) == "fine"


class Broken(logging.Filter):
    """Raises at every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("the application's filter is broken")


def test_failures_are_logged_with_their_traceback_where_the_application_wants(
    app: QueueTasks, caplog: pytest.LogCaptureFixture
) -> None:
    app.job_logger = logging.getLogger("tests.failures")
    task = app.task(name="fail", retry=Retry(max=1, backoff=0))(lambda: 1 / 0)

    with app.worker(), pytest.raises(JobFailed):
        task.enqueue().result(WAIT)

    records = [record for record in caplog.records if record.name == "tests.failures" and record.exc_info]
    assert [record.levelname for record in records] == ["WARNING", "ERROR"]
    assert [vars(record)["attempt"] for record in records] == [1, 2]
    assert {vars(record)["task_name"] for record in records} == {"fail"}


def test_a_misfit_of_a_sender_by_name_is_found_by_the_worker(app: QueueTasks) -> None:
    task = app.task(name="work", retry=3)(takes_a_number)
    name = task.name
    del app.tasks[name]
    job = app.add_task(name, "seven")
    app.tasks[name] = task

    with app.worker(), pytest.raises(JobFailed, match="argument 'number': Expected `int`, got `str`"):
        job.result(WAIT)

    assert (job.reason, job.attempt) == (Reason.INVALID_ARGUMENTS, 1)


def takes_a_number(number: int) -> int:
    return number


def test_an_argument_whose_class_refuses_it_fails_the_job_alone(new_app: NewApp) -> None:
    app = new_app(grace=0.5)
    task = app.task(name="work")(takes_choosy)
    del app.tasks["work"]
    job = app.add_task("work", {"size": -1})
    app.tasks["work"] = task

    with app.worker(threads=1):
        with pytest.raises(JobFailed, match="argument 'choosy': too small"):
            job.result(WAIT / 4)

        assert task.enqueue(Choosy(1)).result(WAIT / 4) == 1


@dataclass
class Choosy:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise OSError("too small")


def takes_choosy(choosy: Choosy) -> int:
    return choosy.size


# --- trying again


def test_a_job_is_tried_again_until_it_succeeds(app: QueueTasks) -> None:
    def third_time_lucky() -> int:
        if ctx.attempt < 3:
            raise ConnectionError(f"attempt {ctx.attempt}")

        return ctx.attempt

    tasks = both(app, third_time_lucky, retry=Retry(max=5, backoff=0.01))

    with app.worker():
        for task in tasks:
            job = task.enqueue()
            assert job.result(WAIT) == 3
            assert [(a.number, a.error and a.error.message) for a in job.attempts] == [
                (1, "attempt 1"),
                (2, "attempt 2"),
                (3, None),
            ]


def test_a_job_that_is_out_of_attempts_has_failed(app: QueueTasks) -> None:
    task = app.task(name="fail", retry=Retry(max=2, backoff=0))(lambda: 1 / 0)

    with app.worker():
        job = task.enqueue()

        with pytest.raises(JobFailed):
            job.result(WAIT)

    assert (job.attempt, len(job.attempts)) == (3, 3)


def test_the_waits_between_attempts_grow(app: QueueTasks) -> None:
    task = app.task(name="fail", retry=Retry(max=2, backoff=Backoff(base=0.03, factor=4), jitter=0))(lambda: 1 / 0)

    with app.worker():
        job = task.enqueue()

        with pytest.raises(JobFailed):
            job.result(WAIT)

    first, second, third = job.attempts
    assert second.started_at - first.finished_at > 0.02
    assert third.started_at - second.finished_at > 0.11


def test_errors_that_are_not_listed_are_final(app: QueueTasks) -> None:
    task = app.task(name="fail", retry=3, retry_on_exc=[OSError])(lambda: 1 / 0)

    with app.worker():
        job = task.enqueue()

        with pytest.raises(JobFailed, match="ZeroDivisionError"):
            job.result(WAIT)

    assert job.attempt == 1


def test_one_job_may_have_more_attempts_than_its_task(app: QueueTasks) -> None:
    task = app.task(name="fail", retry=Retry(max=0, backoff=0))(lambda: 1 / 0)

    with app.worker():
        job = task.using(retry=2).enqueue()

        with pytest.raises(JobFailed):
            job.result(WAIT)

    assert job.attempt == 3


def test_a_task_may_ask_to_be_tried_again_later(app: QueueTasks) -> None:
    def later() -> str:
        if ctx.attempt == 1:
            raise RetryLater(timedelta(milliseconds=1), "the other side is down")

        return "done"

    tasks = both(app, later, retry=Retry(max=1, backoff=3600))

    with app.worker():
        for task in tasks:
            job = task.enqueue()
            assert job.result(WAIT) == "done"
            assert [attempt.error and attempt.error.message for attempt in job.attempts] == ["the other side is down", None]

    with app.worker(), pytest.raises(JobFailed, match="the other side is down"):
        app.tasks["plain"].using(retry=0).enqueue().result(WAIT)


def test_a_snooze_costs_no_attempt(app: QueueTasks) -> None:
    calls: list[int] = []

    def wait_for_three() -> int:
        calls.append(ctx.attempt)

        if len(calls) < 3:
            raise Snooze(0.001)

        return len(calls)

    task = both(app, wait_for_three)[0]

    with app.worker():
        job = task.enqueue()
        assert job.result(WAIT) == 3

    assert calls == [1, 1, 1]
    assert (job.attempt, len(job.attempts)) == (1, 1)


@pytest.mark.parametrize("reason", ["no longer needed", "", "half \ud83d"])
def test_a_task_may_cancel_itself(new_app: NewApp, reason: str) -> None:
    app = new_app(grace=0.5)

    def give_up() -> None:
        raise TaskCancelError(reason)

    tasks = both(app, give_up, retry=3)

    with app.worker():
        for task in tasks:
            job = task.enqueue()

            with pytest.raises(JobCancelled):
                job.result(WAIT / 4)

            assert (job.reason, job.attempt) == (Reason.CANCELLED, 1)
            assert (job.message or "")[:3] == reason[:3]


def test_a_failed_job_may_be_run_again_by_a_person(app: QueueTasks) -> None:
    broken = threading.Event()
    broken.set()

    def work() -> str:
        if broken.is_set():
            raise ValueError("broken")

        return "mended"

    task = both(app, work)[0]

    with app.worker():
        job = task.enqueue()

        with pytest.raises(JobFailed):
            job.result(WAIT)

        broken.clear()
        assert job.retry()
        assert job.refresh().result(WAIT) == "mended"


def quiet(app: QueueTasks) -> None:
    """Failures that are meant need not fill the test's log."""
    app.job_logger = logging.getLogger("tests.quiet")
    app.job_logger.setLevel(logging.CRITICAL)
