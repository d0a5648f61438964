"""A thread is stopped at any point of an enqueue, or enqueues again in the middle of it: nothing is lost, kept back or held."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import pytest

from cherga import EnqueueRefused, QueueTasks, Task
from cherga.brokers.sqlite.forks import LONGEST_WAIT
from cherga.brokers.sqlite.push import push_groups
from cherga.brokers.sqlite.write import Write
from cherga.words.clock import SystemClock
from cherga.words.inspection import JobFilter
from cherga.words.shared import PauseScope
from tests.sqlite_files import new_job, opened, raw

Work = Task[[Any], None]


class Stopped(BaseException):
    """What a thread is told to end with, as by Ctrl-C or by a greenlet that is killed."""


@pytest.fixture(params=["memory://", "sqlite:///{}/jobs.db?durability=process", "sqlite:///{}/jobs.db"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueTasks]:
    app = QueueTasks("shop", request.param.format(tmp_path))
    keep = app.broker
    yield app
    app.close()
    del keep


@contextmanager
def alarms(handler: Callable[..., None]) -> Iterator[None]:
    """Handle the alarm for the block, which sets it."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())

    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def numbers(app: QueueTasks) -> list[int]:
    """Of the jobs that are stored."""
    return sorted(job.arguments["n"] for job in app.jobs(limit=10_000))


def test_an_enqueue_in_a_signal_handler_is_stored_and_so_is_what_it_interrupts(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda n: None)
    inner: list[UUID] = []

    with alarms(lambda: inner.append(task.enqueue(1).id)):
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.003)
        outer: list[UUID] = []

        while len(inner) < 20:
            outer.append(task.enqueue(0).id)

    assert len(app.jobs(limit=10_000_000)) == len({*inner, *outer}) == len(inner) + len(outer)


def test_an_enqueue_at_any_step_of_another_is_stored_and_so_is_the_other(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda n: None)
    steps = count_steps(lambda: task.enqueue(0))
    inner: list[UUID] = []
    outer: list[UUID] = []

    for step in range(1, steps, 2):
        with at_step(step, lambda: inner.append(task.enqueue(1).id)):
            outer.append(task.enqueue(0).id)

    assert len(inner) == len(outer) > 20
    assert {job.id for job in app.jobs(limit=10_000)} >= {*inner, *outer}
    assert len(app.jobs(limit=10_000)) == 1 + len({*inner, *outer}) == 1 + 2 * len(outer)


def test_two_enqueues_of_which_one_interrupts_the_other_are_one_unique_job(app: QueueTasks) -> None:
    task = app.task(name="work", unique=True)(lambda n: None)

    for step in range(1, count_steps(lambda: task.enqueue(0)), 3):
        ids: list[UUID] = []

        with at_step(step, partial(_enqueue_into, ids, task, step)):
            _enqueue_into(ids, task, step)

        assert len(ids) == 2
        assert [job.id for job in app.jobs(limit=1)] == [ids[0]] == [ids[1]]


def test_of_two_enqueues_that_interrupt_each_other_one_is_refused_where_the_task_wants_that(app: QueueTasks) -> None:
    task = app.task(name="work", unique=True, on_conflict="refuse")(lambda n: None)
    refused: list[int] = []
    task.enqueue(0)

    def enqueue(number: int) -> None:
        try:
            task.enqueue(number)
        except EnqueueRefused:
            refused.append(number)

    for step in range(1, count_steps(lambda: task.enqueue(-1)), 3):
        with at_step(step, partial(enqueue, step)):
            enqueue(step)

        assert refused.pop() == step
        assert numbers(app).count(step) == 1


def test_a_job_that_interrupts_the_first_of_its_task_keeps_its_task_when_that_one_is_never_stored(tmp_path: Path) -> None:
    inner, pushed = new_job(task="fresh"), list[UUID]()

    def push_and_fail(write: Write) -> None:
        if pushed:  # it begins again
            raise LookupError

        push_groups(write, [[new_job(task="fresh")]])
        pushed.extend(job.id for job in broker.push([[inner]])[0].jobs)

    with opened(tmp_path / "jobs.db", durability="process") as broker:
        with pytest.raises(LookupError):
            broker._write(push_and_fail)

        assert [(row.id, row.task) for row in broker.find(JobFilter())] == [(inner.id, "fresh")]


