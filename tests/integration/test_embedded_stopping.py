"""How running jobs are ended: by their limit, by somebody's wish, and by the end of the worker."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from cherga import ConfigError, Job, JobCancelled, JobFailed, JobState, QueueTasks, Reason, Retry, ctx
from cherga.testing import wait_until
from cherga.words.clock import SystemClock
from cherga.words.settlement import Settlement
from cherga.worker.embedded import EmbeddedWorker
from cherga.worker.engine import Engine, Parts
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable
from tests.conftest import NewApp

WAIT = 10.0


class Gate:
    """Tasks tell here that they run, and the deaf ones wait until it opens."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._open = threading.Event()

    def enter(self) -> None:
        """A task runs."""
        self._begun.set()

    def pass_through(self) -> None:
        """A task runs, and hears nothing until the gate opens."""
        self._begun.set()
        self._open.wait(WAIT)

    def open(self) -> None:
        self._open.set()

    def await_entry(self) -> None:
        """Return once a task runs; a claimed job alone is not enough."""
        assert self._begun.wait(WAIT)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Closed until the test opens it, or ends."""
    gate = Gate()
    yield gate
    gate.open()


def declare(app: QueueTasks, gate: Gate) -> None:
    """Tasks that run until they are stopped: a patient thread, a deaf one, and a coroutine."""

    @app.task
    def listening() -> str:
        gate.enter()
        return "told" if not ctx.sleep(WAIT) else "slept"

    @app.task
    def deaf() -> str:
        gate.pass_through()
        return "late"

    @app.task
    async def coroutine() -> str:
        gate.enter()
        await asyncio.Event().wait()
        return "never"

    @app.task
    async def tidy() -> str:
        gate.enter()

        try:
            await asyncio.Event().wait()
        finally:
            ctx.log("tidied up")

        return "never"


def started(job: Job[object]) -> bool:
    return job.refresh().status is JobState.RUNNING


# --- max_time


@pytest.mark.parametrize("name", ["listening", "deaf", "coroutine", "tidy"])
def test_a_run_past_its_limit_fails_with_the_limit_named(app: QueueTasks, gate: Gate, name: str) -> None:
    declare(app, gate)

    with app.worker():
        job = app.tasks[name].using(max_time=0.05).enqueue()

        with pytest.raises(JobFailed, match=r"TimeLimitExceeded: the job ran longer than its max_time of 0\.05 seconds"):
            job.result(WAIT)

        assert job.reason is Reason.TIMEOUT
        gate.open()


@pytest.mark.parametrize("kind", ["thread", "async"])
def test_a_run_past_its_limit_is_tried_again(app: QueueTasks, kind: str) -> None:
    retry = Retry(max=50, backoff=0)  # where the machine is busy, a quick attempt may be late as well

    @app.task(max_time=0.05, retry=retry)
    def thread() -> int:
        return ctx.attempt if ctx.attempt >= 2 or ctx.sleep(WAIT) else 0

    @app.task(name="async", max_time=0.05, retry=retry)
    async def coroutine() -> int:
        if ctx.attempt == 1:
            await asyncio.Event().wait()

        return ctx.attempt

    with app.worker():
        job = app.tasks[kind].enqueue()
        last = job.result(WAIT)

    assert last >= 2
    assert [attempt.reason for attempt in job.attempts] == [Reason.TIMEOUT] * (last - 1) + [None]


def test_an_attempt_that_outlives_its_limit_is_alone_until_it_ends(app: QueueTasks, gate: Gate) -> None:
    """A thread cannot be stopped; a second attempt beside it would do the work twice at the same time."""
    inside: set[int] = set()
    most = 0
    over = threading.Event()

    @app.task(max_time=0.05, retry=Retry(max=50, backoff=0))
    def deaf() -> int:
        nonlocal most
        inside.add(ctx.attempt)
        most = max(most, len(inside))

        if ctx.attempt == 1:
            ctx.sleep(WAIT)
            over.set()
            gate.pass_through()

        inside.remove(ctx.attempt)
        return ctx.attempt

    with app.worker():
        job = deaf.enqueue()
        assert over.wait(WAIT)
        assert started(job)
        gate.open()
        assert job.result(WAIT) >= 2

    assert most == 1


def test_a_coroutine_that_swallows_its_end_is_still_timed_out(app: QueueTasks) -> None:
    @app.task(max_time=0.05)
    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

        return "I go on"

    with app.worker():
        job = stubborn.enqueue()

        with pytest.raises(JobFailed, match="TimeLimitExceeded"):
            job.result(WAIT)


def test_a_run_within_its_limit_is_left_alone(app: QueueTasks) -> None:
    @app.task(max_time=WAIT)
    def quick() -> bool:
        return ctx.remaining is not None and 0 < ctx.remaining <= WAIT and not ctx.cancelled

    with app.worker():
        assert quick.enqueue().result(WAIT)


# --- cancelling


@pytest.mark.parametrize("name", ["listening", "coroutine", "tidy"])
def test_a_running_job_is_cancelled_and_ends(app: QueueTasks, gate: Gate, name: str) -> None:
    declare(app, gate)

    with app.worker():
        job = app.tasks[name].enqueue()
        gate.await_entry()
        assert job.cancel("wrong file")

        with pytest.raises(JobCancelled, match="wrong file"):
            job.result(WAIT)

    assert (job.reason, job.message) == (Reason.ASKED, "wrong file")


def test_a_thread_that_hears_nothing_is_cancelled_in_the_store_at_once(app: QueueTasks, gate: Gate) -> None:
    declare(app, gate)

    with app.worker(threads=1):
        job = app.tasks["deaf"].enqueue()
        gate.await_entry()
        job.cancel()

        with pytest.raises(JobCancelled):
            job.result(WAIT)

        behind = app.tasks["listening"].enqueue()
        gate.open()
        wait_until(lambda: started(behind), "the thread takes the next job once it is free")
        behind.cancel()

    assert job.refresh().status is JobState.CANCELLED


def test_a_cancelled_coroutine_tidies_up_before_it_ends(app: QueueTasks, gate: Gate) -> None:
    declare(app, gate)

    with app.worker():
        job = app.tasks["tidy"].enqueue()
        gate.await_entry()
        job.cancel()
        lines = [line for update in app.watch(job.id) for line in update.logs]

    assert lines == ["tidied up"]


def test_a_job_that_waits_behind_others_is_cancelled_without_running(app: QueueTasks, gate: Gate) -> None:
    declare(app, gate)
    ran: list[int] = []
    note = app.task(name="note")(ran.append)

    with app.worker(threads=1):
        first = app.tasks["deaf"].enqueue()
        gate.await_entry()
        waiting = [note.enqueue(1), note.using(run_in=60).enqueue(2), note.using(after=[first]).enqueue(3)]
        assert [job.cancel() for job in waiting] == [True] * 3
        gate.open()
        assert first.result(WAIT) == "late"

    assert [job.refresh().status for job in waiting] == [JobState.CANCELLED] * 3
    assert ran == []


def test_a_job_that_has_ended_is_not_cancelled(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda: "done")

    with app.worker():
        job = task.enqueue()
        job.result(WAIT)

        assert not job.cancel()
        assert job.refresh().result() == "done"


def test_a_cancelled_job_is_not_tried_again(app: QueueTasks, gate: Gate) -> None:
    @app.task(retry=Retry(max=5, backoff=0))
    def stops_with_an_error() -> None:
        gate.enter()
        ctx.sleep(WAIT)
        raise ValueError("stopped")

    with app.worker():
        job = stops_with_an_error.enqueue()
        gate.await_entry()
        job.cancel()

        with pytest.raises(JobCancelled):
            job.result(WAIT)

    assert job.refresh().attempt == 1


def test_a_unique_key_is_held_until_the_thread_has_really_ended(app: QueueTasks, gate: Gate) -> None:
    @app.task(unique="one at a time")
    def deaf() -> None:
        gate.pass_through()

    with app.worker():
        first = deaf.enqueue()
        gate.await_entry()
        first.cancel()
        wait_until(lambda: first.refresh().row.cancel_requested, "the wish is known")
        second = deaf.enqueue()
        assert second.existing or second != first
        assert second == first
        gate.open()
        wait_until(lambda: first.refresh().status.final, "the thread has ended")
        assert deaf.enqueue() != first


# --- the end of the block


def test_leaving_the_block_waits_for_what_runs(app: QueueTasks) -> None:
    begun = threading.Event()

    @app.task
    def work() -> str:
        begun.set()
        return "done" if ctx.sleep(0.05) else "told to stop"

    with app.worker():
        job = work.enqueue()
        assert begun.wait(WAIT)

    assert job.refresh().status is JobState.SUCCEEDED
    assert job.result() == "done"


def test_leaving_the_block_gives_back_what_never_started(new_app: NewApp, gate: Gate) -> None:
    app = new_app(lookahead=60.0)
    declare(app, gate)
    quick = app.task(name="quick")(lambda: None)

    with app.worker(threads=1):
        # Quick jobs let the worker claim ahead; then one that lasts keeps the others waiting in its hands.
        for job in quick.enqueue_many([()] * 20):
            job.result(WAIT)

        first, *others = app.tasks["deaf"].enqueue_many([()] * 5)
        gate.await_entry()
        opener = threading.Timer(0.05, gate.open)
        opener.start()

    opener.join()
    rest = [job.refresh() for job in others]
    assert first.refresh().status is JobState.SUCCEEDED
    assert {job.status for job in rest} <= {JobState.READY, JobState.SUCCEEDED}
    assert [job for job in rest if job.status is JobState.READY and (job.attempt, job.interruptions) != (0, 0)] == []


@pytest.mark.parametrize("name", ["listening", "deaf", "coroutine", "tidy"])
def test_what_outlasts_the_grace_time_is_an_interruption(new_app: NewApp, gate: Gate, name: str) -> None:
    app = new_app(grace=0.05)
    declare(app, gate)

    with app.worker():
        job = app.tasks[name].enqueue()
        gate.await_entry()

    job.refresh()

    if name == "listening":  # it was told, and what it returned counts
        assert job.result() == "told"
    else:
        assert (job.status, job.attempt, job.interruptions, job.crashes) == (JobState.READY, 0, 1, 0)


def test_a_job_that_must_never_run_twice_fails_with_the_interruption(new_app: NewApp, gate: Gate) -> None:
    app = new_app(grace=0.0)

    @app.task(on_crash="fail")
    async def once() -> None:
        gate.enter()
        await asyncio.Event().wait()

    with app.worker():
        job = once.enqueue()
        gate.await_entry()

    assert (job.refresh().status, job.reason) == (JobState.FAILED, Reason.INTERRUPTED)


def test_an_error_in_the_block_does_not_wait_for_jobs(new_app: NewApp, gate: Gate) -> None:
    app = new_app(grace=600.0)
    declare(app, gate)
    began = SystemClock.monotonic()

    job = app.tasks["coroutine"].enqueue()

    def leave_with_an_error() -> None:
        with app.worker():
            gate.await_entry()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave_with_an_error()

    assert SystemClock.monotonic() - began < 60
    assert (job.refresh().status, job.interruptions) == (JobState.READY, 1)


class Witness(Settler):
    """Notes, of every settlement, whether a loop ran when it was put down."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.loops: list[bool] = []
        write = self.settle

        def settle(settlement: Settlement) -> None:
            self.loops.append("cherga-loop" in {thread.name for thread in threading.enumerate()})
            write(settlement)

        self.settle = settle


