"""An ``AsyncSession`` is followed like any other, and its pushes do not hold up the loop. A session for each job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from cherga import ConfigError, Depends, Job, JobFailed, JobHeld, JobState, QueueTasks, Task
from cherga.brokers.memory.broker import MemoryBroker
from cherga.contrib.sqlalchemy import follow, job_session
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.testing.travelling import TravelClock
from tests.database import Database, Row, database_in
from tests.odd_brokers import AppWith, FailingBroker, SlowBroker

Work = Callable[["Shop"], Awaitable[None]]


class Shop:
    """An application that follows the async sessions of a database, and a task."""

    def __init__(self, app: QueueTasks, sessions: async_sessionmaker[AsyncSession], followed: Any = None) -> None:
        self.app = app
        self.sessions = sessions
        self.export: Task[[int], int] = app.task(name="export")(lambda n: n)
        follow(app, followed or sessions)

    async def stored(self) -> int:
        return len(await self.app.ajobs())

    async def launch(self, session: AsyncSession, number: int = 1) -> Job[int]:
        job = await self.export.aenqueue(number)
        session.add(Row(job=str(job.id)))
        return job


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with database_in(tmp_path) as database:
        yield database


@asynccontextmanager
async def sessions_on(database: Database) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(database.url.replace("sqlite:", "sqlite+aiosqlite:"), connect_args={"timeout": 30})

    try:
        yield async_sessionmaker(engine)
    finally:
        await engine.dispose()


def run(app: QueueTasks, database: Database, work: Work, followed: Callable[[Any], Any] | None = None) -> None:
    """Let this happen on a loop."""

    async def main() -> None:
        async with sessions_on(database) as sessions:
            await work(Shop(app, sessions, followed(sessions) if followed else None))

    asyncio.run(main())


async def begun(session: AsyncSession) -> AsyncSession:
    await session.execute(sa.text("select 1"))
    return session


def test_a_job_leaves_with_the_commit_of_its_async_session(app: QueueTasks, database: Database) -> None:
    async def work(shop: Shop) -> None:
        async with shop.sessions() as session:
            job = await shop.launch(await begun(session))

            assert (job.status, await shop.stored()) == ("held", 0)
            assert await shop.app.aget(job.id) is job

            with pytest.raises(JobHeld, match="commit first"):
                await job.aresult(5)

            await session.commit()

            assert (job.status, await shop.stored()) == (JobState.READY, 1)

    run(app, database, work)
    assert len(database.jobs()) == 1


def test_a_rollback_a_savepoint_and_an_error_drop_their_jobs(app: QueueTasks, database: Database) -> None:
    async def work(shop: Shop) -> None:
        async with shop.sessions() as session:
            first = await shop.launch(await begun(session))
            await session.rollback()

            kept = await shop.launch(await begun(session), 2)

            async with session.begin_nested() as savepoint:
                second = await shop.launch(session, 3)
                await savepoint.rollback()

            await session.commit()

        with suppress(ZeroDivisionError):
            async with shop.sessions.begin() as session:
                third = await shop.launch(session, 4)
                1 / 0  # noqa: B018

        assert [job.status for job in (first, second, third, kept)] == ["dropped", "dropped", "dropped", "ready"]

    run(app, database, work)


def test_coroutines_side_by_side_hold_their_own_jobs(app: QueueTasks, database: Database) -> None:
    async def one(shop: Shop, number: int) -> str:
        async with shop.sessions() as session:
            job = await shop.launch(await begun(session), number)
            await asyncio.sleep(0)

            if number % 2:
                await session.rollback()
            else:
                await session.commit()

            return str(job.status)

    async def work(shop: Shop) -> None:
        states = await asyncio.gather(*(one(shop, number) for number in range(10)))
        assert states == ["ready", "dropped"] * 5
        assert await shop.stored() == 5

    run(app, database, work)


def test_a_unique_job_is_found_at_the_enqueue(app: QueueTasks, database: Database) -> None:
    async def work(shop: Shop) -> None:
        only: Task[[int], int] = shop.app.task("only", unique=True)(lambda n: n)
        holder = await only.aenqueue(1)

        async with shop.sessions() as session:
            await begun(session)
            assert (await only.aenqueue(1)).id == holder.id
            await session.rollback()

    run(app, database, work)


@pytest.mark.parametrize("form", ["scoped", "session", "class"])
def test_async_sessions_may_be_given_in_any_form(app: QueueTasks, database: Database, form: str) -> None:
    async def main() -> None:
        async with sessions_on(database) as sessions:
            scoped = async_scoped_session(sessions, asyncio.current_task)
            single = sessions()
            given: dict[str, tuple[Any, Any]] = {
                "scoped": (scoped, scoped()),
                "session": (single, single),
                "class": (AsyncSession, sessions()),
            }
            followed, session = given[form]
            shop = Shop(app, sessions, followed)
            job = await shop.launch(await begun(session))
            assert job.status == "held"
            await session.commit()
            assert job.status is JobState.READY
            await session.close()
            await single.close()

    asyncio.run(main())


def test_the_push_after_a_commit_does_not_hold_up_the_loop(database: Database) -> None:
    broker = SlowBroker()

    async def work(shop: Shop) -> None:
        async def commit() -> None:
            async with shop.sessions() as session:
                await shop.launch(await begun(session))
                await session.commit()

        committing = asyncio.create_task(commit())

        while not broker.pushes:
            await asyncio.sleep(0)

        assert not committing.done()  # it waits for the broker, while this goes on
        broker.gate.set()
        await committing

    run(AppWith(broker), database, work)
    assert broker.pushes == [1]


def test_a_broker_that_is_away_at_the_commit_gets_the_jobs_later(database: Database) -> None:
    broker = FailingBroker()

    async def work(shop: Shop) -> None:
        async with shop.sessions() as session:
            job = await shop.launch(await begun(session))
            broker.fail_with(ConnectionError("away"))
            await session.commit()

        departure: Any = shop.app.departure
        assert job.status == "held"
        await asyncio.to_thread(
            wait_until, lambda: departure.leaving.hurry() or job.status is JobState.READY, "the job is stored"
        )

    run(AppWith(broker), database, work)


def test_a_job_in_a_coroutine_leaves_with_its_own_commit(app: QueueTasks, database: Database) -> None:
    """The engine belongs to the loop of the worker, where it is opened and disposed."""
    url = database.url.replace("sqlite:", "sqlite+aiosqlite:")
    engine = create_async_engine(url, poolclass=sa.NullPool, connect_args={"timeout": 30})
    sessions = async_sessionmaker(engine)
    shop = Shop(app, sessions)
    seen: list[str] = []

    @app.task
    async def parent() -> None:
        async with sessions() as session:
            job = await shop.launch(await begun(session))
            seen.append(str(job.status))
            await session.commit()
            seen.append(str(job.status))

    with app.worker(queues=["default"]):
        parent.enqueue().result(20)

    assert seen == ["held", "ready"]


# --- the outbox under an async session


def test_an_outbox_is_written_and_emptied_by_an_async_session(database: Database) -> None:
    app = AppWith(MemoryBroker("memory://", BrokerSettings()))
    metadata = sa.MetaData()
    seen: list[int] = []

    async def main() -> None:
        async with sessions_on(database) as sessions:
            follow(app, sessions, when="outbox", metadata=metadata)
            metadata.create_all(database.engine)
            task = app.task(name="t")(lambda: None)

            async with sessions() as session:
                await begun(session)
                job = await task.aenqueue()
                sa.event.listen(session.sync_session, "after_commit", lambda _: seen.append(count(database, metadata)))
                await session.commit()

            assert (seen, count(database, metadata), job.status) == ([1], 0, JobState.READY)

    asyncio.run(main())


def test_a_worker_empties_the_outbox_of_an_application_that_has_async_sessions_alone(database: Database) -> None:
    broker = FailingBroker()
    app = AppWith(broker)
    metadata = sa.MetaData()
    engine = create_async_engine(database.url.replace("sqlite:", "sqlite+aiosqlite:"), connect_args={"timeout": 30})
    sessions = async_sessionmaker(engine)
    follow(app, sessions, when="outbox", metadata=metadata)
    metadata.create_all(database.engine)
    task = app.task(name="t")(lambda: None)
    departure: Any = app.departure

    async def leave_behind() -> Job[None]:
        async with sessions() as session:
            await begun(session)
            job = await task.aenqueue()
            broker.fail_with(ConnectionError("away"))
            await session.commit()

        departure.leaving.give_up()
        await engine.dispose()
        return job

    job = asyncio.run(leave_behind())
    assert count(database, metadata) == 1

    clock = TravelClock()
    clock.ahead = 10.0
    app.clock = clock
    departure.relay.look()

    assert count(database, metadata) == 0
    assert [each.id for each in app.jobs()] == [job.id]


def count(database: Database, metadata: sa.MetaData) -> int:
    with database.engine.connect() as connection:
        table = metadata.tables["cherga_outbox"]
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


# --- a session for each job


def test_a_job_has_a_session_of_its_own_which_commits_with_its_success(app: QueueTasks, database: Database) -> None:
    made: list[int] = []

    @app.task
    def write(name: str, session: Session = Depends(job_session(database.sessions))) -> None:
        made.append(id(session))
        session.add(Row(job=name))

        if name == "wrong":
            session.flush()
            raise ValueError(name)

    with app.worker():
        write.enqueue("one").result(20)

        with pytest.raises(JobFailed, match="ValueError"):
            write.enqueue("wrong").result(20)

        write.enqueue("two").result(20)

    assert database.jobs() == {"one", "two"}
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_commit_that_fails_fails_the_attempt(app: QueueTasks, database: Database) -> None:
    @app.task
    def write(session: Session = Depends(job_session(database.sessions))) -> None:
        session.add_all([Row(job="same"), Row(job="same")])

    with app.worker(), pytest.raises(JobFailed, match="IntegrityError"):
        write.enqueue().result(20)

    assert database.jobs() == set()


def test_what_needs_the_session_twice_in_a_job_gets_one(app: QueueTasks, database: Database) -> None:
    def count_rows(session: Session = Depends(job_session(database.sessions))) -> int:
        return id(session)

    @app.task
    def compare(seen: int = Depends(count_rows), session: Session = Depends(job_session(database.sessions))) -> bool:
        return seen == id(session)

    with app.worker():
        assert compare.enqueue().result(20)


def test_a_job_that_enqueues_in_its_own_session_launches_with_its_commit(app: QueueTasks, database: Database) -> None:
    follow(app, database.sessions)

    @app.task
    def child(name: str) -> None: ...

    @app.task
    def parent(session: Session = Depends(job_session(database.sessions))) -> str:
        session.begin()
        job = child.using(queue="other").enqueue("x")
        session.add(Row(job=str(job.id)))
        return str(job.status)

    with app.worker(queues=["default"]):
        job = parent.enqueue()
        assert job.result(20) == "held"
        (launched,) = job.children()

    assert database.jobs() == {str(launched.id)}


def test_a_coroutine_has_an_async_session_of_its_own(app: QueueTasks, database: Database) -> None:
    url = database.url.replace("sqlite:", "sqlite+aiosqlite:")
    sessions = async_sessionmaker(create_async_engine(url, poolclass=sa.NullPool, connect_args={"timeout": 30}))

    @app.task
    async def write(name: str, session: AsyncSession = Depends(job_session(sessions))) -> None:
        session.add(Row(job=name))
        await session.flush()

        if name == "wrong":
            raise ValueError(name)

    with app.worker():
        write.enqueue("one").result(20)

        with pytest.raises(JobFailed, match="ValueError"):
            write.enqueue("wrong").result(20)

    assert database.jobs() == {"one"}


def test_a_session_needs_what_makes_sessions() -> None:
    with pytest.raises(ConfigError, match="expected a sessionmaker or an async_sessionmaker, got"):
        job_session("sqlite://")  # type: ignore[call-overload]
