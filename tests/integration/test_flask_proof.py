"""A worker shows that a Flask application can work before it takes a job, and says what is missing and who makes it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask, current_app
from flask.cli import with_appcontext
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from cherga import JobFailed, QueueTasks
from cherga.contrib.flask import Cherga
from cherga.words.proof import Finding, Plan
from tests.workers import Workplace

TARGET = f"{__name__}:create_app"
WORKER = Plan(threads=8, concurrency=100, target=TARGET)
FLASK = f"flask --app {TARGET}"


def create_app() -> Flask:
    """What the command line of Flask would be given."""
    return Flask("shop")


class Shop:
    """An application with a database of two tables, and one more behind a second bind."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.db = SQLAlchemy(model_class=type("Base", (DeclarativeBase,), {}), disable_autonaming=True)
        self.cherga = Cherga(name="shop")
        self.app = Flask("shop", instance_path=str(folder))
        self.app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///shop.db", CHERGA={"broker_url": "memory://"}, **config)
        self.db.init_app(self.app)
        self.cherga.init_app(self.app)
        self.file = folder / "shop.db"

        for name in ("user", "post"):
            sa.Table(name, self.db.metadatas[None], sa.Column("id", sa.Integer, primary_key=True))

        if "SQLALCHEMY_BINDS" in config:
            metadata = self.db.metadatas.setdefault("log", sa.MetaData())
            sa.Table("visit", metadata, sa.Column("id", sa.Integer, primary_key=True))

    def create(self) -> None:
        with self.app.app_context():
            self.db.create_all()

    def found(self, plan: Plan = WORKER) -> list[Finding]:
        return [finding for proof in self.cherga.proofs for finding in proof(plan)]

    def wrong(self, plan: Plan = WORKER) -> list[str]:
        return [finding.text for finding in self.found(plan) if not finding.proven]

    def close(self) -> None:
        self.cherga.close()

        with self.app.app_context():
            for engine in self.db.engines.values():
                engine.dispose()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, SQLALCHEMY_BINDS={"log": f"sqlite:///{tmp_path}/log.db"})
    yield shop
    shop.close()


# --- tables


def test_a_database_with_all_its_tables_is_one_line_each(shop: Shop) -> None:
    shop.create()

    assert shop.found() == [Finding("database", f"{shop.file}, initialised"), Finding("tables", "2 verified")]


def test_the_tables_of_every_bind_are_looked_at(two: Shop, tmp_path: Path) -> None:
    two.create()
    assert [finding.text for finding in two.found()][2:] == [f"log: {tmp_path}/log.db, initialised", "log: 1 verified"]

    with two.app.app_context(), two.db.engines["log"].begin() as connection:
        connection.execute(sa.text("drop table visit"))

    (told,) = two.wrong()
    assert told.startswith(f"expected the table visit in {tmp_path}/log.db, but it is missing; ")


def test_a_file_that_is_not_there_is_named_with_what_creates_the_tables_and_is_not_made(shop: Shop) -> None:
    assert shop.wrong() == [
        (
            f"expected the tables user, post in {shop.file}, but there is no such file; create what is missing once with: "
            f'echo "db.create_all()" | {FLASK} shell'
        )
    ]
    assert not shop.file.exists()


def test_an_empty_file_and_a_table_that_is_missing_have_their_own_sentences(shop: Shop) -> None:
    shop.file.touch()
    (empty,) = shop.wrong()
    assert f"in {shop.file}, but this file is empty;" in empty

    shop.create()

    with shop.app.app_context(), shop.db.engine.begin() as connection:
        connection.execute(sa.text("drop table post"))

    (missing,) = shop.wrong()
    assert missing.startswith(f"expected the table post in {shop.file}, but it is missing; ")


def test_of_many_missing_tables_some_are_named(shop: Shop) -> None:
    for number in range(8):
        sa.Table(f"extra{number}", shop.db.metadatas[None], sa.Column("id", sa.Integer, primary_key=True))

    assert "expected the tables user, post, extra0, extra1, extra2 and 5 more in" in shop.wrong()[0]


def test_a_view_will_do_where_a_table_is_expected(shop: Shop) -> None:
    shop.create()

    with shop.app.app_context(), shop.db.engine.begin() as connection:
        connection.execute(sa.text("drop table post"))
        connection.execute(sa.text("create view post as select id from user"))

    assert shop.wrong() == []