class WitnessedEngine(Engine):
    parts = Parts(settler=Witness)


class WitnessedWorker(EmbeddedWorker):
    def make_engine(self) -> Engine:
        return WitnessedEngine(self.app, self.options, SlotTable.private(Engine.slot_count(self.options)))


def test_a_coroutine_that_resists_has_ended_before_its_job_is_free(
    new_app: NewApp, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app(grace=0.0)

    @app.task
    async def resisting() -> None:
        gate.enter()

        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with WitnessedWorker(app) as worker:
        job = resisting.enqueue()
        gate.await_entry()

    assert cast(Witness, worker.engine._settler).loops == [False]
    assert (job.refresh().status, job.interruptions) == (JobState.READY, 1)

    del worker
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("cherga.job")] == []


def test_a_thread_that_outlives_its_attempt_keeps_its_job_until_all_is_closed(new_app: NewApp, gate: Gate) -> None:
    """Nobody may start it elsewhere meanwhile."""
    app = new_app(grace=0.0)
    seen: list[JobState] = []

    @app.task(max_time=0.05, retry=Retry(max=1, backoff=0), unique=True)
    def deaf() -> None:
        gate.pass_through()

    @app.on.worker_stopped
    def look(event: object) -> None:
        seen.append(job.refresh().row.state)

    with app.worker() as worker:
        job = deaf.enqueue()
        gate.await_entry()
        wait_until(lambda: worker.engine.executor.overdue, "its time is over")

    assert seen == [JobState.RUNNING]
    assert job.refresh().status is not JobState.RUNNING
    assert [attempt.reason for attempt in job.attempts] == [Reason.TIMEOUT]


def test_a_worker_takes_up_what_another_one_left(new_app: NewApp) -> None:
    app = new_app(grace=0.0)
    first_run = threading.Event()

    @app.task
    async def work() -> str:
        if not first_run.is_set():
            first_run.set()
            await asyncio.Event().wait()

        return "done"

    with app.worker():
        job = work.enqueue()
        assert first_run.wait(WAIT)

    with app.worker():
        assert job.result(WAIT) == "done"

    assert (job.attempt, job.interruptions) == (1, 1)


def test_threads_of_a_worker_end_with_its_block(app: QueueTasks) -> None:
    before = set(threading.enumerate())
    task = app.task(name="work")(lambda: None)

    @app.task
    async def coroutine() -> None: ...

    with app.worker():
        task.enqueue().result(WAIT)
        coroutine.enqueue().result(WAIT)
        assert len(set(threading.enumerate()) - before) > 3

    wait_until(lambda: not [thread for thread in threading.enumerate() if thread not in before], "its threads have ended")


def test_an_application_without_tasks_cannot_work(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="the application 'shop' has no tasks; declare one with @app"), app.worker():
        pytest.fail("it works")
