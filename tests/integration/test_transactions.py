"""Jobs that are enqueued inside a transaction of SQLAlchemy leave when it commits, and never when it does not."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from cherga import (
    BrokerUnavailable,
    ConfigError,
    EnqueueRefused,
    Job,
    JobFailed,
    JobHeld,
    JobNotFound,
    JobState,
    QueueTasks,
    SyncRouter,
    Task,
    chain,
    group,
)
from cherga.contrib.sqlalchemy import follow
from cherga.testing import wait_until
from tests.database import Database, Row, database_in
from tests.odd_brokers import AppWith, FailingBroker
from tests.workers import PATH


class Apart(DeclarativeBase):
    """What the tables of another database inherit."""


class Other(Apart):
    """A row in another database."""

    __tablename__ = "other"

    id: Mapped[int] = mapped_column(primary_key=True)


class Shop:
    """An application that follows a database, and a task."""

    def __init__(self, app: QueueTasks, database: Database) -> None:
        self.app = app
        self.database = database
        self.sessions = database.sessions
        self.export: Task[[int], int] = app.task(name="export")(lambda n: n)
        follow(app, database.sessions)

    def stored(self) -> list[Any]:
        """The arguments of the jobs that the broker has, oldest first."""
        return [next(iter(job.arguments.values())) for job in reversed(self.app.jobs())]

    def launch(self, session: Session, number: int = 1) -> Job[int]:
        """As an application does it: enqueue, add a row with the job's id, commit later."""
        job = self.export.enqueue(number)
        session.add(Row(job=str(job.id)))
        return job


@pytest.fixture
def shop(app: QueueTasks, tmp_path: Path) -> Iterator[Shop]:
    with database_in(tmp_path) as database:
        yield Shop(app, database)


def begun(session: Session) -> Session:
    """With a transaction that is open, as any query leaves one."""
    session.execute(sa.text("select 1"))
    return session


# --- the fate of the transaction is that of the job


def test_a_job_is_not_stored_before_the_transaction_has_committed(shop: Shop) -> None:
    with shop.sessions() as session:
        job = shop.launch(begun(session))

        assert (job.status, shop.stored()) == ("held", [])

        session.commit()

        assert (job.status, shop.stored()) == (JobState.READY, [1])
        assert shop.database.jobs() == {str(job.id)}


def test_without_an_open_transaction_a_job_leaves_at_once(shop: Shop) -> None:
    with shop.sessions() as session:
        assert shop.export.enqueue(1).status is JobState.READY

        begun(session).commit()

        assert shop.export.enqueue(2).status is JobState.READY
        assert shop.stored() == [1, 2]


def test_a_rollback_drops_the_job(shop: Shop) -> None:
    with shop.sessions() as session:
        job = shop.launch(begun(session))
        session.rollback()
        session.commit()

    assert (job.status, shop.stored()) == ("dropped", [])

    with pytest.raises(JobNotFound, match=r"was never stored: its transaction was rolled back"):
        job.result(1)


def test_a_commit_that_fails_drops_the_job(shop: Shop) -> None:
    with shop.sessions() as session:
        session.add(Row(job="same"))
        session.commit()
        job = shop.export.enqueue(1)
        session.add(Row(job="same"))
        dropped = shop.export.enqueue(2)

        with pytest.raises(sa.exc.IntegrityError):
            session.commit()

        session.rollback()

    assert (job.status, dropped.status, shop.stored()) == (JobState.READY, "dropped", [1])


def test_an_enqueue_in_a_transaction_that_has_failed_already_is_about_the_failure_and_leaves(shop: Shop) -> None:
    with shop.sessions() as session:
        session.add_all([Row(job="same"), Row(job="same")])

        with pytest.raises(sa.exc.IntegrityError):
            session.flush()

        assert shop.export.enqueue(1).status is JobState.READY