def test_the_applications_own_command_that_creates_tables_is_named(shop: Shop) -> None:
    @shop.app.cli.group("site")
    def site() -> None: ...

    @site.command("set-up")
    @with_appcontext
    def set_up() -> None:
        shop.db.create_all()

    assert shop.wrong()[0].endswith(f"create what is missing with: {FLASK} site set-up")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_told_to_a_worker_process_and_serves_an_embedded_worker(tmp_path: Path, url: str) -> None:
    shop = Shop(tmp_path)
    shop.app = Flask("shop", instance_path=str(tmp_path))
    shop.app.config.update(SQLALCHEMY_DATABASE_URI=url, CHERGA={"broker_url": "memory://"})
    shop.db.init_app(shop.app)
    shop.cherga.init_app(shop.app)

    assert "is in memory, where each process has one of its own" in shop.wrong()[0]
    assert "expected the tables" in shop.wrong(Plan(threads=1, concurrency=1))[0]
    shop.close()


def test_a_database_that_cannot_be_asked_is_told(shop: Shop) -> None:
    shop.file.write_bytes(b"this is no database, though it has the length of a header " * 10)

    assert shop.wrong() == [
        (
            f"the database {shop.file} could not be asked: sqlalchemy.exc.DatabaseError: (sqlite3.DatabaseError) file is not "
            "a database"
        )
    ]


# --- connections


def test_more_threads_than_connections_are_told_with_both_ways_out(shop: Shop) -> None:
    shop.create()

    assert shop.wrong(Plan(threads=16, concurrency=1, target="shop")) == [
        (
            f"16 jobs run side by side in each process, but the pool of {shop.file} gives 15 connections at most, and who "
            'waits for one fails after a while; set SQLALCHEMY_ENGINE_OPTIONS = {"pool_size": 16}, or use --threads 15'
        )
    ]
    assert shop.wrong(Plan(threads=15, concurrency=1000, target="shop")) == []


# --- migrations


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Shop]:
    """A shop with the tables, and the migrations aaaa and, after that, bbbb."""
    shop = Shop(tmp_path)
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)

    for revision, before in (("aaaa", None), ("bbbb", "aaaa")):
        (versions / f"{revision}.py").write_text(f"revision = {revision!r}\ndown_revision = {before!r}\n", encoding="utf-8")

    flask_migrate.Migrate(shop.app, shop.db, directory=str(tmp_path / "migrations"))
    yield shop
    shop.close()


def stamp(shop: Shop, revision: str) -> None:
    """The tables, and the database as this migration leaves it."""
    shop.create()

    with shop.app.app_context(), shop.db.engine.begin() as connection:
        connection.execute(sa.text("create table alembic_version (version_num text)"))
        connection.execute(sa.text("insert into alembic_version values (:revision)"), {"revision": revision})


def test_the_head_of_the_migrations_is_told(migrated: Shop) -> None:
    stamp(migrated, "bbbb")

    assert migrated.found()[2:] == [Finding("migrations", "at the head bbbb")]


def test_a_database_behind_the_code_is_told_with_the_command(migrated: Shop) -> None:
    assert migrated.wrong()[0].endswith(f"create what is missing with: {FLASK} db upgrade")

    stamp(migrated, "aaaa")

    assert migrated.wrong() == [f"the database is at the migration aaaa, the code at bbbb; run: {FLASK} db upgrade"]


def test_tables_without_migrations_and_code_behind_the_database_are_told(migrated: Shop) -> None:
    migrated.create()
    assert migrated.wrong() == [
        (
            f"the database has seen no migration, the code is at bbbb; run: {FLASK} db upgrade (or: {FLASK} db stamp "
            "head, where create_all made the tables)"
        )
    ]

    stamp(migrated, "cccc")
    assert "the database is at the migration cccc, which this code does not know" in migrated.wrong()[0]


def test_migrations_that_are_not_there_are_told(shop: Shop, tmp_path: Path) -> None:
    shop.create()
    flask_migrate.Migrate(shop.app, shop.db, directory=str(tmp_path / "nowhere"))

    (told,) = shop.wrong()
    assert told.startswith("the migrations could not be looked at: alembic.util.exc.CommandError: ")


def test_another_extension_that_keeps_engines_is_left_alone(shop: Shop) -> None:
    shop.app.extensions["sqlalchemy"] = SimpleNamespace(engines={"default": None})

    assert shop.found() == []


# --- jobs


def run_in(cherga: QueueTasks, name: str) -> str:
    """What the failed job of this task leaves behind."""
    with cherga.worker(), pytest.raises(JobFailed) as caught:
        cherga.tasks[name].enqueue().result(10)

    return str(caught.value)


