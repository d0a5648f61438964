"""The outbox: jobs stand in the application's own database from the commit until the broker has them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from cherga import BrokerUnavailable, ConfigError, JobState, QueueTasks, chain
from cherga.contrib.flask import Cherga
from cherga.contrib.sqlalchemy import follow, outbox_table
from cherga.contrib.sqlalchemy_departure import SessionDeparture
from cherga.testing import wait_until
from cherga.testing.travelling import TravelClock
from tests.database import Database, database_in
from tests.odd_brokers import AppWith, FailingBroker
from tests.outbox_jobs import Launched, Model, Ran, Shop, outbox_of
from tests.workers import PATH

KILLS = int(os.environ.get("CHERGA_KILLS", "12"))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(str(tmp_path))
    Model.metadata.create_all(shop.engine)
    yield shop
    shop.close()
    shop.engine.dispose()


def rows(shop: Shop) -> list[str]:
    """The ids in the outbox."""
    with shop.engine.connect() as connection:
        return list(connection.scalars(sa.select(outbox_of(shop).table.c.id)))


def later(app: QueueTasks, seconds: float = 10.0) -> None:
    """For this application so much time has passed."""
    clock = app.clock if isinstance(app.clock, TravelClock) else TravelClock()
    clock.ahead += seconds
    app.clock = clock


class Interrupted(Shop):
    """Its pushes end it as a kill would: nothing is done afterwards, but the process goes on."""

    def store_held(self, groups: Any) -> Any:
        raise BrokerUnavailable("away")

    def be_gone(self) -> None:
        """Nothing of it is left but the rows."""
        cast(SessionDeparture, self.departure).leaving.give_up()
        self.engine.dispose()


@pytest.fixture
def left_behind(shop: Shop, tmp_path: Path) -> str:
    """The id of a job that is in the outbox, and whose process has gone."""
    gone = Interrupted(str(tmp_path))
    job = gone.launch()
    gone.be_gone()
    return str(job.id)


def test_the_row_is_written_in_the_same_transaction_and_goes_when_the_broker_has_the_job(shop: Shop) -> None:
    seen: list[list[str]] = []

    with shop.sessions() as session:
        session.begin()
        job = shop.run.enqueue()
        sa.event.listen(session, "after_commit", lambda _: seen.append(rows(shop)))
        assert rows(shop) == []
        session.commit()

    assert (seen, rows(shop), job.status) == ([[str(job.id)]], [], JobState.READY)


def test_a_rollback_leaves_neither_row_nor_job(shop: Shop) -> None:
    with shop.sessions() as session:
        session.begin()
        job = shop.run.enqueue()

        with session.begin_nested() as savepoint:
            shop.run.enqueue()
            savepoint.rollback()

        session.flush()
        session.rollback()

    assert (rows(shop), job.status, shop.jobs()) == ([], "dropped", [])


def test_what_falls_with_a_savepoint_or_is_cancelled_is_not_written(shop: Shop) -> None:
    seen: list[list[str]] = []

    with shop.sessions() as session:
        session.begin()
        sa.event.listen(session, "after_commit", lambda _: seen.append(rows(shop)))

        with session.begin_nested() as savepoint:
            shop.run.enqueue()
            savepoint.rollback()

        shop.run.enqueue().cancel()
        job = shop.run.enqueue()
        session.commit()

    assert seen[-1] == [str(job.id)]
    assert [each.id for each in shop.jobs()] == [job.id]


def test_what_a_hook_of_the_flush_enqueues_is_written_too(shop: Shop) -> None:
    seen: list[int] = []

    with shop.sessions() as session:
        session.begin()
        sa.event.listen(session, "after_flush", lambda *_: shop.run.enqueue())
        sa.event.listen(session, "after_commit", lambda _: seen.append(len(rows(shop))))
        session.add(Launched(job=str(shop.run.enqueue().id)))
        session.commit()

    assert (seen, rows(shop), len(shop.jobs())) == ([2], [], 2)


def test_a_flow_is_one_row(shop: Shop) -> None:
    seen: list[int] = []

    with shop.sessions() as session:
        session.begin()
        chain(shop.run.si(), shop.run.si()).enqueue()
        sa.event.listen(session, "after_commit", lambda _: seen.append(len(rows(shop))))
        session.commit()

    assert (seen, len(shop.jobs())) == ([1], 2)


# --- what is left behind


def test_a_row_that_was_left_behind_is_taken_after_a_short_delay(shop: Shop, left_behind: str) -> None:
    outbox = outbox_of(shop)

    assert outbox.relay(shop.engine) == 0
    assert rows(shop) == [left_behind]

    later(shop)

    assert outbox.relay(shop.engine) == 1
    assert (rows(shop), [str(job.id) for job in shop.jobs()]) == ([], [left_behind])


def test_a_worker_takes_what_was_left_behind(shop: Shop, left_behind: str) -> None:
    later(shop)

    with shop.worker():
        job = wait_until(lambda: shop.get(left_behind), "the job is stored", 20)
        job.result(20)
        wait_until(lambda: not rows(shop), "the row is deleted")


def test_a_row_is_taken_by_one_relay_alone(shop: Shop, left_behind: str) -> None:
    later(shop)
    outbox = outbox_of(shop)

    with shop.engine.begin() as connection:
        assert [id for id, _, _ in outbox._take(connection)] == [left_behind]

    assert outbox.relay(shop.engine) == 0

    later(shop, 60.0)

    assert outbox.relay(shop.engine) == 1


def test_many_relays_at_a_time_take_each_row_once(shop: Shop, tmp_path: Path) -> None:
    gone = Interrupted(str(tmp_path))

    for _ in range(40):
        gone.launch()

    gone.be_gone()
    later(shop)
    counts: Counter[int] = Counter()
    start = threading.Barrier(4)

    def relay(number: int) -> None:
        start.wait()
        counts[number] += outbox_of(shop).relay(shop.engine)

    threads = [threading.Thread(target=relay, args=(number,)) for number in range(4)]

    for thread in threads:
        thread.start()

    for thread in threads:
        thread.join()

    assert (counts.total(), rows(shop), len(shop.jobs())) == (40, [], 40)


def test_a_job_that_the_broker_has_already_is_not_stored_again(shop: Shop, left_behind: str) -> None:
    later(shop)
    outbox = outbox_of(shop)

    with shop.engine.begin() as connection:
        kept = connection.execute(sa.select(outbox.table)).mappings().one()

    outbox.relay(shop.engine)

    with shop.worker():
        assert shop.get(left_behind).result(20) is None  # type: ignore[union-attr]

    with shop.engine.begin() as connection:
        connection.execute(outbox.table.insert(), dict(kept))

    assert outbox.relay(shop.engine) == 1
    assert [job.status for job in shop.jobs()] == [JobState.SUCCEEDED]


def test_time_that_a_row_waited_is_taken_off_the_delay_of_its_job(shop: Shop, tmp_path: Path) -> None:
    gone = Interrupted(str(tmp_path))

    with gone.sessions.begin() as session:
        gone.run.using(run_in=60, expires=3600, session=session).enqueue()

    gone.be_gone()
    later(shop, 50.0)
    outbox_of(shop).relay(shop.engine)
    (job,) = shop.jobs()

    assert job.enqueued_at is not None
    assert job.run_at is not None
    assert job.expires_at is not None
    assert (job.run_at - job.enqueued_at).total_seconds() <= 10
    assert (job.expires_at - job.enqueued_at).total_seconds() <= 3550


def test_a_row_that_cannot_be_read_harms_no_other(shop: Shop, left_behind: str, caplog: pytest.LogCaptureFixture) -> None:
    outbox = outbox_of(shop)
    strange = {"id": "strange", "application": "shop", "written_at": 0.0, "taken_until": 0.0, "jobs": b"\xc1"}

    with shop.engine.begin() as connection:
        connection.execute(outbox.table.insert(), strange)

    later(shop)

    with caplog.at_level(logging.ERROR, "cherga.outbox"):
        assert outbox.relay(shop.engine) == 1

    assert rows(shop) == ["strange"]
    assert "the row strange of cherga_outbox cannot be read, and stays" in caplog.text


def test_a_row_of_another_application_is_left_alone(shop: Shop, left_behind: str) -> None:
    with shop.engine.begin() as connection:
        connection.execute(sa.update(outbox_of(shop).table).values(application="another"))

    later(shop)

    assert outbox_of(shop).relay(shop.engine) == 0


def test_a_refused_row_stays_and_is_tried_again(shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop.limit(queue="small", max_length=1)
    shop.publish()
    first = shop.run.using(queue="small", when="now").enqueue()
    gone = Interrupted(str(tmp_path))

    with gone.sessions.begin() as session:
        gone.run.using(queue="small", session=session).enqueue()

    gone.be_gone()
    later(shop)

    with caplog.at_level(logging.ERROR, "cherga.outbox"):
        assert outbox_of(shop).relay(shop.engine) == 0

    assert len(rows(shop)) == 1
    assert "were refused" in caplog.text

    first.cancel()
    later(shop, 60.0)

    assert (outbox_of(shop).relay(shop.engine), rows(shop)) == (1, [])


def test_a_broker_that_is_away_at_the_commit_leaves_the_row(tmp_path: Path) -> None:
    broker = FailingBroker()

    with database_in(tmp_path) as database:
        app = AppWith(broker)
        metadata = sa.MetaData()
        follow(app, database.sessions, when="outbox", metadata=metadata)
        metadata.create_all(database.engine)
        task = app.task(name="t")(lambda: None)
        broker.fail_with(*[BrokerUnavailable("away")] * 3)

        with database.sessions.begin() as session:
            job = task.using(session=session).enqueue()

        assert (job.status, count_in(database, metadata)) == ("held", 1)

        departure: Any = app.departure
        wait_until(lambda: departure.leaving.hurry() or job.status is JobState.READY, "the job is stored")
        wait_until(lambda: count_in(database, metadata) == 0, "the row is deleted")


def count_in(database: Database, metadata: sa.MetaData) -> int:
    with database.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(outbox_table(metadata))) or 0


# --- killed between commit and send


def test_a_process_that_is_killed_at_any_step_loses_no_job_and_runs_none_twice(shop: Shop, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": PATH}
    command = [sys.executable, "-m", "tests.outbox_jobs", str(tmp_path), str(KILLS)]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=55)
    assert ran.returncode == 0, ran.stderr

    with shop.sessions() as session:
        launched = set(session.scalars(sa.select(Launched.job)))

    assert len(launched) == KILLS - len(range(0, KILLS, 4))  # a quarter was killed before the commit
    later(shop)

    with shop.worker():
        wait_until(lambda: not rows(shop), "nothing is left behind", 30)
        wait_until(lambda: all(job.status.final for job in shop.jobs(limit=10_000)), "all jobs have ended", 30)

    with shop.sessions() as session:
        assert Counter(session.scalars(sa.select(Ran.job))) == Counter(launched)
        assert set(session.scalars(sa.select(Ran.rows))) == {1}


# --- the table


def test_a_missing_table_is_named_with_how_to_create_it_and_the_commit_fails(tmp_path: Path) -> None:
    shop = Shop(str(tmp_path))
    Model.metadata.create_all(shop.engine, tables=[Launched.__table__])  # type: ignore[list-item]

    with shop.sessions() as session:
        session.begin()
        session.add(Launched(job="x"))
        job = shop.run.enqueue()

        with pytest.raises(ConfigError, match=r"expected the table cherga_outbox in sqlite:///.*app\.db, .*flask db migrate"):
            session.commit()

        session.rollback()
        assert (job.status, session.scalars(sa.select(Launched.job)).all()) == ("dropped", [])

    shop.close()
    shop.engine.dispose()


def test_a_relay_without_its_table_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(str(tmp_path))
    relay = getattr(shop.departure, "relay")  # noqa: B009

    with caplog.at_level(logging.ERROR, "cherga.outbox"):
        relay.look()
        relay.look()

    assert [record.message for record in caplog.records if "expected the table cherga_outbox" in record.message]
    assert len(caplog.records) == 1
    shop.close()
    shop.engine.dispose()


def test_the_table_is_part_of_the_metadata_once() -> None:
    metadata = sa.MetaData()

    assert outbox_table(metadata) is outbox_table(metadata) is metadata.tables["cherga_outbox"]


def test_migrations_see_the_table_until_it_is_there(tmp_path: Path) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata = sa.MetaData()
    outbox_table(metadata)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        kind, table = compare_metadata(context, metadata)[0]
        assert (kind, table.name) == ("add_table", "cherga_outbox")

        metadata.create_all(connection)
        assert compare_metadata(context, metadata) == []

    engine.dispose()


def rows_in(engine: sa.Engine, table: sa.Table) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)))


class Base(DeclarativeBase):
    """What the tables of the Flask application inherit."""


def test_flask_takes_the_table_into_the_metadata_of_flask_sqlalchemy(tmp_path: Path) -> None:
    db = SQLAlchemy(model_class=Base, disable_autonaming=True)
    cherga = Cherga(name="boxed", sqlalchemy=db, when="outbox")
    task = cherga.task(name="t")(lambda: None)
    app = Flask("boxed", instance_path=str(tmp_path))
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///boxed.db", CHERGA={"broker_url": "memory://boxed"})
    cherga.init_app(app)
    db.init_app(app)
    seen: list[int] = []

    with app.app_context():
        db.create_all()
        table = db.metadata.tables["cherga_outbox"]
        db.session.begin()
        job = task.enqueue()
        sa.event.listen(db.session(), "after_commit", lambda _: seen.append(len(rows_in(db.engine, table))))
        db.session.commit()

        assert (seen, job.status) == ([1], JobState.READY)
        assert db.session.execute(sa.select(table)).all() == []
        db.session.rollback()
        db.engine.dispose()

    cherga.close()


def test_an_outbox_needs_to_know_the_metadata_before_anything_is_created(tmp_path: Path) -> None:
    app = Flask("boxed", instance_path=str(tmp_path))
    app.config["CHERGA"] = {"broker_url": "memory://", "when": "outbox"}

    with pytest.raises(ConfigError, match=r"expected sqlalchemy=db together with when='outbox', or db\.init_app\(app\) before"):
        Cherga(app)


def test_follow_needs_the_metadata_for_an_outbox(app: QueueTasks, tmp_path: Path) -> None:
    with database_in(tmp_path) as database, pytest.raises(ConfigError, match="expected metadata= together with when='outbox'"):
        follow(app, database.sessions, when="outbox")
