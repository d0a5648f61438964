"""Every job runs in an application context of its own, on the one application."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, current_app, g, has_app_context, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cherga import Depends, JobFailed
from cherga.client.signals import Event
from cherga.contrib.flask import Cherga
from cherga.testing import wait_until
from cherga.worker.host import close_process

THREADS = 16
JOBS = int(os.environ.get("CONTEXT_JOBS", "1000"))
"""Jobs of the test with sixteen threads; ``CONTEXT_JOBS=16000`` gives each thread a thousand."""


class Model(DeclarativeBase):
    """What the tables inherit."""


class Site:
    """A small application with a table, made by a factory from extensions that know no application yet."""

    def __init__(self, tmp_path: Path, name: str = "site") -> None:
        self.db = SQLAlchemy(model_class=Model, disable_autonaming=True)
        self.cherga = Cherga(name="site")
        self.app = self.make_app(tmp_path / name)

    def make_app(self, folder: Path) -> Flask:
        app = Flask("site", instance_path=str(folder))
        app.config["SECRET_KEY"] = "secret"
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///site.db"
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": THREADS, "max_overflow": 0, "connect_args": {"timeout": 30}}
        app.config["CHERGA"] = {"broker_url": "memory://"}
        self.db.init_app(app)
        self.cherga.init_app(app)
        return app


class Row(Model):
    """One line that a job wrote."""

    __tablename__ = "row"

    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)

    with site.app.app_context():
        site.db.create_all()

    yield site

    site.cherga.close()

    with site.app.app_context():
        site.db.engine.dispose()


def test_a_job_sees_the_application_and_a_context_that_no_other_job_sees(site: Site) -> None:
    @site.cherga.task
    def look() -> tuple[str, bool, bool, int]:
        fresh = "mark" not in g
        g.mark = True
        return current_app.name, fresh, has_request_context(), id(g._get_current_object())

    with site.cherga.worker(threads=1):
        seen = [job.result(10) for job in [look.enqueue(), look.enqueue()]]

    assert [(name, fresh, request) for name, fresh, request, _ in seen] == [("site", True, False)] * 2
    assert not has_app_context()


def test_coroutines_that_run_side_by_side_have_contexts_of_their_own(site: Site) -> None:
    together = []

    @site.cherga.task
    async def look(number: int) -> int:
        g.number = number
        together.append(number)

        while len(together) < 5:
            await asyncio.sleep(0)

        return int(g.number)

    with site.cherga.worker(concurrency=5):
        jobs = look.enqueue_many([(number,) for number in range(5)])

        assert [job.result(10) for job in jobs] == [0, 1, 2, 3, 4]


def test_sixteen_threads_share_no_session_lose_no_row_and_give_every_connection_back(site: Site) -> None:
    sessions: dict[int, int] = {}
    shared: list[int] = []
    lock = threading.Lock()

    @site.cherga.task
    def write(number: int) -> None:
        session = site.db.session()

        with lock:
            shared.extend([number] if id(session) in sessions else [])
            sessions[id(session)] = number

        session.add(Row(id=number))
        session.flush()

        with lock:
            del sessions[id(session)]

        if number % 10 == 0:
            raise ValueError("after the flush")

        session.commit()

    with site.cherga.worker(threads=THREADS):
        write.enqueue_many([(number,) for number in range(1, JOBS + 1)])
        patience = 55.0 * max(1, JOBS // 1000)
        wait_until(lambda: all(row.state.final for row in site.cherga.broker.counts()), "all jobs have ended", patience)

    with site.app.app_context():
        kept = set(site.db.session.scalars(sa.select(Row.id)))
        assert kept == {number for number in range(1, JOBS + 1) if number % 10}
        site.db.session.remove()
        assert site.db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    assert shared == []
    assert len(site.db.session.registry.registry) == 0


def test_what_a_failed_job_wrote_is_rolled_back_and_the_next_job_starts_clean(site: Site) -> None:
    @site.cherga.task
    def write(number: int, fail: bool) -> int:
        found = site.db.session.scalar(sa.select(sa.func.count(Row.id)))
        site.db.session.add(Row(id=number))
        site.db.session.flush()

        if fail:
            raise ValueError("no")

        return found or 0

    with site.cherga.worker(threads=1):
        with pytest.raises(JobFailed, match="ValueError: no"):
            write.enqueue(1, True).result(10)

        assert write.enqueue(1, False).result(10) == 0


def test_a_teardown_hook_is_told_what_a_job_raised(site: Site) -> None:
    told: list[BaseException | None] = []

    @site.cherga.task
    def fail() -> None:
        raise LookupError("gone")

    with site.cherga.worker():
        site.app.teardown_appcontext(told.append)

        with pytest.raises(JobFailed, match="LookupError: gone"):
            fail.enqueue().result(10)

    assert [type(error) for error in told] == [LookupError]


def test_a_failure_reaches_the_handlers_of_the_application_with_its_traceback(site: Site) -> None:
    mails = Mailbox()
    site.app.logger.addHandler(mails)

    @site.cherga.task
    def fail() -> None:
        raise RuntimeError("the disk is full")

    try:
        with site.cherga.worker(), pytest.raises(JobFailed):
            fail.enqueue().result(10)

        wait_until(lambda: mails.texts, "a mail to the people in charge")
    finally:
        site.app.logger.removeHandler(mails)

    assert "Traceback" in mails.texts[0]
    assert "RuntimeError: the disk is full" in mails.texts[0]


class Mailbox(logging.Handler):
    """Stands for a handler that mails errors to those in charge."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def test_a_second_application_takes_over_with_a_queue_of_its_own(tmp_path: Path) -> None:
    site = Site(tmp_path, "one")
    site.cherga.task(name="where")(lambda: current_app.instance_path)
    waiting = site.cherga.tasks["where"].enqueue()

    other = site.make_app(tmp_path / "two")

    assert site.cherga.get(waiting.id) is None
    assert other.extensions["cherga"] is site.cherga

    with site.cherga.worker():
        assert site.cherga.tasks["where"].enqueue().result(10) == other.instance_path

    site.cherga.close()