def test_any_write_may_be_interrupted_by_an_enqueue(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda n: None)
    inner: list[UUID] = []

    def cancel_one() -> None:
        job = task.using(run_in=60).enqueue(0)
        job.cancel()
        assert job.refresh().status == "cancelled"

    for step in range(1, count_steps(cancel_one), 5):
        with at_step(step, lambda: inner.append(task.enqueue(1).id)):
            cancel_one()

    assert len(inner) > 20
    assert all(app.get(id) for id in inner)


def test_two_applications_on_one_file_may_interrupt_each_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?durability=process"
    app, other = QueueTasks("shop", url), QueueTasks("shop", url)
    task, inner = app.task(name="work")(lambda n: None), other.task(name="work")(lambda n: None)
    inner.enqueue(0)

    for step in range(1, count_steps(lambda: task.enqueue(0)), 4):
        with at_step(step, lambda: inner.enqueue(1)):
            task.enqueue(0)

    counts = [numbers(app).count(n) for n in (0, 1)]
    assert counts[0] == counts[1] + 2
    app.close()
    other.close()


def test_an_enqueue_while_garbage_is_collected_is_stored(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda n: None)
    inner: list[UUID] = []

    class Owner:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            inner.append(task.enqueue(1).id)

    before = gc.get_threshold()
    gc.set_threshold(50, 5, 5)

    try:
        outer = []

        for number in range(300):
            Owner() if number % 5 == 0 else None
            outer.append(task.enqueue(0).id)
    finally:
        gc.set_threshold(*before)

    gc.collect()
    assert len(inner) == 60
    assert {job.id for job in app.jobs(limit=10_000)} == {*inner, *outer}


def test_a_thread_that_is_stopped_anywhere_leaves_nothing_for_later_and_holds_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?durability=process"
    app, other = QueueTasks("shop", url), QueueTasks("shop", url)
    task = app.task(name="work")(lambda n: None)
    chance = random.Random(7)
    number = stopped = 0

    def stop() -> None:
        raise Stopped

    task.enqueue(0)
    before = set(numbers(app))

    with alarms(stop):
        while stopped < 60:
            number += 1

            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00001, 0.0004))
                task.enqueue(number)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Stopped:
                stopped += 1
                stored = set(numbers(app)) - before
                assert stored <= {number}
                task.enqueue(-number)
                assert set(numbers(app)) - before - stored == {-number}
            else:
                assert number in numbers(app)

            before = set(numbers(app))

    other.broker.pause(PauseScope(queue="mail"), True)
    began = SystemClock.monotonic()
    fork_and_enqueue(task)
    assert SystemClock.monotonic() - began < LONGEST_WAIT
    app.close()
    other.close()


def test_a_caller_that_is_stopped_while_it_waits_is_stored_by_nobody(tmp_path: Path) -> None:
    app = QueueTasks("shop", f"sqlite:///{tmp_path}/jobs.db", busy_timeout=30, enqueue_timeout=30)
    task = app.task(name="work")(lambda n: None)
    task.enqueue(0)

    def stop() -> None:
        raise Stopped

    with raw(tmp_path / "jobs.db") as db, alarms(stop):
        db.execute("begin immediate")
        waits = threading.Thread(target=task.enqueue, args=(1,))
        waits.start()
        signal.setitimer(signal.ITIMER_REAL, 0.3)

        with pytest.raises(Stopped):
            task.enqueue(2)

        db.execute("rollback")
        waits.join()

    task.enqueue(3)
    assert numbers(app) == [0, 1, 3]
    app.close()


def _enqueue_into(ids: list[UUID], task: Work, n: int) -> None:
    ids.append(task.enqueue(n).id)


def fork_and_enqueue(task: Work) -> None:
    child = multiprocessing.get_context("fork").Process(target=task.enqueue, args=(0,))
    child.start()
    child.join(20)
    assert child.exitcode == 0


def count_steps(work: Callable[[], object]) -> int:
    """How many lines of ours run in it."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with each_step(step):
        work()

    return steps


@contextmanager
def at_step(number: int, act: Callable[[], object]) -> Iterator[None]:
    """In the middle of the block, on the same thread, and before this line of ours, ``act`` is called once."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

        if steps == number:
            act()

    with each_step(step):
        yield

    if steps < number:
        act()


@contextmanager
def each_step(step: Callable[[], None]) -> Iterator[None]:
    """Before each line of ours that runs in the block on this thread, ``step`` is called, as a signal handler would be."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if f"{os.sep}cherga{os.sep}" not in frame.f_code.co_filename:
            return None

        if event == "line":
            step()

        return trace

    before = sys.gettrace()
    sys.settrace(trace)

    try:
        yield
    finally:
        sys.settrace(before)
