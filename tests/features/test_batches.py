"""``batch=``: one call receives the values of many jobs, and each of them ends by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from cherga import (
    Batch,
    Call,
    ConfigError,
    Context,
    Depends,
    Event,
    Job,
    JobCancelled,
    JobFailed,
    JobState,
    QueueTasks,
    RetryLater,
    Router,
    Snooze,
    TaskCancelError,
    chain,
    ctx,
    shared_task,
)
from cherga.rules.codec import encode
from cherga.testing import wait_until
from cherga.words.push import NewJob
from cherga.words.report import Reading

LONG = 60.0
"""Seconds that no test waits."""

Body = Callable[[Batch[Any]], Any]


@dataclass
class Document:
    title: str
    words: int


def declare(app: QueueTasks, is_async: bool, body: Body, **options: Any) -> Any:
    """A batch task of either kind with this body."""
    options = {"batch": 10, "batch_wait": 0.05, **options}

    if is_async:

        @app.task(name="index", **options)
        async def aindex(documents: Batch[Any]) -> Any:
            await asyncio.sleep(0)
            made = body(documents)
            return await made if asyncio.iscoroutine(made) else made

        return aindex

    @app.task(name="index", **options)
    def index(documents: Batch[Any]) -> Any:
        return body(documents)

    return index


def many(task: Any, count: int) -> list[Job[Any]]:
    jobs: list[Job[Any]] = task.enqueue_many([(number,) for number in range(count)])
    return jobs


def states(jobs: list[Job[Any]]) -> list[JobState]:
    return [job.refresh().row.state for job in jobs]


def all_ended(jobs: list[Job[Any]]) -> None:
    wait_until(lambda: all(state.final for state in states(jobs)), "all jobs have ended")


either = pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])


@either
def test_one_call_receives_the_values_of_many_jobs_and_each_gets_its_own_result(app: QueueTasks, is_async: bool) -> None:
    sizes: list[int] = []

    def double(numbers: Batch[int]) -> list[int]:
        sizes.append(len(numbers))
        return [number * 2 for number in numbers]

    jobs = many(declare(app, is_async, double), 25)

    with app.worker(threads=1, concurrency=1):
        assert [job.result(10) for job in jobs] == [number * 2 for number in range(25)]

    assert sizes == [10, 10, 5]


def test_values_are_decoded_to_the_type_of_the_elements(app: QueueTasks) -> None:
    @app.task(batch=10, batch_wait=0)
    def words(documents: list[Document]) -> list[int]:
        return [document.words for document in documents]

    with app.worker():
        assert words.enqueue(Document("Lies", 7)).result(10) == 7
        assert app.add_task("words", {"title": "Ruhe", "words": 8}).result(10) == 8


def test_a_full_batch_starts_at_once_and_a_smaller_one_waits_for_more(app: QueueTasks) -> None:
    task = declare(app, False, lambda numbers: [len(numbers)] * len(numbers), batch=3, batch_wait=LONG)

    with app.worker():
        first = many(task, 2)
        wait_until(lambda: states(first) == [JobState.RUNNING] * 2, "two jobs are collected")
        third = task.enqueue(2)

        assert [job.result(10) for job in (*first, third)] == [3, 3, 3]


def test_a_call_does_not_wait_for_more_jobs_than_may_run(app: QueueTasks) -> None:
    task = declare(app, False, lambda numbers: [len(numbers)] * len(numbers), batch=10, batch_wait=LONG, max_running=3)

    with app.worker():
        jobs = task.enqueue_many([(number,) for number in range(6)])
        assert [job.result(LONG / 2) for job in jobs] == [3] * 6


def test_a_batch_that_does_not_fill_starts_when_the_first_has_waited_long_enough(app: QueueTasks) -> None:
    task = declare(app, True, lambda numbers: [len(numbers)] * len(numbers), batch=10_000, batch_wait=0.05)

    with app.worker():
        assert [job.result(10) for job in many(task, 3)] == [3, 3, 3]


@either
def test_returning_none_succeeds_all_with_none(app: QueueTasks, is_async: bool) -> None:
    jobs = many(declare(app, is_async, lambda numbers: None), 3)

    with app.worker():
        assert [job.result(10) for job in jobs] == [None] * 3


@either
def test_an_exception_in_the_list_fails_that_job_by_its_own_policy(app: QueueTasks, is_async: bool) -> None:
    def pick(numbers: Batch[int]) -> list[Any]:
        attempts = [job.attempt for job in numbers.jobs]
        return [ValueError("odd") if n % 2 and attempt == 1 else attempt for n, attempt in zip(numbers, attempts, strict=True)]

    task = declare(app, is_async, pick, retry=1)

    with app.worker():
        jobs = many(task, 4)
        final = task.using(retry=0).enqueue(5)

        with pytest.raises(JobFailed, match="odd"):
            final.result(10)

        wait_until(lambda: states(jobs)[::2] == [JobState.SUCCEEDED] * 2, "the even ones have succeeded")
        assert [job.error is not None for job in jobs] == [False, True, False, True]


def test_a_job_says_by_an_exception_how_it_wants_to_go_on(app: QueueTasks) -> None:
    wishes = [RetryLater(LONG), Snooze(LONG), TaskCancelError("not wanted"), "done"]
    jobs = many(declare(app, False, lambda numbers: [wishes[number] for number in numbers], retry=1), 4)

    with app.worker():
        wait_until(lambda: not {JobState.RUNNING, JobState.READY} & set(states(jobs)), "the call has ended")

    assert states(jobs) == [JobState.SCHEDULED, JobState.SCHEDULED, JobState.CANCELLED, JobState.SUCCEEDED]
    assert [job.attempt for job in jobs] == [1, 0, 1, 1]
    assert jobs[2].message == "not wanted"


@either
def test_what_was_said_of_single_jobs_stands_when_the_call_raises(app: QueueTasks, is_async: bool) -> None:
    def index(numbers: Batch[int]) -> None:
        numbers.succeed(0, "first")
        numbers.fail(-1, LookupError("last"))
        raise RuntimeError("the rest")

    jobs = many(declare(app, is_async, index), 4)

    with app.worker():
        all_ended(jobs)

    assert jobs[0].result() == "first"
    assert [job.error.type for job in jobs if job.error] == ["RuntimeError", "RuntimeError", "LookupError"]


def test_what_was_said_of_single_jobs_stands_beside_the_list(app: QueueTasks) -> None:
    def index(numbers: Batch[int]) -> list[str]:
        numbers.succeed(1, "said")
        return ["returned"] * len(numbers)

    jobs = many(declare(app, False, index), 3)

    with app.worker():
        assert [job.result(10) for job in jobs] == ["returned", "said", "returned"]


@pytest.mark.parametrize(
    ("returned", "words"), [([1], ["3 results", "got 1"]), ({"a": 1}, ["a list", "got dict"]), ([object()] * 3, ["encoded"])]
)
def test_a_result_that_does_not_fit_fails_the_jobs_with_a_sentence(app: QueueTasks, returned: Any, words: list[str]) -> None:
    jobs = many(declare(app, False, lambda numbers: returned, retry=5), 3)

    with app.worker():
        all_ended(jobs)

    assert {job.error.type for job in jobs if job.error} == {"InvalidResult"}
    assert all(word in job.error.message for job in jobs if job.error for word in words)
    assert [job.attempt for job in jobs] == [1, 1, 1]


def test_a_result_that_cannot_be_stored_fails_its_job_alone(app: QueueTasks) -> None:
    jobs = many(declare(app, False, lambda numbers: [object() if number == 1 else number for number in numbers]), 3)

    with app.worker():
        all_ended(jobs)

    assert states(jobs) == [JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED]


def test_arguments_that_do_not_fit_any_more_fail_their_job_alone(app: QueueTasks) -> None:
    @app.task(batch=3, batch_wait=LONG)
    def index(numbers: list[int]) -> list[int]:
        return [len(numbers)] * len(numbers)

    wrong = uuid4()
    app.broker.push([[NewJob(id=wrong, task="index", payload=encode([["text"], {}]))]])
    jobs = [index.enqueue(1), index.enqueue(2)]

    with app.worker():
        assert [job.result(10) for job in jobs] == [2, 2]

    found = app.get(wrong)
    assert found is not None
    assert found.reason == "invalid_arguments"


@either
def test_max_time_ends_the_call_and_what_was_said_before_stands(app: QueueTasks, is_async: bool) -> None:
    released = threading.Event()

    def hang(numbers: Batch[int]) -> Any:
        numbers.succeed(0, "in time")
        return asyncio.sleep(LONG) if is_async else released.wait(LONG)

    jobs = many(declare(app, is_async, hang, max_time=0.2), 3)

    with app.worker():
        all_ended(jobs)
        released.set()

    assert jobs[0].result() == "in time"
    assert [job.reason for job in jobs[1:]] == ["timeout", "timeout"]


@either
def test_one_job_is_cancelled_and_the_others_of_the_call_go_on(app: QueueTasks, is_async: bool) -> None:
    begun, released = threading.Event(), threading.Event()

    async def wait_on_loop() -> None:
        while not released.is_set():
            await asyncio.sleep(0.005)

    def index(numbers: Batch[int]) -> Any:
        begun.set()
        return wait_on_loop() if is_async else released.wait(LONG) and None

    jobs = many(declare(app, is_async, index), 3)

    with app.worker():
        assert begun.wait(10)
        jobs[1].cancel()
        wait_until(lambda: states(jobs)[1] is JobState.CANCELLED, "it is cancelled while the call goes on")
        released.set()
        assert [jobs[0].result(10), jobs[2].result(10)] == [None, None]


def test_a_call_whose_jobs_are_all_cancelled_is_asked_to_stop(app: QueueTasks) -> None:
    begun, seen = threading.Event(), list[bool]()

    def index(numbers: Batch[int]) -> None:
        begun.set()
        seen.append(ctx.sleep(LONG))

    jobs = many(declare(app, False, index), 2)

    with app.worker():
        assert begun.wait(10)

        for job in jobs:
            job.cancel()

        wait_until(lambda: seen == [False], "the call was asked to stop")

    assert states(jobs) == [JobState.CANCELLED] * 2


def test_a_job_that_waits_for_company_is_cancelled_at_once(app: QueueTasks) -> None:
    task = declare(app, False, lambda numbers: [len(numbers)] * len(numbers), batch=3, batch_wait=LONG)

    with app.worker():
        given_up = task.enqueue(0)
        wait_until(lambda: given_up.refresh().status is JobState.RUNNING, "it is collected")
        given_up.cancel()

        with pytest.raises(JobCancelled):
            given_up.result(10)

        assert [job.result(10) for job in many(task, 3)] == [3, 3, 3]


def test_what_waits_for_company_is_given_back_when_the_worker_stops(app: QueueTasks) -> None:
    task = declare(app, False, lambda numbers: None, batch=10, batch_wait=LONG)

    with app.worker():
        jobs = many(task, 3)
        wait_until(lambda: states(jobs) == [JobState.RUNNING] * 3, "they are collected")

    assert states(jobs) == [JobState.READY] * 3
    assert [job.attempt for job in jobs] == [0, 0, 0]


def test_what_ctx_tells_is_told_of_every_job(app: QueueTasks) -> None:
    def index(numbers: Batch[int]) -> None:
        ctx.log("once")
        ctx.progress(1, 2, "half")
        ctx.meta["seen"] = [*ctx.meta, len(numbers)]
        ctx.save_meta()

    jobs = many(declare(app, False, index), 3)

    with app.worker():
        all_ended(jobs)

    assert [job.progress and job.progress.note for job in jobs] == ["half"] * 3
    assert [job.meta for job in jobs] == [{"seen": [3]}] * 3
    followed = app.broker.follow([Reading(job.id) for job in jobs])
    assert [[event.data for event in one.events] for one in followed if one] == [[encode("once")]] * 3


def test_a_batch_says_which_jobs_it_is_made_of(app: QueueTasks) -> None:
    jobs = many(declare(app, False, lambda numbers: [str(job.id) for job in numbers.jobs]), 3)

    with app.worker():
        assert [job.result(10) for job in jobs] == [str(job.id) for job in jobs]


def test_what_a_batch_enqueues_is_nobodys_child(app: QueueTasks) -> None:
    @app.task
    def following(number: int) -> int:
        return number

    def index(numbers: Batch[int]) -> list[str]:
        assert ctx.is_batch
        return [str(following.enqueue(number).id) for number in numbers]

    jobs = many(declare(app, False, index), 2)

    with app.worker():
        made = [app.get(job.result(10)) for job in jobs]

    assert [job and job.row.parent for job in made] == [None, None]


def test_what_the_worker_fills_in_stands_beside_the_list(app: QueueTasks) -> None:
    def session() -> Iterator[str]:
        yield "session"

    @app.task(batch=3, batch_wait=0)
    def with_context(numbers: list[int], context: Context) -> list[str]:
        return [context.task_name for _ in numbers]

    @app.task(batch=3, batch_wait=0)
    async def with_session(numbers: list[int], opened: str = Depends(session)) -> list[str]:
        return [opened for _ in numbers]

    with app.worker():
        assert with_context.enqueue(1).result(10) == "with_context"
        assert with_session.enqueue(1).result(10) == "session"


def test_middleware_of_the_application_stands_around_the_call(app: QueueTasks) -> None:
    seen: list[int] = []

    @app.middleware
    def count(following: Callable[[Call], Any]) -> Callable[[Call], Any]:
        async def handle(call: Call) -> Any:
            seen.append(len(call.args[0]))
            return await following(call)

        return handle

    jobs = many(declare(app, False, lambda numbers: list(numbers)), 3)

    with app.worker():
        assert [job.result(10) for job in jobs] == [0, 1, 2]

    assert seen == [3]


def test_events_and_callbacks_are_those_of_each_job(app: QueueTasks) -> None:
    told: list[str] = []
    app.on.started(lambda event: told.append(event.name))
    app.on.succeeded(lambda event: told.append(event.name))

    @app.on.failed
    def note(event: Event) -> None:
        told.append(f"{event.name} {event.error.type if event.error else ''}")

    jobs = many(declare(app, False, lambda numbers: [1, KeyError("x"), 3]), 3)

    with app.worker():
        all_ended(jobs)

    assert sorted(told) == ["failed KeyError", *["started"] * 3, *["succeeded"] * 2]


def test_a_step_of_a_chain_takes_its_value_from_the_step_before(app: QueueTasks) -> None:
    @app.task
    def produce(number: int) -> int:
        return number + 1

    @app.task(batch=2, batch_wait=LONG)
    def consume(numbers: list[int]) -> list[int]:
        return [number * 10 for number in numbers]

    with app.worker():
        ends = [chain(produce.s(number), consume.s()).enqueue() for number in (1, 2)]
        assert [end.result(10) for end in ends] == [20, 30]


def test_a_batch_task_may_be_declared_while_the_worker_runs(app: QueueTasks) -> None:
    app.task(name="first")(lambda: None)

    with app.worker():
        assert app.add_task("first").result(10) is None
        assert declare(app, False, lambda numbers: list(numbers)).enqueue(7).result(10) == 7


@either
def test_a_shared_task_may_be_a_batch(app: QueueTasks, is_async: bool) -> None:
    sizes: list[int] = []

    def shared_double(numbers: Batch[int]) -> list[int]:
        sizes.append(len(numbers))
        return [number * 2 for number in numbers]

    async def shared_adouble(numbers: Batch[int]) -> list[int]:
        return shared_double(numbers)

    task: Any = shared_task(batch=3, batch_wait=0.05, awaiting=is_async)(shared_adouble if is_async else shared_double)
    jobs = [*many(task, 3), app.add_task(task.name, 3)]

    with app.worker(threads=1, concurrency=1):
        assert [job.result(10) for job in jobs] == [0, 2, 4, 6]

    assert sizes == [3, 1]


def test_jobs_of_a_shared_batch_are_called_with_those_of_their_own_application(app: QueueTasks) -> None:
    calls: list[tuple[str, list[int]]] = []

    @shared_task(batch=10, batch_wait=0.05)
    def shared_index(numbers: Batch[int]) -> None:
        calls.append((ctx.host.app.name, list(numbers)))

    other = QueueTasks("the-other", "memory://")
    mine, others = many(app.tasks["shared_index"], 2), many(shared_index, 3)

    with app.worker(), other.worker():
        assert [job.result(10) for job in (*mine, *others)] == [None] * 5

    other.close()
    assert sorted(calls) == [(app.name, [0, 1]), ("the-other", [0, 1, 2])]


@pytest.mark.parametrize("first", ["declared", "included"])
def test_a_task_of_a_router_may_be_a_batch(app: QueueTasks, first: str) -> None:
    router = Router("mail", priority=3)

    if first == "included":
        app.include_router(router)

    @router.task("index", batch=3, batch_wait=LONG)
    def index(numbers: Batch[int], context: Context = ctx) -> list[list[int]]:
        return [[number, len(numbers)] for number in numbers if context.task_name == "mail.index"]

    if first == "declared":
        app.include_router(router)

    jobs = [*many(index, 2), index.using(priority=5).enqueue(2)]

    with app.worker():
        assert [job.result(10) for job in jobs] == [[0, 3], [1, 3], [2, 3]]

    assert [(job.task_name, job.priority) for job in jobs] == [("mail.index", 3)] * 2 + [("mail.index", 5)]


def test_batch_may_be_an_option_of_the_whole_router(app: QueueTasks) -> None:
    router = Router(batch=2, batch_wait=LONG)

    @router.task
    def pairs(numbers: Batch[int]) -> list[int]:
        return [len(numbers)] * len(numbers)

    app.include_router(router)
    jobs = many(app.tasks["pairs"], 4)

    with app.worker():
        assert [job.result(10) for job in jobs] == [2] * 4


@pytest.mark.parametrize("declare_apart", [shared_task, Router().task], ids=["shared", "router"])
def test_what_is_wrong_with_a_batch_is_told_without_an_application_too(declare_apart: Any) -> None:
    def one_text(text: str) -> None: ...

    with pytest.raises(ConfigError, match=r"task one_text \(.*expected the parameter 'text' to be a list"):
        declare_apart(batch=3)(one_text)

    with pytest.raises(ConfigError, match="expected batch to be a whole number"):
        declare_apart("index", batch=0)(lambda numbers: None)


def test_batches_get_their_turn_beside_other_tasks(app: QueueTasks) -> None:
    order: list[str] = []

    @app.task
    def plain(number: int) -> None:
        order.append("plain")
        ctx.sleep(0.002)

    task = declare(app, False, lambda numbers: order.append("batch"), batch=5)
    plain.enqueue_many([(number,) for number in range(200)])
    jobs = many(task, 5)

    with app.worker(threads=1):
        all_ended(jobs)

    assert "batch" in order[:150]


@pytest.mark.parametrize("inline", [False, True], ids=["drain", "inline"])
def test_the_testing_kit_runs_batches_of_what_waits(app: QueueTasks, inline: bool) -> None:
    sizes: list[int] = []

    @app.task(batch=4, batch_wait=LONG)
    def index(numbers: list[int]) -> list[Any]:
        sizes.append(len(numbers))
        return [ValueError("three") if number == 3 else number for number in numbers]

    @app.task(batch=4, batch_wait=LONG)
    async def aindex(numbers: list[int]) -> list[int]:
        return [len(numbers) for _ in numbers]

    with app.testing(inline=inline) as kit:
        jobs, others = many(index, 6), many(aindex, 3)

        if not inline:
            drained = kit.drain()
            assert (drained.succeeded, drained.failed) == (8, 1)

        assert states(jobs) == [*[JobState.SUCCEEDED] * 3, JobState.FAILED, *[JobState.SUCCEEDED] * 2]
        assert [job.result() for job in others] == [3, 3, 3]

    assert sizes == [4, 2]


def test_a_failure_of_the_call_is_raised_by_the_testing_kit(app: QueueTasks) -> None:
    def index(numbers: Batch[int]) -> None:
        raise LookupError("nothing there")

    task = declare(app, False, index)

    with app.testing() as kit:
        many(task, 2)

        with pytest.raises(JobFailed) as caught:
            kit.drain(raise_errors=True)

        assert isinstance(caught.value.__cause__, LookupError)


def test_the_error_of_a_call_stands_in_the_log_once(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    def index(numbers: Batch[int]) -> None:
        raise LookupError("nothing there")

    jobs = many(declare(app, False, index), 5)

    with app.worker():
        all_ended(jobs)

    assert [record.getMessage() for record in caplog.records if "index" in record.getMessage()] == [
        "a call of index for 5 jobs failed, 0 of them will be tried again: LookupError"
    ]
    assert caplog.text.count("LookupError: nothing there") == 1


def test_ten_thousand_jobs_are_one_call(app: QueueTasks) -> None:
    jobs = many(declare(app, False, lambda numbers: [len(numbers)] * len(numbers), batch=10_000, batch_wait=5), 10_000)

    with app.worker():
        assert jobs[0].result(20) == 10_000
        wait_until(lambda: jobs[-1].refresh().status is JobState.SUCCEEDED, "all are settled", 20)