def test_a_request_enqueues_and_a_job_runs_with_nothing_of_the_request(site: Site) -> None:
    @site.cherga.task
    def look() -> dict[str, Any]:
        return {"request": has_request_context(), "user": g.get("user")}

    @site.app.get("/go")
    def go() -> str:
        g.user = "susan"
        return str(look.enqueue().id)

    with site.cherga.worker():
        id = site.app.test_client().get("/go").text
        job = site.cherga.get(id)
        assert job is not None

        assert job.result(10) == {"request": False, "user": None}


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_handlers_are_told_in_an_application_context_by_workers_and_by_senders(site: Site, is_async: bool) -> None:
    told: dict[str, tuple[str, bool]] = {}

    def hear(event: Event) -> None:
        told[event.name] = (current_app.name, "mark" in g)

    async def ahear(event: Event) -> None:
        hear(event)

    for name in ("enqueued", "started", "succeeded", "cancelled", "worker_started"):
        getattr(site.cherga.on, name)(ahear if is_async else hear)

    @site.cherga.task
    def work() -> None: ...

    work.enqueue().cancel()
    assert told == {"enqueued": ("site", False), "cancelled": ("site", False)}
    assert not has_app_context()

    with site.app.app_context():
        g.mark = True
        work.enqueue()
        assert told["enqueued"] == ("site", True)

    with site.cherga.worker():
        wait_until(lambda: {"started", "succeeded", "worker_started"} <= told.keys(), "every handler has heard")

    assert {told[name] for name in ("started", "succeeded", "worker_started")} == {("site", False)}


@pytest.mark.parametrize("scope", ["worker", "process"])
def test_what_many_jobs_share_is_closed_in_an_application_context(site: Site, scope: str) -> None:
    seen: list[str] = []

    def shared() -> Iterator[None]:
        seen.append(current_app.name)
        yield
        seen.append(current_app.name)

    async def ashared() -> AsyncIterator[None]:
        seen.append(current_app.name)
        yield
        seen.append(current_app.name)

    one, other = Depends(shared, scope=scope), Depends(ashared, scope=scope)

    @site.cherga.task
    async def work(a: Any = one, b: Any = other) -> None: ...

    with site.cherga.worker():
        work.enqueue().result(10)

    close_process()
    assert seen == ["site"] * 4
