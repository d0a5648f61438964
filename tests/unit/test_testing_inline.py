"""``app.testing(inline=True)``: a job has run when its enqueue returns, with everything around it that a worker has."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from cherga import Call, Depends, InvalidArguments, JobFailed, JobState, QueueTasks, Reason, Snooze, ctx
from cherga.testing.draining import Drained
from cherga.testing.kit import Kit


@pytest.fixture
def app() -> QueueTasks:
    made = QueueTasks("inline", "memory://")

    @made.task
    def double(value: int) -> int:
        return 2 * value

    @made.task
    async def adouble(value: int) -> int:
        await asyncio.sleep(0)
        return 2 * value

    @made.task(retry=3)
    def until_third() -> int:
        if ctx.attempt < 3:
            raise ConnectionError(f"no {ctx.attempt}")

        return ctx.attempt

    @made.task
    def fail(text: str) -> None:
        raise ValueError(text)

    return made


@pytest.fixture
def kit(app: QueueTasks) -> Iterator[Kit]:
    with app.testing(inline=True) as opened:
        yield opened


# --- what stands around a job


@pytest.mark.parametrize("name", ["double", "adouble"])
def test_the_handle_shows_the_end_of_the_job(app: QueueTasks, kit: Kit, name: str) -> None:
    job = app.tasks[name].enqueue(21)

    assert job.status is JobState.SUCCEEDED
    assert job.result(timeout=0) == 42
    assert [attempt.worker for attempt in job.attempts] == ["testing"]


def test_many_jobs_of_one_call_have_all_run(app: QueueTasks, kit: Kit) -> None:
    jobs = app.tasks["double"].enqueue_many([(1,), (2,), (3,)])

    assert [job.result(0) for job in jobs] == [2, 4, 6]


def test_arguments_and_results_go_through_the_codec(app: QueueTasks, kit: Kit) -> None:
    given: list[Any] = []

    @app.task
    def take(thing: Any) -> tuple[Any, ...]:
        given.append(thing)
        return (thing,)

    thing = {"pair": (1, 2)}
    job = take.enqueue(thing)

    assert given == [{"pair": (1, 2)}]
    assert given[0] is not thing
    assert job.row.result is not None
    assert job.result(0) == ({"pair": (1, 2)},)


def test_what_cannot_be_stored_is_refused_as_always(app: QueueTasks, kit: Kit) -> None:
    with pytest.raises(InvalidArguments, match="'value'"):
        app.tasks["double"].enqueue("many")

    @app.task
    def give_a_lock() -> Any:
        return threading.Lock()

    job = give_a_lock.enqueue()
    assert job.status is JobState.FAILED
    assert job.error is not None
    assert "cannot be stored" in job.error.message


def test_middleware_dependencies_contexts_and_decoding_apply(app: QueueTasks) -> None:
    events: list[str] = []

    def session() -> Iterator[str]:
        events.append("open")
        yield "session"
        events.append("close")

    def count(call: Call) -> None:
        events.append(f"before {call.args}")

    def sign(call: Call) -> str:
        return f"{call.result}, signed"

    @app.middleware
    def around(following: Any) -> Any:
        async def handle(call: Call) -> Any:
            events.append("around")
            return await following(call)

        return handle

    @app.task(echo=True, middlewares_before=[count], middlewares_after=[sign], decode=str.upper)
    def write(self: Any, name: str, via: str = Depends(session)) -> str:
        return f"{self.task_name} to {name} via {via}"

    with app.testing(inline=True):
        assert app.add_task("write", "Ada").result(0) == "WRITE TO ADA VIA SESSION, SIGNED"

    assert events == ["around", "before ('Ada',)", "open", "close"]


def test_retries_follow_each_other_without_a_wait(app: QueueTasks, kit: Kit) -> None:
    job = app.tasks["until_third"].enqueue()

    assert job.result(0) == 3
    assert [attempt.error and attempt.error.message for attempt in job.attempts] == ["no 1", "no 2", None]


def test_what_a_job_tells_is_kept(app: QueueTasks, kit: Kit) -> None:
    @app.task
    def tell() -> None:
        ctx.progress(1, 4, "begun")
        ctx.meta["colour"] = "red"
        ctx.save_meta()
        ctx.log("a line")
        ctx.emit("a value")

    job = tell.enqueue()
    (update,) = app.watch(job.id)

    assert job.progress is not None
    assert (job.progress.percent, job.progress.note) == (25.0, "begun")
    assert job.meta == {"colour": "red"}
    assert (update.logs, update.values) == (("a line",), ("a value",))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_past_its_time_is_ended(app: QueueTasks, kit: Kit, is_async: bool) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    def hang_politely() -> None:
        ctx.sleep(30)

    task: Any = app.task(max_time=0.05)(hang if is_async else hang_politely)
    job = task.enqueue()

    assert (job.status, job.reason) == (JobState.FAILED, Reason.TIMEOUT)


def test_what_lives_as_long_as_a_worker_lives_as_long_as_the_block(app: QueueTasks) -> None:
    events: list[str] = []

    async def pool() -> Any:
        events.append("open")
        yield asyncio.get_running_loop()
        events.append("close")

    from_pool = Depends(pool, scope="worker")

    @app.task
    async def swim(pool: Any = from_pool) -> bool:
        return pool is asyncio.get_running_loop()

    with app.testing(inline=True):
        assert [swim.enqueue().result(0), swim.enqueue().result(0)] == [True, True]
        assert events == ["open"]

    assert events == ["open", "close"]


def test_callbacks_have_been_called_when_enqueue_returns(kit: Kit, app: QueueTasks) -> None:
    told: list[Any] = []

    @app.task
    def tell(job: Any, connection: Any, result: Any) -> None:
        told.append((job.task_name, result))

    app.queue().enqueue("double", 4, on_success="tell")

    assert told == [("double", 8)]


# --- errors


def test_a_failure_is_kept_on_the_job(app: QueueTasks, kit: Kit) -> None:
    job = app.tasks["fail"].enqueue("no luck")

    assert job.status is JobState.FAILED
    with pytest.raises(JobFailed, match="no luck"):
        job.result(0)


def test_a_failure_can_be_raised_where_the_job_was_enqueued(app: QueueTasks) -> None:
    with app.testing(inline="raise") as kit:
        with pytest.raises(JobFailed, match="no luck") as caught:
            app.tasks["fail"].enqueue("no luck")

        assert isinstance(caught.value.__cause__, ValueError)
        assert app.tasks["until_third"].enqueue().result(0) == 3
        kit.assert_enqueued("fail", "no luck")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failure_of_what_a_job_left_behind_is_raised_with_it(app: QueueTasks, is_async: bool) -> None:
    if is_async:

        @app.task("parent", echo=True)
        async def aparent(self: Any) -> None:
            self.add_task("fail", "no luck")
    else:

        @app.task("parent", echo=True)
        def parent(self: Any) -> None:
            self.add_task("fail", "no luck")

    @app.task(echo=True)
    def grandparent(self: Any) -> None:
        self.add_task("parent")

    with app.testing(inline="raise") as kit:
        for name in ("parent", "grandparent"):
            with pytest.raises(JobFailed, match="no luck"):
                app.add_task(name)

        assert [job.status for job in kit.enqueued("parent")] == [JobState.SUCCEEDED] * 2
        assert app.tasks["until_third"].enqueue().result(0) == 3


def test_a_failure_of_what_waited_is_raised_where_it_runs(app: QueueTasks) -> None:
    fail, done = app.tasks["fail"], app.tasks["until_third"]

    with app.testing(inline="raise") as kit:
        with pytest.raises(JobFailed, match="after"):
            fail.using(after=[done.enqueue()]).enqueue("after")

        fail.using(run_in=60).enqueue("later")
        fail.using(after=[done.using(run_in=120).enqueue()]).enqueue("behind")
        fail.using(run_in=180).enqueue("in async code")

        with pytest.raises(JobFailed, match="later"):
            kit.advance(61)

        with pytest.raises(JobFailed, match="behind"):
            kit.advance(61)

        with pytest.raises(JobFailed, match="in async code"):
            asyncio.run(kit.aadvance(61))

        kit.advance(60)


@pytest.mark.parametrize("is_async", [False, True])
def test_jobs_that_enqueue_each_other_without_end_are_stopped(app: QueueTasks, is_async: bool) -> None:
    def forever() -> None:
        with suppress(Exception):
            app.add_task("forever")

    async def aforever() -> None:
        with suppress(Exception):
            await app.aadd_task("forever")

    app.task("forever")(aforever if is_async else forever)

    with app.testing(inline=True):
        with pytest.raises(AssertionError, match="expected the jobs to come to an end"):
            asyncio.run(app.aadd_task("forever")) if is_async else app.add_task("forever")

        assert app.tasks["double"].enqueue(2).result(0) == 4


def test_a_failure_is_raised_in_async_code_too(app: QueueTasks) -> None:
    async def check() -> None:
        with pytest.raises(JobFailed, match="no luck"):
            await app.tasks["fail"].aenqueue("no luck")

    with app.testing(inline="raise"):
        asyncio.run(check())


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_meant_for_the_test_passes_through(app: QueueTasks, kit: Kit, is_async: bool) -> None:
    def stop() -> None:
        pytest.fail("enough")

    async def astop() -> None:
        pytest.fail("enough")

    task: Any = app.task(astop if is_async else stop)

    with pytest.raises(pytest.fail.Exception, match="enough"):
        task.enqueue()


# --- jobs that make jobs


def test_jobs_may_enqueue_jobs_and_use_their_results(app: QueueTasks, kit: Kit) -> None:
    @app.task
    def outer() -> int:
        return app.tasks["double"].enqueue(1).result(0) + app.tasks["adouble"].enqueue(2).result(0)  # type: ignore[no-any-return]

    assert outer.enqueue().result(0) == 6


def test_async_jobs_may_enqueue_async_jobs_either_way(app: QueueTasks, kit: Kit) -> None:
    @app.task
    async def outer() -> list[int]:
        blocking = app.tasks["adouble"].enqueue(1)
        awaited = await app.tasks["adouble"].aenqueue(2)
        threaded = await app.tasks["double"].aenqueue(3)
        return [job.result(0) for job in (blocking, awaited, threaded)]

    assert outer.enqueue().result(0) == [2, 4, 6]
    assert asyncio.run(outer.aenqueue()).result(0) == [2, 4, 6]


def test_children_and_dependants_have_run_too(app: QueueTasks, kit: Kit) -> None:
    @app.task(echo=True)
    def parent(self: Any) -> None:
        self.add_task("double", 5)

    first = app.add_task("parent")
    after = app.tasks["double"].using(after=[first]).enqueue(6)

    assert after.result(0) == 12
    assert [job.result(0) for job in kit.assert_enqueued("double", 5)] == [10]


def test_an_async_job_that_blocks_its_loop_is_refused_as_in_a_worker(app: QueueTasks, kit: Kit) -> None:
    @app.task
    async def block() -> None:
        app.tasks["double"].using(run_in=60).enqueue(1).result(timeout=10)

    job = block.enqueue()

    assert job.error is not None
    assert job.error.type.endswith("WouldDeadlock")


def test_events_are_told_before_enqueue_returns(app: QueueTasks, kit: Kit) -> None:
    told: list[str] = []

    @app.on.started
    def begin(event: Any) -> None:
        told.append(event.name)

    @app.on.succeeded
    async def end(event: Any) -> None:
        await asyncio.sleep(0)
        told.append(event.name)

    app.tasks["double"].enqueue(1)

    assert told == ["started", "succeeded"]


def test_a_job_that_enqueues_itself_finds_the_key_held(app: QueueTasks, kit: Kit) -> None:
    @app.task(unique=True)
    def alone() -> bool:
        return alone.enqueue().existing

    assert alone.enqueue().result(0) is True


# --- later


def test_what_is_scheduled_runs_when_the_clock_gets_there(app: QueueTasks, kit: Kit) -> None:
    job = app.tasks["double"].using(run_in=60).enqueue(1)
    assert job.status is JobState.SCHEDULED

    kit.advance(59)
    assert job.refresh().status is JobState.SCHEDULED

    kit.advance(1)
    assert job.refresh().result(0) == 2


def test_async_tests_let_time_pass_on_their_own_loop(app: QueueTasks, kit: Kit) -> None:
    @app.task
    async def where() -> int:
        return id(asyncio.get_running_loop())

    async def check() -> None:
        job = await where.using(run_in=60).aenqueue()
        await kit.aadvance(60)
        assert await job.aresult(0) == id(asyncio.get_running_loop())

    asyncio.run(check())


def test_a_snooze_waits_for_the_clock(app: QueueTasks, kit: Kit) -> None:
    @app.task
    def patient() -> str:
        if not ctx.meta:
            ctx.meta["seen"] = True
            ctx.save_meta()
            raise Snooze(10)

        return "done"

    job = patient.enqueue()
    assert job.status is JobState.SCHEDULED

    kit.advance(10)
    assert job.refresh().result(0) == "done"


def test_a_job_run_again_by_hand_is_drained(app: QueueTasks, kit: Kit) -> None:
    job = app.tasks["double"].enqueue(1)
    job.retry()

    assert kit.drain() == Drained(succeeded=1)


def test_a_drain_does_not_make_the_block_forget_its_own_session(app: QueueTasks, kit: Kit) -> None:
    app.tasks["double"].enqueue(1)
    kit.advance(3600)
    kit.drain()

    assert app.tasks["double"].enqueue(2).result(0) == 4


def test_a_job_that_is_not_kept_leaves_its_handle_as_it_was(app: QueueTasks, kit: Kit) -> None:
    job = app.tasks["double"].using(result_ttl=0).enqueue(1)

    assert app.get(job.id) is None
    assert job.status is JobState.READY


def test_a_task_that_is_paused_or_unknown_stays_ready(app: QueueTasks, kit: Kit) -> None:
    assert app.add_task("elsewhere", 1).status is JobState.READY


# --- side by side


def test_coroutines_side_by_side_each_get_their_own_job_back(app: QueueTasks, kit: Kit) -> None:
    both = asyncio.Barrier(2)

    @app.task
    async def meet(name: str) -> str:
        await both.wait()
        return name

    async def check() -> list[str]:
        jobs = await asyncio.gather(meet.aenqueue("Ada"), meet.aenqueue("Grace"))
        return [job.result(0) for job in jobs]

    assert asyncio.run(check()) == ["Ada", "Grace"]


def test_threads_side_by_side_each_get_their_own_job_back(app: QueueTasks, kit: Kit) -> None:
    results: dict[int, list[int]] = {}

    def enqueue(number: int) -> None:
        results[number] = [app.tasks["double"].enqueue(number).result(0) for _ in range(20)]

    threads = [threading.Thread(target=enqueue, args=(number,)) for number in range(4)]

    for thread in threads:
        thread.start()

    for thread in threads:
        thread.join(30)

    assert results == {number: [2 * number] * 20 for number in range(4)}


def test_a_schedule_runs_when_the_clock_gets_there_and_its_failure_is_raised(app: QueueTasks) -> None:
    @app.task(every=3600)
    def hourly() -> None:
        raise ValueError("the hour has struck")

    with app.testing(inline="raise") as kit, pytest.raises(JobFailed, match="the hour has struck"):
        kit.advance(3600)


def test_a_coroutine_that_is_cancelled_takes_its_job_along(app: QueueTasks, kit: Kit) -> None:
    begun = asyncio.Event()

    @app.task
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def check() -> None:
        waiting = asyncio.ensure_future(hang.aenqueue())
        await begun.wait()
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(check())
    (job,) = kit.enqueued(hang)
    assert job.status is JobState.FAILED
