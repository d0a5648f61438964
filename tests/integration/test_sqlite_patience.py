"""Enqueues that do not get the file in time say so, whichever way they come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cherga import BrokerUnavailable, EnqueueUnknown, QueueTasks, Task, chain, group
from cherga.words.clock import SystemClock
from tests.sqlite_files import raw

SHORT, LONG = 0.2, 20.0

WAYS: dict[str, Callable[[QueueTasks, Task[[int], None]], object]] = {
    "enqueue": lambda app, task: task.enqueue(1),
    "using": lambda app, task: task.using(priority=5, unique="one").enqueue(1),
    "enqueue_many": lambda app, task: task.enqueue_many([(1,), (2,)]),
    "add_task": lambda app, task: app.add_task("work", 1),
    "chain": lambda app, task: chain(task.si(1), task.si(2)).enqueue(),
    "group": lambda app, task: group(task.si(1), task.si(2)).enqueue(),
    "queue": lambda app, task: app.queue("mail").enqueue("work", 1),
    "aenqueue": lambda app, task: asyncio.run(task.aenqueue(1)),
    "aenqueue_many": lambda app, task: asyncio.run(task.aenqueue_many([(1,), (2,)])),
}


def make_app(folder: Path, **settings: Any) -> tuple[QueueTasks, Task[[int], None]]:
    app = QueueTasks("shop", f"sqlite:///{folder}/jobs.db", **settings)

    @app.task
    def work(n: int) -> None: ...

    assert app.jobs() == []
    return app, work


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Somebody else holds the file for the block."""
    with raw(folder / "jobs.db") as db:
        db.execute("begin immediate")
        yield
        db.execute("rollback")


@pytest.mark.parametrize("way", list(WAYS))
def test_an_enqueue_whose_time_is_over_is_unknown(tmp_path: Path, way: str) -> None:
    app, work = make_app(tmp_path, enqueue_timeout=SHORT, busy_timeout=LONG)

    with held(tmp_path):
        began = SystemClock.monotonic()

        with pytest.raises(EnqueueUnknown, match=rf"within {SHORT} seconds.*is safe") as caught:
            WAYS[way](app, work)

        assert SystemClock.monotonic() - began < LONG / 2

    assert caught.value.job_id is not None
    assert app.jobs() == []
    assert work.using(id=caught.value.job_id).enqueue(1).id == caught.value.job_id
    app.close()


def test_a_broker_that_gives_up_sooner_is_unavailable(tmp_path: Path) -> None:
    app, work = make_app(tmp_path, enqueue_timeout=LONG, busy_timeout=SHORT)

    with held(tmp_path):
        with pytest.raises(BrokerUnavailable, match="held by another process"):
            work.enqueue(1)

        with pytest.raises(BrokerUnavailable, match="held by another process"):
            asyncio.run(work.aenqueue(1))

    app.close()


def test_an_enqueue_does_not_wait_longer_behind_another_thread(tmp_path: Path) -> None:
    app, work = make_app(tmp_path, enqueue_timeout=SHORT, busy_timeout=LONG)

    with held(tmp_path):
        canceller = threading.Thread(target=app.broker.prune)
        canceller.start()
        began = SystemClock.monotonic()

        with pytest.raises(EnqueueUnknown):
            work.enqueue(1)

        assert SystemClock.monotonic() - began < LONG / 2

    canceller.join()
    work.enqueue(2)
    assert [job.arguments for job in app.jobs()] == [{"n": 2}]
    app.close()
