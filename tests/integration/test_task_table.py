"""``contrib.sqlalchemy_task``: a table of the application follows its jobs, however these end and whoever dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from cherga import ConfigError, Job, QueueTasks, ctx
from cherga.contrib import sqlalchemy_task
from cherga.contrib.sqlalchemy_task import TaskKeeper, TaskMixin, keep_true
from cherga.testing import FakeClock, wait_until
from cherga.words.claim import ClaimWish
from cherga.words.job import JobState
from cherga.words.session import Death, SessionInfo
from cherga.words.settlement import Settlement


class Model(DeclarativeBase):
    """What the tables inherit."""


class Task(TaskMixin, Model):
    __tablename__ = "task"

    user_id: Mapped[int] = mapped_column(default=7)


class Row(NamedTuple):
    complete: bool
    state: str | None
    reason: str | None


OPEN = Row(False, None, None)


class Desk:
    """An application, its database, and rows of its jobs."""

    def __init__(self, app: QueueTasks, engine: sa.Engine) -> None:
        self.app = app
        self.sessions = sessionmaker(engine)
        self.keeper = keep_true(Task, app, self.sessions)

    def launch(self, name: str, **options: Any) -> Job[Any]:
        """Enqueue a job, and add its row."""
        return self.note(self.app.tasks[name].using(**options).enqueue())

    def note(self, job: Job[Any]) -> Job[Any]:
        with self.sessions.begin() as session:
            session.add(Task(id=job.get_id(), name=job.task_name))

        return job

    def row(self, job: Job[Any]) -> Row:
        with self.sessions() as session:
            task = session.get_one(Task, job.get_id())
            return Row(task.complete, task.state, task.reason)

    def await_row(self, job: Job[Any], row: Row) -> None:
        wait_until(lambda: self.row(job) == row, f"the row of the job says {row}")

    def die(self, *, and_end: bool = False) -> None:
        """A worker process claims what is ready and dies under it; with ``and_end`` after it has written the ends, untold."""
        self.app.broker.register(SessionInfo(id="mortal.1", worker="mortal", host="here", pid=1))
        claimed = self.app.broker.claim(ClaimWish(session="mortal.1", limit=100, tasks=frozenset(self.app.tasks), alone=True))

        if and_end:
            self.app.broker.settle([Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED) for job in claimed.jobs])

        self.app.broker.reap([Death("mortal.1")])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/site.db")
    Model.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def desk(new_app: Callable[..., QueueTasks], engine: sa.Engine) -> Iterator[Desk]:
    app = new_app(crash_cap=2, crash_backoff=(0.0,), sweep=0.2)

    @app.task
    def work() -> int:
        return 1

    @app.task
    def fail() -> None:
        raise ValueError("no")

    @app.task
    def wait() -> None:
        ctx.progress(1, 4)
        ctx.sleep(60)

    @app.task(result_ttl=0)
    def forget() -> None: ...

    desk = Desk(app, engine)
    yield desk
    desk.keeper.disconnect()


def test_a_row_is_open_until_its_job_has_ended_and_says_how_it_ended(desk: Desk) -> None:
    done, failed = desk.launch("work"), desk.launch("fail")
    assert (desk.row(done), desk.row(failed)) == (OPEN, OPEN)

    with desk.app.worker(threads=1):
        desk.await_row(done, Row(True, "succeeded", None))
        desk.await_row(failed, Row(True, "failed", "error"))


def test_a_test_that_drains_finds_the_rows_written(desk: Desk) -> None:
    with desk.app.testing() as kit:
        done, failed = desk.launch("work"), desk.launch("fail")
        kit.drain()
        assert (desk.row(done), desk.row(failed)) == (Row(True, "succeeded", None), Row(True, "failed", "error"))


def test_a_worker_that_stops_has_written_the_rows_of_all_jobs_that_it_ended(desk: Desk) -> None:
    jobs = [desk.note(job) for job in desk.app.tasks["work"].enqueue_many([()] * 50)]

    with desk.app.worker(threads=1):
        for job in jobs:
            job.result(20)

    assert {desk.row(job) for job in jobs} == {Row(True, "succeeded", None)}


def test_a_job_that_killed_its_processes_closes_its_row(desk: Desk) -> None:
    job = desk.launch("work")
    desk.die()
    assert desk.row(job) == OPEN
    desk.die()

    with desk.app.worker(threads=1):
        desk.await_row(job, Row(True, "failed", "poison"))


def test_a_job_that_expires_and_one_that_waits_for_it_close_their_rows(desk: Desk) -> None:
    first = desk.launch("work", run_in=60, expires=61)
    behind = desk.launch("work", after=[first])
    desk.app.broker.time_offset = 62

    with desk.app.worker(threads=1):
        desk.await_row(first, Row(True, "cancelled", "expired"))
        desk.await_row(behind, Row(True, "cancelled", "upstream"))


def test_a_job_that_is_cancelled_while_it_runs_closes_its_row(desk: Desk) -> None:
    job = desk.launch("wait")

    with desk.app.worker(threads=1):
        wait_until(lambda: job.refresh().progress, "the job runs")
        job.cancel()
        wait_until(lambda: desk.row(job).complete, "the row is closed")

    assert desk.row(job).state == "cancelled"


def test_a_job_that_is_cancelled_before_it_began_closes_its_row_without_a_worker(desk: Desk) -> None:
    job = desk.launch("work")
    job.cancel()
    desk.await_row(job, Row(True, "cancelled", "asked"))
    assert job.refresh().reason == "asked"


def test_many_jobs_that_are_cancelled_before_they_began_need_one_thread(desk: Desk) -> None:
    writers: list[int] = []

    def sessions() -> Session:
        writers.append(sum(thread.name == "cherga-task-row" for thread in threading.enumerate()))
        return desk.sessions()

    keep_true(Task, desk.app, sessions)
    jobs = [desk.note(job) for job in desk.app.tasks["work"].enqueue_many([()] * 40)]

    for job in jobs:
        job.cancel()

    wait_until(lambda: all(desk.row(job).state == "cancelled" for job in jobs), "the rows are closed")
    assert set(writers) == {1}


def test_whoever_cancels_inside_a_transaction_that_holds_the_row_does_not_wait_for_itself(desk: Desk) -> None:
    job = desk.launch("work")

    with desk.sessions.begin() as session:
        session.get_one(Task, job.get_id()).description = "given up"
        session.flush()
        job.cancel()

    wait_until(lambda: desk.row(job).complete, "the row is closed")

    with desk.sessions() as session:
        assert session.get_one(Task, job.get_id()).description == "given up"


def test_a_job_that_is_run_again_by_hand_opens_its_row_again(desk: Desk) -> None:
    job = desk.launch("wait")

    with desk.app.worker(threads=1):
        wait_until(lambda: job.refresh().progress, "the job runs")
        job.cancel()
        wait_until(lambda: desk.row(job).complete, "the row is closed")
        job.retry()
        desk.await_row(job, OPEN)
        job.cancel()
        wait_until(lambda: desk.row(job).complete, "the row is closed again")


def test_a_job_that_is_kept_no_moment_closes_its_row_as_it_was_told(desk: Desk) -> None:
    job = desk.launch("forget", run_in=60)
    desk.app.broker.time_offset = 61

    with desk.app.worker(threads=1):
        desk.await_row(job, Row(True, "succeeded", None))

    assert desk.app.get(job.id) is None


def test_an_end_that_its_worker_wrote_and_did_not_live_to_tell_is_found_by_the_next_one(desk: Desk) -> None:
    job = desk.launch("work")
    desk.die(and_end=True)
    assert job.refresh().is_succeeded
    assert desk.row(job) == OPEN

    with desk.app.worker(threads=1):
        desk.await_row(job, Row(True, "succeeded", None))


def test_a_row_that_is_committed_after_its_job_has_ended_is_found_by_the_next_comparison(desk: Desk) -> None:
    job = desk.app.tasks["work"].enqueue()

    with desk.app.worker(threads=1):
        job.result(20)

    desk.note(job)

    assert desk.keeper.mend() == 1
    assert desk.row(job) == Row(True, "succeeded", None)
    assert desk.keeper.mend() == 0


def test_an_end_that_is_written_while_rows_are_compared_stays(desk: Desk) -> None:
    job = desk.launch("work")
    asked: list[None] = []

    def sessions() -> Session:
        if len(asked) == 1:  # the open rows are read: the end is told and written now
            with desk.sessions.begin() as session:
                session.execute(sa.update(Task).values(complete=True, state="succeeded"))

        asked.append(None)
        return desk.sessions()

    slow = TaskKeeper(Task, desk.app, sessions)
    slow.disconnect()
    slow.mend()

    assert len(asked) > 1
    assert desk.row(job) == Row(True, "succeeded", None)


def test_a_comparison_looks_at_every_page_of_rows(desk: Desk) -> None:
    jobs = [desk.note(job) for job in desk.app.tasks["work"].enqueue_many([()] * 5)]

    with desk.app.worker(threads=1):
        for job in jobs:
            job.result(20)

    with desk.sessions.begin() as session:
        session.execute(sa.update(Task).values(complete=False, state=None))

    small = TaskKeeper(Task, desk.app, desk.sessions, page=2)
    small.disconnect()
    assert small.mend() == 5


def test_the_row_of_a_job_that_nobody_knows_is_closed_only_after_ten_minutes(desk: Desk) -> None:
    desk.app.clock = clock = FakeClock()
    unknown = desk.app.tasks["work"].enqueue()
    foreign = "not a uuid"

    with desk.sessions.begin() as session:
        session.add_all([Task(id=id, name="work") for id in (foreign, "00000000-0000-7000-8000-000000000001")])

    desk.note(unknown)
    assert desk.keeper.mend() == 0
    clock.advance(sqlalchemy_task.GONE_AFTER - 1)
    assert desk.keeper.mend() == 0
    clock.advance(1)
    assert desk.keeper.mend() == 2

    with desk.sessions() as session:
        gone = session.get_one(Task, foreign)
        assert (gone.complete, gone.state, gone.get_progress()) == (True, None, 100)


def test_a_row_reads_its_job_and_how_far_that_is(desk: Desk) -> None:
    job = desk.launch("wait")

    with desk.sessions() as session, desk.app.worker(threads=1):
        task = session.get_one(Task, job.get_id())
        assert task.job == job
        wait_until(lambda: task.get_progress() == 25, "a quarter is done")
        job.cancel()
        wait_until(lambda: task.get_progress() == 100, "the job has ended")


def test_progress_that_was_put_into_the_metadata_is_read_too(desk: Desk) -> None:
    job = desk.app.queue().enqueue("work", meta={"progress": 40})
    desk.note(job)

    with desk.sessions() as session:
        assert session.get_one(Task, job.get_id()).get_progress() == 40


def test_a_table_that_cannot_be_read_is_said_and_harms_no_job(
    desk: Desk, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Model.metadata.drop_all(engine)

    with desk.app.worker(threads=1):
        assert desk.app.tasks["work"].enqueue().result(20) == 1
        wait_until(lambda: "rows of Task could not be compared" in caplog.text, "the trouble is said")


def test_rows_are_written_in_sessions_of_their_own(desk: Desk) -> None:
    registry = scoped_session(desk.sessions)
    keep_true(Task, desk.app, registry)
    job = desk.launch("work")

    with desk.app.worker(threads=1):
        desk.await_row(job, Row(True, "succeeded", None))

    assert not registry.registry.has()


def test_a_class_that_is_kept_twice_is_kept_as_said_last(desk: Desk) -> None:
    keep_true(Task, desk.app, desk.sessions)
    handlers = [len(signal.handlers) for signal in (desk.app.on.succeeded, desk.app.on.started, desk.app.on.worker_started)]

    assert handlers == [1, 1, 1]


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        ({"model": Model}, "expected a class with TaskMixin among its bases, got <class"),
        ({"app": "shop"}, "expected the application, a Cherga or a QueueTasks, got 'shop'"),
        ({"sessions": Session()}, "expected what makes sessions, such as db.session or a sessionmaker, got <sqlalchemy"),
        ({"sessions": async_sessionmaker()}, "expected what makes sessions that are not async"),
    ],
    ids=["no mixin", "no application", "a session", "async sessions"],
)
def test_what_does_not_fit_is_refused_with_a_sentence(desk: Desk, fits: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        keep_true(**{"model": Task, "app": desk.app, "sessions": desk.sessions, **fits})


def test_a_row_whose_class_nobody_keeps_true_says_what_is_missing() -> None:
    class Other(DeclarativeBase): ...

    class Lonely(TaskMixin, Other):
        __tablename__ = "lonely"

    with pytest.raises(ConfigError, match=r"expected keep_true\(Lonely, app, db.session\) behind the class Lonely"):
        Lonely(id="00000000-0000-7000-8000-000000000001", complete=False).job  # noqa: B018
