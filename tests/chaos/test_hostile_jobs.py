"""Jobs that hurt the threads and the loop they run on: only they pay for it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from cherga import JobFailed, JobState, QueueTasks
from cherga.testing import wait_until

WAIT = 10.0


class Odd(Exception):
    """Of a module whose name is none."""


Odd.__module__ = []  # type: ignore[assignment]


class Stubborn:
    """Knows how to encode itself, but does not."""

    def model_dump(self, mode: str) -> NoReturn:
        raise RuntimeError("not today")


class Broken(logging.Handler):
    """A handler of log lines that raises."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the disk of the logs is full")


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("hostile", "memory://")

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    @app.task
    async def aadd(a: int, b: int) -> int:
        return a + b

    yield app
    app.close()


def _all_goes_on(app: QueueTasks) -> bool:
    return all(app.add_task(name, 1, 2).result(WAIT) == 3 for name in ("add", "aadd"))


def test_a_subtask_that_leaves_the_interpreter_ends_its_job_and_no_other(app: QueueTasks) -> None:
    @app.task
    async def leave() -> None:
        async def inner() -> None:
            sys.exit(1)

        await asyncio.gather(inner())

    @app.task
    async def neighbour() -> str:
        await asyncio.sleep(0.05)
        return "alive"

    with app.worker(threads=1, concurrency=4):
        beside = neighbour.enqueue()

        with pytest.raises(JobFailed) as caught:
            leave.enqueue().result(WAIT)

        assert "SystemExit" in str(caught.value)
        assert beside.result(WAIT) == "alive"
        assert _all_goes_on(app)


@pytest.mark.parametrize("name", ["raise_odd", "araise_odd", "return_stubborn"])
def test_what_cannot_be_described_or_encoded_costs_no_thread(app: QueueTasks, name: str) -> None:
    @app.task
    def raise_odd() -> None:
        raise Odd("x")

    @app.task
    async def araise_odd() -> None:
        raise Odd("x")

    @app.task
    def return_stubborn() -> Any:
        return Stubborn()

    with app.worker(threads=1, concurrency=1):
        with pytest.raises(JobFailed):
            app.add_task(name).result(WAIT)

        assert _all_goes_on(app)


def test_a_log_handler_that_raises_costs_no_thread(app: QueueTasks) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("no")

    handler = Broken()
    app.job_logger.addHandler(handler)

    try:
        with app.worker(threads=1, concurrency=1):
            with pytest.raises(JobFailed):
                fail.enqueue().result(WAIT)

            assert _all_goes_on(app)
    finally:
        app.job_logger.removeHandler(handler)


def test_an_attempt_that_ends_as_its_end_is_decided_is_not_taken_for_one_that_goes_on(app: QueueTasks) -> None:
    done = threading.Event()

    @app.task
    def block() -> None:
        done.wait(WAIT)

    with app.worker(threads=1, concurrency=1) as worker:
        executor = worker.engine.executor
        job = block.enqueue()
        (assignment,) = wait_until(executor.running.all, "it runs")
        done.set()
        job.result(WAIT)
        executor.outlive(assignment)

        assert not executor.overdue


def test_a_new_session_starts_nothing_that_was_claimed_under_the_lost_one(app: QueueTasks) -> None:
    done = threading.Event()
    app.configure(lookahead=5.0)  # one job is claimed ahead, also where jobs seem slow

    @app.task
    def block() -> None:
        done.wait(WAIT)

    with app.worker(threads=1, concurrency=1) as worker:
        for _ in range(20):
            app.add_task("add", 1, 1).result(WAIT)

        blocker = block.enqueue()
        wait_until(lambda: blocker.is_running, "the only thread is busy")
        waiting = app.add_task("add", 1, 1)
        wait_until(lambda: waiting.refresh().row.claims == 1, "the next job is claimed ahead")
        lost = worker.engine.session.id
        worker.lost(lost)
        done.set()

        assert waiting.result(WAIT) == 2
        assert waiting.refresh().status is JobState.SUCCEEDED
        assert waiting.row.session != lost
        assert waiting.row.claims >= 2  # what a claim brings that was under way at that moment is given back, too


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("makes_tasks", [False, True], ids=["usual tasks", "tasks of a factory"])
@pytest.mark.parametrize("options", [{}, {"batch": 7, "batch_wait": 0.01}], ids=["by themselves", "in batches"])
def test_a_job_that_cancels_all_tasks_of_the_loop_takes_no_slot_and_no_job(
    app: QueueTasks, options: Any, makes_tasks: bool, times: int
) -> None:
    """Those that had not begun start again; those that had end with the cancellation."""
    together: set[int] = set()

    @app.task
    async def make_tasks() -> None:
        asyncio.get_running_loop().set_task_factory(lambda loop, coroutine, **rest: asyncio.Task(coroutine, loop=loop, **rest))

    @app.task
    async def cancel_all() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            for _ in range(times):
                task.cancel()

    @app.task(**options)  # type: ignore[untyped-decorator]
    async def mail(numbers: Any) -> None: ...

    @app.task
    async def meet(number: int) -> None:
        together.add(number)

        while len(together) < 10:
            await asyncio.sleep(0.001)

    if makes_tasks:
        make_tasks.using(priority=1).enqueue()

    cancelling = cancel_all.enqueue()
    jobs = mail.enqueue_many([(number,) for number in range(30)])

    with app.worker(threads=1, concurrency=10):
        wait_until(lambda: all(job.refresh().status.final for job in (cancelling, *jobs)), "all have ended")
        meet.enqueue_many([(number,) for number in range(10)])
        wait_until(lambda: len(together) == 10, "every slot is free")

    assert cancelling.refresh().status is JobState.SUCCEEDED
    assert all(job.attempt == 1 for job in jobs)


def test_a_factory_of_tasks_that_a_job_gives_the_loop_costs_the_jobs_and_not_the_slots(app: QueueTasks) -> None:
    def refuse(loop: asyncio.AbstractEventLoop, coroutine: Any) -> NoReturn:
        raise TypeError("not like this")

    @app.task
    def set_factory(broken: bool) -> None:
        worker.engine._loop.loop.set_task_factory(refuse if broken else None)

    with app.worker(threads=1, concurrency=2) as worker:
        app.add_task("aadd", 1, 2).result(WAIT)
        set_factory.enqueue(True).result(WAIT)

        for _ in range(5):
            with pytest.raises(JobFailed):
                app.add_task("aadd", 1, 2).result(WAIT)

        set_factory.enqueue(False).result(WAIT)
        assert _all_goes_on(app)