def test_each_transaction_of_a_session_has_its_own_jobs(shop: Shop) -> None:
    with shop.sessions() as session:
        shop.launch(begun(session), 1)
        session.commit()
        shop.launch(begun(session), 2)
        session.rollback()
        shop.launch(begun(session), 3)
        session.commit()

    assert shop.stored() == [1, 3]


def test_a_block_that_begins_a_transaction_commits_its_jobs(shop: Shop) -> None:
    with shop.sessions.begin() as session:
        shop.launch(session, 1)
        assert shop.stored() == []

    with suppress(ZeroDivisionError), shop.sessions.begin() as session:
        shop.launch(session, 2)
        1 / 0  # noqa: B018

    assert shop.stored() == [1]


def test_two_sessions_do_not_mix(shop: Shop) -> None:
    with shop.sessions() as one, shop.sessions() as other:
        begun(one)
        first = shop.export.using(session=one).enqueue(1)
        begun(other)
        second = shop.export.using(session=other).enqueue(2)
        other.rollback()
        one.commit()

    assert (first.status, second.status, shop.stored()) == (JobState.READY, "dropped", [1])


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_a_transaction_over_two_databases_is_one(app: QueueTasks, tmp_path: Path, commits: bool) -> None:
    (tmp_path / "other").mkdir()

    with database_in(tmp_path) as one, database_in(tmp_path / "other") as other:
        sessions = sessionmaker(binds={Row: one.engine, Other: other.engine})
        Other.metadata.create_all(other.engine)
        follow(app, sessions)
        task = app.task(name="t")(lambda: None)

        with sessions() as session:
            session.add_all([Row(job="x"), Other(id=1)])
            session.flush()
            job = task.enqueue()
            assert job.status == "held"
            session.commit() if commits else session.rollback()

    assert job.status == (JobState.READY if commits else "dropped")
    assert len(app.jobs()) == commits


def test_sessions_of_another_maker_are_not_followed(shop: Shop) -> None:
    other = sessionmaker(shop.database.engine)

    with other() as session:
        begun(session)
        assert shop.export.enqueue(1).status is JobState.READY


def test_a_transaction_of_another_thread_holds_nothing_here(shop: Shop) -> None:
    inside, over = threading.Event(), threading.Event()

    def hold_open() -> None:
        with shop.sessions() as session:
            begun(session)
            inside.set()
            over.wait(20)

    thread = threading.Thread(target=hold_open)
    thread.start()
    assert inside.wait(20)

    try:
        assert shop.export.enqueue(1).status is JobState.READY
    finally:
        over.set()
        thread.join()


def test_a_session_that_looked_and_wrote_nothing_has_nothing_to_commit_and_its_jobs_leave_with_its_end(shop: Shop) -> None:
    with shop.sessions() as session:
        begun(session)
        job = shop.export.enqueue(1)
        assert shop.stored() == []

    assert (job.status, shop.stored()) == (JobState.READY, [1])


def test_a_session_that_wrote_and_was_closed_without_a_commit_drops_its_jobs_and_says_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "cherga.departure"), shop.sessions() as session:
        job = shop.launch(begun(session))

    assert (job.status, shop.stored()) == ("dropped", [])
    assert f"export {job.id}" in caplog.text