@pytest.mark.parametrize("way", ["thread", "coroutine", "batch"])
def test_a_job_that_misses_a_table_says_so_in_one_line_and_keeps_what_is_needed(
    shop: Shop, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    def look(*values: object) -> None:
        shop.db.session.execute(sa.text("select * from user"))

    @shop.cherga.task(name="thread")
    def count() -> None:
        look()

    @shop.cherga.task(name="coroutine")
    async def acount() -> None:
        look()

    @shop.cherga.task(name="batch", batch=2)
    def count_many(values: list[int]) -> None:
        look()

    task: Any = shop.cherga.tasks[way]

    with caplog.at_level(logging.ERROR), shop.cherga.worker():
        job = task.enqueue(*([1] if way == "batch" else []))
        job.await_end(10)

    error = job.refresh().error
    (record,) = [record for record in caplog.records if "failed" in getattr(record, "action", "")]
    why = f"no such table: user; expected the tables user, post in {shop.file}, but"

    assert error.type == "sqlalchemy.exc.OperationalError"
    assert error.message.startswith(why)
    assert f"({__file__}:" in error.message
    assert "no such table: user\n[SQL: select * from user]" in error.traceback
    assert "in look" in error.traceback
    assert "site-packages" not in error.traceback
    assert why in record.getMessage()
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


def test_a_table_that_no_model_speaks_of_is_told_with_the_databases_that_lack_it(shop: Shop) -> None:
    shop.create()

    @shop.cherga.task
    def count() -> None:
        shop.db.session.execute(sa.text("select * from ghost"))

    assert f"no such table: ghost; there is none in {shop.file}, and no model speaks of it" in run_in(shop.cherga, "count")


def test_a_task_that_needs_flask_says_what_the_application_is_lacking(new_app: Any) -> None:
    app: QueueTasks = new_app()

    @app.task
    def name() -> str:
        return current_app.name

    told = run_in(app, "name")
    assert "RuntimeError: the task needs Flask's application context, which a plain QueueTasks knows nothing of; " in told


# --- the command


SHOP = """
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from cherga.contrib.flask import Cherga

cherga, db = Cherga(name="shop"), SQLAlchemy()


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)


@cherga.task
def count():
    return db.session.query(User).count()


def create_app():
    app = Flask("shop", instance_path=INSTANCE)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///shop.db"
    app.config["CHERGA"] = {"broker_url": BROKER}
    db.init_app(app)
    cherga.init_app(app)
    return app
"""


@pytest.fixture
def module(place: Workplace, tmp_path: Path) -> Path:
    """A module with an application, where worker processes find it."""
    head = f"INSTANCE, BROKER = {str(tmp_path)!r}, {place.url!r}\n"
    (tmp_path / "proven_shop.py").write_text(head + SHOP, encoding="utf-8")
    return tmp_path


def start(place: Workplace, *arguments: str) -> Any:
    path = f"{place.environment['PYTHONPATH']}:{place.diary.parent}"
    return place.worker("--burst", *arguments, app="proven_shop:create_app", PYTHONPATH=path)


def test_a_strict_worker_ends_with_a_code_of_its_own_and_another_one_warns(place: Workplace, module: Path) -> None:
    strict = start(place, "--strict")
    assert strict.wait() == 9
    assert strict.log.startswith(f"cherga: expected the table user in {module}/shop.db, but there is no such file; ")
    assert len(strict.log.splitlines()) == 1

    usual = start(place, "--processes", "2")
    assert usual.wait() == 0
    assert usual.log.count("WARNING") == 1
    assert "expected the table user" in usual.log
    assert not (module / "shop.db").exists()


def test_a_worker_whose_application_is_in_order_says_so_line_by_line(place: Workplace, module: Path) -> None:
    command = [sys.executable, "-m", "flask", "--app", "proven_shop:create_app", "shell"]
    subprocess.run(command, cwd=module, input="db.create_all()\n", encoding="utf-8", check=True, capture_output=True)

    worker = start(place, "--strict")
    assert worker.wait() == 0
    facts = {line.split()[0]: line.split(maxsplit=1)[1] for line in worker.log.splitlines() if line.startswith(" " * 16)}

    assert list(facts) == ["application", "broker", "database", "tables", "tasks", "queues", "processes"]
    assert facts["application"] == "shop, from proven_shop:create_app"
    assert facts["database"] == f"{module}/shop.db, initialised"
    assert facts["tables"] == "1 verified"
    assert "ready for 1 task of all queues; waiting for tasks" in worker.log
