"""A job sees itself, and never another job; the application's own context is made anew for each."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from cherga import Context, JobFailed, NoCurrentJob, QueueTasks, ctx, get_current_job
from tests.conftest import NewApp

WAIT = 10.0
TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


def test_a_job_sees_who_it_is(app: QueueTasks) -> None:
    @app.task(name="see", retry=1)
    def see() -> list[Any]:
        return [ctx.job_id, ctx.task_name, ctx.attempt, ctx.owner, list(ctx.head.tags)]

    with app.worker():
        job = see.using(owner="user:7", tags=["t"]).enqueue()
        assert job.result(WAIT) == [job.id, "see", 1, "user:7", ["t"]]


def test_the_current_job_is_a_handle(app: QueueTasks) -> None:
    @app.task
    def see() -> list[Any]:
        job = get_current_job()
        assert job is not None
        return [str(job.id), job.status, job.attempt]

    @app.task
    async def asee() -> list[Any]:
        job = get_current_job()
        assert job is not None
        return [str(job.id), job.status, job.attempt]

    with app.worker():
        for task in (see, asee):
            job = task.enqueue()
            assert job.result(WAIT) == [str(job.id), "running", 1]


def test_outside_a_job_there_is_no_context(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda: str(ctx.job_id))

    with app.worker():
        task.enqueue().result(WAIT)

        with pytest.raises(NoCurrentJob):
            task()

        assert get_current_job() is None


# --- the parameter


def test_a_parameter_annotated_context_is_filled_in(app: QueueTasks) -> None:
    @app.task
    def first(context: Context, number: int) -> list[Any]:
        return [context.job_id, number]

    @app.task
    def last(number: int, *, context: Context) -> list[Any]:
        return [context.job_id, number]

    @app.task
    async def maybe(number: int, context: Context | None = None) -> list[Any]:
        return [context and context.job_id, number]

    with app.worker():
        for task in (first, last, maybe):
            job = app.add_task(task.name, 7)
            assert job.result(WAIT) == [job.id, 7]


def test_the_parameter_stands_beside_parameters_of_every_kind(app: QueueTasks) -> None:
    @app.task
    def collects(context: Context, *numbers: int, **more: int) -> list[Any]:
        return [context.job_id, list(numbers), more]

    @app.task
    def positional(number: int, /, context: Context) -> list[Any]:
        return [context.job_id, number]

    with app.worker():
        job = app.add_task("collects", 1, 2, three=3)
        assert job.result(WAIT) == [job.id, [1, 2], {"three": 3}]
        job = app.add_task("positional", 1)
        assert job.result(WAIT) == [job.id, 1]


def test_a_plain_call_passes_the_parameter_itself(app: QueueTasks) -> None:
    @app.task
    def maybe(number: int, context: Context | None = None) -> int:
        return number if context is None else -1

    assert maybe(7) == 7


# --- isolation


def test_jobs_side_by_side_never_see_each_other(app: QueueTasks) -> None:
    met = threading.Barrier(8)

    @app.task
    def thread(mark: str) -> list[str]:
        before = TENANT.get()
        TENANT.set(mark)
        met.wait(WAIT)
        return [before, TENANT.get(), str(ctx.job_id)]

    @app.task
    async def coroutine(mark: str) -> list[str]:
        before = TENANT.get()
        TENANT.set(mark)

        for _ in range(5):
            await asyncio.sleep(0)

        return [before, TENANT.get(), str(ctx.job_id)]

    with app.worker(threads=8):
        for task in (thread, coroutine):
            jobs = [task.enqueue(f"tenant {number}") for number in range(16)]
            results = [job.result(WAIT) for job in jobs]
            assert results == [["nobody", f"tenant {number}", str(job.id)] for number, job in enumerate(jobs)]


def test_a_job_sees_nothing_of_the_context_in_which_its_worker_was_started(app: QueueTasks) -> None:
    task = app.task(name="see")(lambda: TENANT.get())

    @app.task
    async def asee() -> str:
        return TENANT.get()

    def work() -> list[str]:
        TENANT.set("whoever started the worker")

        with app.worker():
            return [task.enqueue().result(WAIT), asee.enqueue().result(WAIT)]

    assert contextvars.copy_context().run(work) == ["nobody", "nobody"]


# --- threads that a job starts


def test_threads_that_a_job_starts_are_bound_to_it(app: QueueTasks) -> None:
    @app.task
    def fan_out() -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            bound = [pool.submit(ctx.bind(who)) for _ in range(4)]
            return [each.result(WAIT) for each in bound] + [pool.submit(who).result(WAIT)]

    @app.task
    async def spread() -> list[str]:
        return [await asyncio.to_thread(who), await asyncio.create_task(awho())]

    def who() -> str:
        try:
            ctx.log("here")
            return str(ctx.job_id)
        except NoCurrentJob:
            return "nobody"

    async def awho() -> str:
        return who()

    with app.worker():
        job = fan_out.enqueue()
        assert job.result(WAIT) == [str(job.id)] * 4 + ["nobody"]
        assert [line for update in app.watch(job.id) for line in update.logs] == ["here"] * 4
        other = spread.enqueue()
        assert other.result(WAIT) == [str(other.id)] * 2


# --- the application's own context


def test_each_job_runs_inside_contexts_of_its_own(app: QueueTasks) -> None:
    steps: list[str] = []
    lock = threading.Lock()

    def note(step: str) -> None:
        with lock:
            steps.append(step)

    @contextmanager
    def outer() -> Iterator[None]:
        note("outer in")
        yield
        note("outer out")

    @contextmanager
    def inner() -> Iterator[None]:
        note("inner in")
        token = TENANT.set("inner")
        yield
        TENANT.reset(token)
        note("inner out")

    app.around_job += [outer, inner]

    @app.task
    def work() -> str:
        note("job")
        return TENANT.get()

    @app.task
    async def awork() -> str:
        await asyncio.sleep(0)
        note("job")
        return TENANT.get()

    with app.worker():
        for task in (work, awork):
            assert task.enqueue().result(WAIT) == "inner"

    assert steps == ["outer in", "inner in", "job", "inner out", "outer out"] * 2


def test_what_a_job_raises_passes_through_its_contexts(app: QueueTasks) -> None:
    seen: list[str] = []

    @contextmanager
    def rollback() -> Iterator[None]:
        try:
            yield
        except ZeroDivisionError:
            seen.append("rolled back")
            raise

    app.around_job.append(rollback)
    plain = app.task(name="plain")(lambda: 1 / 0)

    @app.task
    async def coroutine() -> float:
        return 1 / 0

    with app.worker():
        for task in (plain, coroutine):
            with pytest.raises(JobFailed, match="ZeroDivisionError"):
                task.enqueue().result(WAIT)

    assert seen == ["rolled back"] * 2


def test_a_context_that_cannot_be_made_fails_the_job_and_leaves_the_outer_ones(app: QueueTasks) -> None:
    left: list[str] = []

    @contextmanager
    def outer() -> Iterator[None]:
        try:
            yield
        finally:
            left.append("outer")

    def broken() -> Any:
        raise ConnectionError("no database")

    app.around_job += [outer, broken]
    task = app.task(name="work")(lambda: "done")

    with app.worker(), pytest.raises(JobFailed, match="ConnectionError: no database"):
        task.enqueue().result(WAIT)

    assert left == ["outer"]


def test_a_context_that_fails_at_its_end_fails_the_job(app: QueueTasks) -> None:
    @contextmanager
    def commit() -> Iterator[None]:
        yield
        raise ConnectionError("the commit failed")

    app.around_job.append(commit)
    task = app.task(name="work")(lambda: "done")

    with app.worker(), pytest.raises(JobFailed, match="the commit failed"):
        task.enqueue().result(WAIT)


def test_contexts_are_left_when_the_job_is_cancelled(new_app: NewApp) -> None:
    app = new_app()
    left, begun = threading.Event(), threading.Event()

    @contextmanager
    def session() -> Iterator[None]:
        try:
            yield
        finally:
            left.set()

    app.around_job.append(session)

    @app.task
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    with app.worker():
        job = endless.enqueue()
        assert begun.wait(WAIT)
        job.cancel()
        assert left.wait(WAIT)


def test_a_result_may_need_the_context_to_be_stored(app: QueueTasks) -> None:
    """Values that live in the application's context are gone when it is left; that fails the job, and nothing else."""
    inside: ContextVar[bool] = ContextVar("inside", default=False)

    @contextmanager
    def request() -> Iterator[None]:
        token = inside.set(True)
        yield
        inside.reset(token)

    class CurrentUser:
        def __getattr__(self, name: str) -> Any:
            if not inside.get():
                raise RuntimeError("working outside of the context")

            raise AttributeError(name)

    app.around_job.append(request)
    task = app.task(name="work")(lambda: CurrentUser())

    with app.worker(), pytest.raises(JobFailed, match="CurrentUser cannot be stored"):
        task.enqueue().result(WAIT)