def test_a_session_that_is_given_up_with_jobs_says_so(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    session = begun(shop.sessions())
    job = shop.export.enqueue(1)

    with caplog.at_level(logging.WARNING):
        del session
        gc.collect()

    assert (job.status, shop.stored()) == ("dropped", [])
    assert f"export {job.id}" in caplog.text


def test_a_process_that_ends_in_a_transaction_says_which_jobs_it_held(tmp_path: Path) -> None:
    program = """
import sys
import sqlalchemy as sa
from sqlalchemy.orm import sessionmaker
from cherga import QueueTasks
from cherga.contrib.sqlalchemy import follow

app = QueueTasks("shop", "memory://")
sessions = sessionmaker(sa.create_engine("sqlite://"))
follow(app, sessions)
session = sessions()
session.begin()
print(app.add_task("export", 1).id)
"""
    environment = {**os.environ, "PYTHONPATH": PATH}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8", timeout=50)

    assert f"their session was closed without a commit: export {ran.stdout.strip()}" in ran.stderr


def test_a_session_that_is_closed_by_an_error_drops_its_jobs(shop: Shop) -> None:
    with suppress(ZeroDivisionError), shop.sessions() as session:
        begun(session)
        job = shop.export.enqueue(1)
        1 / 0  # noqa: B018

    assert (job.status, shop.stored()) == ("dropped", [])


def test_what_hooks_of_the_commit_enqueue_leaves_with_it(shop: Shop) -> None:
    with shop.sessions() as session:
        enqueue = lambda *_: shop.export.enqueue(7)

        for name in ("before_commit", "after_flush", "after_commit"):
            sa.event.listen(session, name, enqueue)

        session.add(Row(job="x"))
        session.commit()

    assert shop.stored() == [7, 7, 7]


# --- savepoints


def test_a_savepoint_that_is_rolled_back_drops_its_own_jobs(shop: Shop) -> None:
    with shop.sessions() as session:
        shop.launch(begun(session), 1)

        with session.begin_nested() as savepoint:
            job = shop.launch(session, 2)
            savepoint.rollback()

        assert job.status == "dropped"
        shop.launch(session, 3)
        session.commit()

    assert shop.stored() == [1, 3]


def test_an_error_in_a_savepoint_drops_its_own_jobs(shop: Shop) -> None:
    with shop.sessions() as session:
        shop.launch(begun(session), 1)

        with suppress(ZeroDivisionError), session.begin_nested():
            shop.launch(session, 2)
            1 / 0  # noqa: B018

        session.commit()

    assert shop.stored() == [1]


def test_a_savepoint_that_is_released_keeps_its_jobs_held_until_the_commit(shop: Shop) -> None:
    with shop.sessions() as session:
        with session.begin_nested():
            job = shop.launch(session)

        assert (job.status, shop.stored()) == ("held", [])
        session.commit()

    assert shop.stored() == [1]


def test_a_released_savepoint_falls_with_the_transaction_around_it(shop: Shop) -> None:
    with shop.sessions() as session:
        with session.begin_nested():
            job = shop.launch(session)

        session.rollback()

    assert (job.status, shop.stored()) == ("dropped", [])


def test_savepoints_in_savepoints_fall_one_by_one(shop: Shop) -> None:
    with shop.sessions() as session:
        with session.begin_nested() as outer:
            shop.launch(session, 1)

            with session.begin_nested():
                shop.launch(session, 2)

            with session.begin_nested() as inner:
                shop.launch(session, 3)
                inner.rollback()

            assert outer.is_active

        with session.begin_nested() as other:
            with session.begin_nested():
                shop.launch(session, 4)

            other.rollback()

        session.commit()

    assert shop.stored() == [1, 2]


def test_a_flush_that_fails_inside_a_savepoint_leaves_the_jobs_outside_of_it(shop: Shop) -> None:
    with shop.sessions() as session:
        shop.launch(begun(session), 1)

        with suppress(sa.exc.IntegrityError), session.begin_nested():
            shop.launch(session, 2)
            session.add_all([Row(job="same"), Row(job="same")])
            session.flush()

        session.commit()

    assert shop.stored() == [1]


# --- every way to enqueue


def launch_many(shop: Shop) -> object:
    return shop.export.enqueue_many([(1,), (2,)])


def launch_chain(shop: Shop) -> object:
    return chain(shop.export.s(1), shop.export.s()).enqueue()


def launch_group(shop: Shop) -> object:
    return group(shop.export.s(1), shop.export.s(2), then=shop.app.s("report")).enqueue()


def launch_routed(shop: Shop) -> object:
    """A task of a router, which finds its application."""
    router = SyncRouter()
    task = router.task(name="routed")(lambda: None)
    shop.app.include_router(router)
    return task.enqueue()


WAYS: dict[str, Callable[[Shop], object]] = {
    "enqueue": lambda shop: shop.export.enqueue(1),
    "using": lambda shop: shop.export.using(priority=3).enqueue(1),
    "many": launch_many,
    "by name": lambda shop: shop.app.add_task("export", 1),
    "by an unknown name": lambda shop: shop.app.add_task("elsewhere", 1),
    "queue": lambda shop: shop.app.queue("mail").enqueue("export", 1),
    "router": launch_routed,
    "step": lambda shop: shop.export.s(1).enqueue(),
    "chain": launch_chain,
    "group": launch_group,
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_way_is_taken_to_enqueue_waits_for_the_commit(shop: Shop, way: str) -> None:
    with shop.sessions() as session:
        begun(session)
        WAYS[way](shop)
        assert shop.app.jobs() == []
        session.commit()

    assert len(shop.app.jobs()) == {"many": 2, "chain": 2, "group": 4}.get(way, 1)


def test_a_flow_that_was_held_runs_to_its_end(shop: Shop) -> None:
    @shop.app.task
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    with shop.sessions() as session:
        begun(session)
        whole = group(shop.export.s(1), shop.export.s(2), then=add.s()).enqueue()
        assert (whole.status, whole.members(), whole.progress.done) == ("held", [], 0)
        session.commit()

    with shop.app.worker():
        assert whole.results(20) == [1, 2]
        assert whole.callback is not None
        assert whole.callback.result(20) == 3


def test_jobs_that_wait_for_others_of_the_same_transaction_are_stored_behind_them(shop: Shop) -> None:
    with shop.sessions() as session:
        begun(session)
        first = shop.export.enqueue(1)
        second = shop.export.using(after=[first]).enqueue(2)
        session.commit()

    assert (first.status, second.refresh().status) == (JobState.READY, JobState.BLOCKED)


# --- the handle while it is held


def test_a_held_job_says_so_and_answers_at_once(shop: Shop) -> None:
    with shop.sessions() as session:
        begun(session)
        job = shop.export.using(owner="user:7").enqueue(1)

        assert (job.refresh().status, job.get_status(), str(job.status), job.owner) == ("held", "held", "held", "user:7")
        assert not any((job.is_finished, job.is_succeeded, job.is_failed, job.is_running, job.is_cancelled))
        assert (job.meta, job.children(), job.family.total, job.return_value()) == ({}, [], 0, None)
        assert job.as_dict()["state"] == "held"
        assert "held" in str(job.explain())
        assert not job.retry()


@pytest.mark.parametrize("wait", ["result", "watch", "stream", "handle"])
def test_nobody_waits_for_a_job_that_is_held(shop: Shop, wait: str) -> None:
    waits: dict[str, Callable[[Job[int]], object]] = {
        "result": lambda job: job.result(),
        "watch": lambda job: shop.app.watch(job.id),
        "stream": lambda job: list(job.stream()),
        "handle": lambda job: job.await_end(),
    }

    with shop.sessions() as session:
        begun(session)
        job = shop.export.enqueue(1)

        with pytest.raises(JobHeld, match=r"held until the transaction in which it was enqueued commits: commit first"):
            waits[wait](job)


def test_a_held_job_is_found_by_its_id_in_the_same_unit_of_work_alone(shop: Shop) -> None:
    seen: list[object] = []

    with shop.sessions() as session:
        begun(session)
        job = shop.app.queue("default").enqueue("export", 1)

        assert shop.app.get(job.id) is job
        assert Job.fetch(str(job.id), connection=shop.app) is job
        assert shop.app.queue("default").fetch_job(job.id) is job

        thread = threading.Thread(target=lambda: seen.append(shop.app.get(job.id)))
        thread.start()
        thread.join()
        session.rollback()

    assert seen == [None]
    assert shop.app.get(job.id) is None


def test_cancelling_a_held_job_drops_it(shop: Shop) -> None:
    with shop.sessions() as session:
        begun(session)
        gone, stays = shop.export.enqueue(1), shop.export.enqueue(2)

        assert gone.cancel("not needed")
        assert not gone.cancel()
        assert (gone.status, shop.app.get(gone.id)) == ("dropped", None)
        session.commit()

    assert (stays.status, shop.stored()) == (JobState.READY, [2])

    with pytest.raises(JobNotFound, match="cancelled while it was held: not needed"):
        gone.result()


def test_one_of_many_can_be_cancelled_and_a_flow_only_as_a_whole(shop: Shop) -> None:
    with shop.sessions() as session:
        begun(session)
        one, other = shop.export.enqueue_many([(1,), (2,)])
        last = chain(shop.export.s(3), shop.export.s()).enqueue()
        one.cancel()
        last.cancel()
        session.commit()

    assert (one.status, other.status, last.status, shop.stored()) == ("dropped", JobState.READY, "dropped", [2])


# --- unique jobs


def unique_task(shop: Shop, **options: Any) -> Task[[int], int]:
    task: Task[[int], int] = shop.app.task("only", unique=True, **options)(lambda n: n)
    return task


def test_the_holder_of_a_unique_key_is_found_at_the_enqueue(shop: Shop) -> None:
    only = unique_task(shop)
    holder = only.enqueue(1)

    with shop.sessions() as session:
        begun(session)
        second = only.enqueue(1)

        assert (second.id, second.existing, second.status) == (holder.id, True, JobState.READY)
        session.commit()

    assert len(shop.app.jobs()) == 1


def test_a_second_enqueue_of_the_same_transaction_finds_the_first(shop: Shop) -> None:
    only = unique_task(shop)

    with shop.sessions() as session:
        begun(session)
        assert only.enqueue(1).id == only.enqueue(1).id
        session.commit()

    assert len(shop.app.jobs()) == 1


def test_a_conflict_that_is_refused_is_refused_at_the_enqueue(shop: Shop) -> None:
    only = unique_task(shop, on_conflict="refuse")
    holder = only.enqueue(1)

    with shop.sessions() as session:
        begun(session)

        with pytest.raises(EnqueueRefused, match=str(holder.id)):
            only.enqueue(1)


def test_a_job_that_will_be_replaced_gives_its_id_at_once(shop: Shop) -> None:
    latest: Task[[int], int] = shop.app.task("latest", unique="only one", on_conflict="replace")(lambda n: n)
    holder = latest.enqueue(1)

    with shop.sessions() as session:
        begun(session)
        newer = latest.enqueue(2)
        assert newer.id == holder.id
        session.commit()

    assert (newer.id, shop.stored()) == (holder.id, [2])


def test_a_race_for_a_unique_key_is_settled_at_the_commit_and_shown_by_the_handle(shop: Shop) -> None:
    only = unique_task(shop)

    with shop.sessions() as session:
        begun(session)
        slow = only.enqueue(1)
        fast = only.using(when="now").enqueue(1)
        session.commit()

    assert (slow.id, slow.existing) == (fast.id, True)


def test_a_broker_that_is_away_at_the_enqueue_does_not_hinder_a_unique_job(tmp_path: Path) -> None:
    class Blind(FailingBroker):
        """Finds nothing, for it is away."""

        def find(self, *where: Any) -> Any:
            raise BrokerUnavailable("away")

    with database_in(tmp_path) as database, database.sessions() as session:
        shop = Shop(AppWith(Blind()), database)
        only = unique_task(shop)
        begun(session)
        job = only.enqueue(1)
        session.commit()

        assert job.status is JobState.READY


# --- when=


def test_when_now_waits_for_nothing(shop: Shop) -> None:
    with shop.sessions() as session:
        begun(session)
        shop.export.using(when="now").enqueue(1)
        chain(shop.export.s(2), shop.export.s()).using(when="now").enqueue()
        session.rollback()

    assert len(shop.app.jobs()) == 3


def test_a_default_of_now_can_be_overruled(app: QueueTasks, tmp_path: Path) -> None:
    with database_in(tmp_path) as database:
        shop = Shop(app, database)
        follow(app, database.sessions, when="now")

        with database.sessions() as session:
            begun(session)
            assert shop.export.enqueue(1).status is JobState.READY
            assert shop.export.using(when="commit").enqueue(2).status == "held"


def test_a_session_that_is_named_is_begun_where_nothing_is_open(shop: Shop) -> None:
    with shop.sessions() as session:
        job = shop.export.using(session=session).enqueue(1)
        assert job.status == "held"
        session.commit()

    assert shop.stored() == [1]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a word": ({"when": "comit"}, r"expected when to be one of 'now', 'commit', 'outbox', got 'comit'; did you mean 'commit'"),
    "an object": ({"when": 3}, "expected when to be one of 'now', 'commit', 'outbox', got 3"),
    "no outbox": ({"when": "outbox"}, "expected an outbox for when='outbox'"),
    "no session": ({"when": "commit"}, r"expected an open session for when='commit', and found none here"),
    "no such session": ({"session": "db"}, "expected session to be a Session or an AsyncSession of SQLAlchemy, got 'db'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_wish_is_answered_with_what_was_expected(shop: Shop, wrong: str) -> None:
    options, message = WRONG[wrong]

    with pytest.raises(ConfigError, match=message):
        shop.export.using(**options).enqueue(1)


@pytest.mark.parametrize("options", [{"when": "commit"}, {"when": "outbox"}, {"session": object()}], ids=["c", "o", "s"])
def test_an_application_that_follows_nothing_says_how_to(app: QueueTasks, options: dict[str, Any]) -> None:
    task = app.task(name="t")(lambda: None)

    with pytest.raises(ConfigError, match=r"Cherga\(app, sqlalchemy=db\), or call cherga.contrib.sqlalchemy.follow"):
        task.using(**options).enqueue()

    assert task.using(when="now").enqueue().status is JobState.READY


def test_a_flow_leaves_at_one_time(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="expected when= and session= of the whole chain"):
        chain(shop.export.using(when="now").s(1), shop.export.s())


@pytest.mark.parametrize("wrong", [None, "db", object, lambda: None], ids=["none", "text", "class", "function"])
def test_what_has_no_sessions_cannot_be_followed(app: QueueTasks, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected a sessionmaker, a scoped_session, db\.session or a Session to follow"):
        follow(app, wrong)


def test_following_again_replaces_what_was_followed(app: QueueTasks, tmp_path: Path) -> None:
    with database_in(tmp_path) as database:
        first, second = sessionmaker(database.engine), sessionmaker(database.engine)
        follow(app, first, when="outbox", metadata=sa.MetaData())
        follow(app, second)
        task = app.task(name="t")(lambda: None)

        with first() as session:
            begun(session)
            assert task.enqueue().status is JobState.READY

        with second() as session:
            begun(session)
            assert task.enqueue().status == "held"

        assert len(app.around_job) == 1
        assert app.on.worker_started.handlers == []


# --- what can be followed


FOLLOWED: dict[str, Callable[[Database], tuple[Any, Callable[[], Session]]]] = {
    "sessionmaker": lambda database: (database.sessions, database.sessions),
    "scoped_session": lambda database: (scoped := scoped_session(database.sessions), scoped),
    "session": lambda database: (session := database.sessions(), lambda: session),
    "class": lambda database: (Session, lambda: Session(database.engine)),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_sessions_may_be_given_in_any_form(app: QueueTasks, tmp_path: Path, what: str) -> None:
    with database_in(tmp_path) as database:
        given, make = FOLLOWED[what](database)
        follow(app, given)
        task = app.task(name="t")(lambda: None)
        session = make()
        session.execute(sa.text("select 1"))
        job = task.enqueue()

        assert job.status == "held"

        session.commit()
        session.close()

        assert job.status is JobState.READY


# --- inside a job


def test_a_job_that_enqueues_in_a_transaction_waits_for_its_commit_too(shop: Shop) -> None:
    seen: list[str] = []

    @shop.app.task
    def parent() -> None:
        with shop.sessions() as session:
            job = shop.launch(begun(session), 7)
            seen.append(str(job.status))
            session.commit()

    with shop.app.worker():
        job = parent.enqueue()
        job.result(20)
        (child,) = job.children()

    assert (seen, child.parent) == (["held"], job.id)


@pytest.mark.parametrize("fails", [False, True], ids=["success", "error"])
def test_what_a_job_still_holds_at_its_end_leaves_with_a_success_and_is_dropped_by_an_error(shop: Shop, fails: bool) -> None:
    held: list[Job[int]] = []
    sessions: list[Session] = []

    @shop.app.task
    def parent() -> None:
        sessions.append(begun(shop.sessions()))
        held.append(shop.export.using(queue="other").enqueue(7))

        if fails:
            raise ValueError("no")

    with shop.app.worker(queues=["default"]):
        job = parent.enqueue()

        with pytest.raises(JobFailed) if fails else nullcontext():
            job.result(20)

    for session in sessions:
        session.close()

    assert [each.status for each in held] == ["dropped" if fails else "ready"]
    assert len(job.children()) == (not fails)


# --- a broker that does not take them


def test_a_broker_that_is_away_at_the_commit_fails_nobody_and_gets_the_jobs_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = FailingBroker()

    with database_in(tmp_path) as database, database.sessions() as session:
        shop = Shop(AppWith(broker), database)
        departure: Any = shop.app.departure
        job = shop.launch(begun(session))
        broker.fail_with(*[BrokerUnavailable("away")] * 3)

        with caplog.at_level(logging.ERROR, "cherga.departure"):
            session.commit()

        assert database.jobs() == {str(job.id)}
        assert job.status == "held"
        assert f"broker did not take them (away): export {job.id}; this process tries again" in caplog.text

        with pytest.raises(JobHeld, match="its transaction has committed, but the broker has not taken it yet"):
            job.result()

        wait_until(lambda: departure.leaving.hurry() or job.status is JobState.READY, "the job is stored")

        assert shop.stored() == [1]
        assert departure.leaving.late == []


def test_a_job_that_is_on_its_way_cannot_be_cancelled_before_it_is_stored(tmp_path: Path) -> None:
    broker = FailingBroker()

    with database_in(tmp_path) as database, database.sessions() as session:
        shop = Shop(AppWith(broker), database)
        departure: Any = shop.app.departure
        job = shop.launch(begun(session))
        broker.fail_with(*[BrokerUnavailable("away")] * 2)
        session.commit()

        with pytest.raises(JobHeld, match="the broker has not taken it yet"):
            job.cancel()

        wait_until(lambda: departure.leaving.hurry() or job.status is JobState.READY, "the job is stored")

        assert job.cancel()


def test_a_job_that_is_refused_at_the_commit_is_dropped_and_logged(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.app.limit(queue="small", max_length=1)
    shop.app.publish()

    with shop.sessions() as session:
        begun(session)
        jobs = [shop.export.using(queue="small").enqueue(n) for n in (1, 2)]

        with caplog.at_level(logging.ERROR, "cherga.departure"):
            session.commit()

    assert [job.status for job in jobs] == ["ready", "dropped"]
    assert f"export {jobs[1].id}; it is dropped" in caplog.text


# --- an application that follows nothing


def test_an_enqueue_in_the_middle_of_a_transaction_that_nobody_follows_is_warned_of_once(
    app: QueueTasks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = app.task(name="t")(lambda: None)
    task.enqueue()

    with database_in(tmp_path) as database, caplog.at_level(logging.WARNING), database.sessions() as session:
        begun(session)
        task.enqueue()
        assert caplog.records == []

        session.add(Row(job="x"))
        task.using(when="now").enqueue()
        assert caplog.records == []

        assert task.enqueue().status is JobState.READY
        task.enqueue()

    assert ["had changes that are not committed" in record.message for record in caplog.records] == [True]
