"""No further thread can be started, as where memory is short or a limit is reached: nothing is lost, and what can goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from cherga import Event, JobState, QueueTasks, WouldDeadlock
from cherga.testing import wait_until
from cherga.words.clock import SystemClock
from cherga.worker.assignment import Assignment
from cherga.worker.executor import Executor
from cherga.worker.herald import Herald
from cherga.worker.loop import LoopRunner
from cherga.worker.pace import Pace
from cherga.worker.threads import LEFT_TO_OTHERS, ThreadRunner

WAIT = 10.0
IMPOSSIBLE = 1 << 47
"""Bytes of a stack that no machine has."""


@contextmanager
def no_room() -> Iterator[None]:
    """Every start of a thread in this process fails meanwhile."""
    before = threading.stack_size(IMPOSSIBLE)

    try:
        yield
    finally:
        threading.stack_size(before)


class NoExecutor:
    """Runs nothing, and notes what should run."""

    clock = SystemClock()

    def __init__(self) -> None:
        self.ran: list[object] = []

    def run(self, assignment: object, slot: int) -> None:
        self.ran.append(assignment)


def runner(kind: type[Any], executor: NoExecutor) -> Any:
    return kind(cast(Executor, executor), range(2), Pace(2, 0.05, 1000, SystemClock()), lambda: None, range(2, 4))


def test_events_are_told_once_there_is_room_for_a_thread() -> None:
    herald, told = Herald(), list[int]()

    with no_room():
        for number in range(3):
            herald.call(lambda number=number: told.append(number))  # type: ignore[misc]

        assert not herald.idle

    herald.go_on()
    wait_until(lambda: herald.idle, "all are told")
    herald.stop(WAIT)
    assert told == [0, 1, 2]


def test_events_are_told_at_the_end_where_there_never_was_room() -> None:
    herald, told = Herald(), list[int]()

    with no_room():
        herald.call(lambda: told.append(1))
        herald.stop(WAIT)

    assert told == [1]


def test_a_slot_that_could_not_be_lent_may_be_lent_later() -> None:
    threads = runner(ThreadRunner, NoExecutor())
    threads.start()

    with no_room():
        assert [threads.lend() for _ in range(5)] == [False] * 5

    assert (threads.lent, threads.free()) == (0, 2)
    assert [threads.lend() for _ in range(3)] == [True, True, False]
    threads.stop()


@pytest.mark.parametrize("kind", [ThreadRunner, LoopRunner])
def test_jobs_of_a_runner_without_a_thread_are_given_back_whole(kind: type[Any]) -> None:
    waiting = runner(kind, NoExecutor())
    jobs = [cast(Assignment, object()) for _ in range(3)]

    with no_room():
        waiting.submit(jobs)

        with pytest.raises(RuntimeError, match="expected room for"):
            waiting.start()

    assert waiting.in_hand() == 3
    assert waiting.take_back() == jobs
    assert waiting.in_hand() == 0
    assert waiting.room() >= 1


class Crowded(ThreadRunner):
    """There is room for so many threads."""

    room_for = 0

    def _start_thread(self, slot: int) -> bool:
        type(self).room_for -= 1
        return self.room_for >= 0 and super()._start_thread(slot)


@pytest.mark.parametrize(("room", "used"), [(8, 8), (7, 3), (LEFT_TO_OTHERS + 1, 1), (1, 1)])
def test_a_runner_does_with_fewer_threads_and_leaves_some_to_others(room: int, used: int) -> None:
    executor = NoExecutor()
    threads = Crowded(cast(Executor, executor), range(8), Pace(8, 0.05, 1000, SystemClock()), lambda: None)
    Crowded.room_for = room
    threads.start()
    wait_until(lambda: threads._alive == used, "the others have ended")

    assert (threads.free(), threads.room()) == (used, used)
    threads.submit([cast(Assignment, object()) for _ in range(20)])
    wait_until(lambda: len(executor.ran) == 20, "all are run")
    threads.stop()


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("crowded", "memory://", grace=1)
    yield app
    app.close()


def test_ends_are_stored_though_no_thread_can_be_had_to_tell_of_them(app: QueueTasks) -> None:
    told: list[Event] = []
    app.on.succeeded(told.append)
    work = app.task(name="work")(lambda: None)

    with app.worker(threads=2, concurrency=2):
        app.on.worker_started.handlers.clear()

        with no_room():
            jobs = work.enqueue_many([()] * 20)
            wait_until(lambda: {job.refresh().status for job in jobs} == {JobState.SUCCEEDED}, "all have ended")

    assert {event.job_id for event in told} == {job.id for job in jobs}


def test_a_job_that_cannot_lend_its_slot_is_refused_the_wait_and_the_slot_is_kept(app: QueueTasks) -> None:
    @app.task
    def child() -> str:
        return "child"

    @app.task
    def parent(crowded: bool) -> Any:
        job = child.enqueue()

        if not crowded:
            return job.result(WAIT)

        with no_room(), pytest.raises(WouldDeadlock):
            job.result(WAIT)

        return "refused"

    with app.worker(threads=1, concurrency=1):
        assert parent.enqueue(True).result(WAIT) == "refused"
        assert parent.enqueue(False).result(WAIT) == "child"


def test_a_block_that_cannot_begin_leaves_nothing_behind(app: QueueTasks) -> None:
    work = app.task(name="work")(lambda: "done")
    told: list[Event] = []
    app.on.worker_stopped(told.append)
    before = set(threading.enumerate())
    job = work.enqueue()

    with no_room(), pytest.raises(RuntimeError, match="can't start new thread"), app.worker():
        pytest.fail("it works")

    assert set(threading.enumerate()) <= before
    assert app.broker.workers() == []
    assert told == []

    with app.worker():
        assert job.result(WAIT) == "done"
