"""A ``Job`` handle: a snapshot that can be read again, waited for, cancelled and retried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec import Struct

from cherga import (
    ConfigError,
    InvalidArguments,
    Job,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    JobState,
    QueueTasks,
    Reason,
    ResultExpired,
    ResultTimeout,
    Task,
)
from cherga.client.ids import new_id
from cherga.rules.codec import encode
from cherga.testing import wait_until
from cherga.words.job import Attempt, JobRow
from cherga.words.settlement import Settlement
from tests.live_hand import Hand


class Point(Struct):
    x: int
    y: int


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("shop", "memory://")


@pytest.fixture
def work(app: QueueTasks) -> Task[[int], Point]:
    @app.task
    def work(x: int) -> Point:
        return Point(x, x)

    return work


class Ender:
    """Ends the job in hand in any way a worker can."""

    def __init__(self, app: QueueTasks) -> None:
        self.hand = Hand(app)
        self.hand.claim()
        self._broker = app.broker

    def settle(self, to: JobState, **more: Any) -> None:
        job = self.hand.job
        self._broker.settle([Settlement(job.id, job.sequence, job.token, to, **more)])

    def succeed(self, value: Any) -> None:
        self.settle(JobState.SUCCEEDED, result=encode(value))

    def fail(self, error: JobError, reason: Reason = Reason.ERROR) -> None:
        self.settle(JobState.FAILED, reason=reason, attempt=Attempt(1, "here", 1.0, 2.0, reason, error))


# --- results


def test_a_result_comes_back_as_the_type_the_task_returns(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).succeed(Point(1, 2))

    assert job.result(0) == Point(1, 2)
    assert asyncio.run(job.aresult(0)) == Point(1, 2)


def test_a_result_of_another_shape_comes_back_as_plain_data(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).succeed({"left": 1})

    assert Job[Any](job.row, app).result(0) == {"left": 1}


def test_a_result_of_a_task_that_is_not_declared_here_is_plain_data(app: QueueTasks) -> None:
    app.task(name="far")(lambda: None)
    job = app.add_task("far")
    Ender(app).succeed(Point(1, 2))
    elsewhere: Job[Any] = Job(job.refresh().row, app)
    del app.tasks["far"]

    assert elsewhere.result(0) == {"x": 1, "y": 2}


def test_none_is_a_result(app: QueueTasks) -> None:
    job = app.task(name="work")(lambda: None).enqueue()
    Ender(app).succeed(None)

    assert job.result(0) is None


def test_a_result_that_is_not_kept_says_so(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).settle(JobState.SUCCEEDED)

    with pytest.raises(ResultExpired, match=r"job .* \(work\) succeeded, but its result is not kept"):
        job.result(0)


def test_a_repeated_enqueue_has_the_result_of_the_first(app: QueueTasks, work: Task[[int], Point]) -> None:
    id = new_id()
    work.using(id=id).enqueue(1)
    Ender(app).succeed(Point(1, 2))

    assert work.using(id=id).enqueue(1).result(0) == Point(1, 2)
    assert asyncio.run(aenqueue_again(work, id)) == Point(1, 2)


async def aenqueue_again(work: Task[[int], Point], id: UUID) -> Point:
    return await (await work.using(id=id).aenqueue(1)).aresult(0)


def test_a_failed_job_raises_with_the_remote_traceback(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).fail(JobError("KeyError", "'x'", "Traceback: over there"))

    with pytest.raises(JobFailed, match="over there") as caught:
        job.result(0)

    error = caught.value
    assert (error.job_id, error.reason, error.type_name, error.message) == (job.id, "error", "KeyError", "'x'")
    assert job.error == JobError("KeyError", "'x'", "Traceback: over there")


def test_a_job_that_failed_without_an_attempt_still_says_why(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).settle(JobState.FAILED, reason=Reason.POISON, message="its process died three times")

    with pytest.raises(JobFailed, match=r"failed \(poison\): poison: its process died three times"):
        job.result(0)


def test_a_cancelled_job_raises_with_the_words_of_whoever_did_it(work: Task[[int], Point]) -> None:
    job = work.enqueue(1)

    assert job.cancel("wrong file")

    with pytest.raises(JobCancelled, match=r"was cancelled \(asked\): wrong file"):
        job.result(0)


# --- waiting


def test_a_wait_ends_with_its_timeout_and_leaves_the_job_alone(work: Task[[int], Point]) -> None:
    job = work.enqueue(1)

    for timeout in (0, 0.01, timedelta(milliseconds=10)):
        with pytest.raises(ResultTimeout, match=r"job .* \(work\) is still ready after 0(\.01)? seconds"):
            job.result(timeout)

        with pytest.raises(ResultTimeout, match="is still ready after"):
            asyncio.run(job.aresult(timeout))

    assert job.refresh().status is JobState.READY


@pytest.mark.parametrize("timeout", [-1, "1", True])
def test_a_timeout_that_is_none_is_refused(work: Task[[int], Point], timeout: Any) -> None:
    with pytest.raises(ConfigError, match="expected timeout to be seconds, a timedelta or"):
        work.enqueue(1).result(timeout)


def test_many_async_waits_end_together(app: QueueTasks, work: Task[[int], Point]) -> None:
    async def wait_for_all() -> list[Point]:
        jobs = [await work.aenqueue(1) for _ in range(5)]
        waits = asyncio.gather(*(job.aresult(10) for job in jobs))

        for number, _ in enumerate(jobs):
            await asyncio.to_thread(Ender(app).succeed, Point(number, number))

        return await waits

    assert asyncio.run(wait_for_all()) == [Point(n, n) for n in range(5)]


def test_a_job_that_is_gone_ends_the_wait(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).settle(JobState.SUCCEEDED, keep=0.0)

    with pytest.raises(JobNotFound, match=r"job .* \(work\) is not kept any more"):
        job.result(1)

    with pytest.raises(JobNotFound):
        asyncio.run(job.aresult(1))


# --- looking


def test_attributes_are_a_snapshot_and_questions_are_read_live(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    ender = Ender(app)

    assert (job.status, job.started_at) == (JobState.READY, None)
    assert (job.is_running, job.is_finished) == (True, False)
    assert job.status is JobState.RUNNING
    ender.succeed(Point(1, 1))
    assert job.status is JobState.RUNNING
    assert (job.is_finished, job.is_succeeded, job.is_failed, job.is_cancelled) == (True, True, False, False)


def test_what_a_job_tells_can_be_read(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    hand = Hand(app)
    hand.claim()

    assert (job.progress, job.meta) == (None, {})
    hand.progress(1, 4, "one of four")
    hand.meta({"file": "a.txt"})
    job.refresh()
    assert job.progress is not None
    assert (job.progress.percent, job.progress.note) == (25.0, "one of four")
    assert job.meta == {"file": "a.txt"}


def test_the_history_holds_the_success_too(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).succeed(Point(1, 1))
    (attempt,) = job.refresh().attempts

    assert (attempt.number, attempt.worker, attempt.reason) == (1, "hand", None)
    assert attempt.started_at <= attempt.finished_at
    assert job.error is None


def test_a_row_that_cannot_be_read_is_shown_as_far_as_it_goes() -> None:
    """A handle shows, it does not judge."""
    app = QueueTasks("shop", "memory://")
    row = JobRow(
        id=new_id(), sequence=1, task="work", queue="default", priority=0, state=JobState.FAILED,
        head=b"\xc1", progress=b"\x91", meta=b"\xc1", attempts=b"\xff", payload=b"\xc1",
    )  # fmt: skip
    job: Job[Any] = Job(row, app)

    assert (job.description, job.progress, job.meta, job.attempts, job.arguments, job.error) == (None, None, {}, [], None, None)

    with pytest.raises(JobFailed):
        job.result()


def test_handles_of_one_job_are_equal(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    same = app.get(job.id)

    assert same == job
    assert len({job, same}) == 1
    assert job != work.enqueue(1)
    assert job != job.id
    assert repr(job) == f"<Job {job.id} work ready>"


def test_a_job_is_found_by_its_id_or_its_text(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)

    assert app.get(str(job.id)) == job
    assert asyncio.run(app.aget(job.id)) == job
    assert app.get(new_id()) is None

    with pytest.raises(ValueError, match="expected a job's id to be a UUID or its text, got 'seven'"):
        app.get("seven")


# --- lists


def test_jobs_are_listed_newest_first_by_what_they_are(app: QueueTasks, work: Task[[int], Point]) -> None:
    first = work.using(owner="user:1").enqueue(1)
    second = work.using(owner="user:2", queue="mail").enqueue(2)
    third = work.using(owner="user:2").enqueue(3)
    second.cancel()

    assert app.jobs() == [third, second, first]
    assert app.jobs(owner="user:2") == [third, second]
    assert app.jobs(owner="user:2", unfinished=True) == [third]
    assert app.jobs(queue="mail") == app.jobs(states=["cancelled"]) == app.jobs(states=(JobState.CANCELLED,)) == [second]
    assert app.jobs(task="other") == []
    assert app.jobs(limit=1) == asyncio.run(app.ajobs(limit=1)) == [third]


def test_the_next_page_begins_after_the_last_job_of_this_one(app: QueueTasks, work: Task[[int], Point]) -> None:
    jobs = work.enqueue_many([(n,) for n in range(5)])
    page = app.jobs(limit=2)

    assert page == [jobs[4], jobs[3]]
    assert app.jobs(limit=2, before=page[-1]) == [jobs[2], jobs[1]]


def test_a_page_may_begin_after_a_job_that_was_just_enqueued(app: QueueTasks, work: Task[[int], Point]) -> None:
    jobs = work.enqueue_many([(n,) for n in range(3)])

    assert app.jobs(before=jobs[2]) == [jobs[1], jobs[0]]


# --- verbs


def test_a_final_job_may_run_again(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)

    assert not job.retry()
    job.cancel()
    assert not job.cancel()
    assert job.retry()
    assert (job.refresh().status, job.attempt, job.message) == (JobState.READY, 0, None)


@pytest.mark.parametrize("message", [7, "half \ud83d"])
def test_words_that_cannot_be_stored_cancel_nothing(work: Task[[int], Point], message: Any) -> None:
    job = work.enqueue(1)

    with pytest.raises(ConfigError, match="expected message to be text"):
        job.cancel(message)

    assert job.refresh().status is JobState.READY


def test_every_verb_has_an_async_twin(app: QueueTasks, work: Task[[int], Point]) -> None:
    async def all_verbs() -> list[Any]:
        job = await work.aenqueue(1)
        named = await app.aadd_task("work", 2, priority=3)
        many = await work.aenqueue_many([(1,), (2,)])
        more = await work.using(priority=1).aenqueue_many([(1,)])
        assert (named.priority, len(many), more[0].priority) == (3, 2, 1)
        assert await work.aenqueue_many([]) == []
        return [await job.acancel("no"), (await job.arefresh()).message, await job.aretry(), (await job.arefresh()).status]

    assert asyncio.run(all_verbs()) == [True, "no", True, JobState.READY]


def test_a_sender_by_name_may_wait_for_the_end(app: QueueTasks, work: Task[[int], Point]) -> None:
    with pytest.raises(ResultTimeout):
        app.add_task("work", 1, timeout=0.01)

    with pytest.raises(ResultTimeout):
        asyncio.run(app.aadd_task("work", 1, timeout=0.01))

    with pytest.raises(ConfigError, match="expected timeout"):
        app.add_task("work", 1, timeout=-1)


def test_arguments_are_checked_before_an_async_enqueue_leaves(work: Task[[int], Point]) -> None:
    with pytest.raises(InvalidArguments):
        asyncio.run(work.aenqueue("one"))  # type: ignore[arg-type]


def test_waiting_threads_wake_when_the_job_ends(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    results: list[Point] = []

    async def wait_and_keep() -> None:
        results.append(await job.aresult(10))

    run_beside(lambda: asyncio.run(wait_and_keep()), lambda: Ender(app).succeed(Point(3, 4)))
    wait_until(lambda: results, "the wait has ended")
    assert results == [Point(3, 4)]


def run_beside(slow: Callable[[], None], quick: Callable[[], None]) -> None:
    """Run the first on a thread while the second runs here."""

    async def both() -> None:
        waiting = asyncio.get_running_loop().run_in_executor(None, slow)
        await asyncio.to_thread(quick)
        await waiting

    asyncio.run(both())


def test_results_survive_a_round_trip_of_the_row(app: QueueTasks, work: Task[[int], Point]) -> None:
    job = work.enqueue(1)
    Ender(app).succeed(Point(1, 2))
    row = msgspec.msgpack.decode(msgspec.msgpack.encode(job.refresh().row), type=JobRow)

    assert Job[Point](row, app).result() == Point(1, 2)
