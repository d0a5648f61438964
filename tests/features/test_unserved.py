"""Whoever waits for a job that no worker would run is told so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cherga import QueueTasks, ResultTimeout
from cherga.testing import wait_until

SAID = "no worker is alive; cherga worker -A module:app"


@pytest.fixture(params=["memory://", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueTasks]:
    url = request.param if request.param == "memory://" else f"sqlite:///{tmp_path}/queue.db"

    with closing(QueueTasks("lonely", url)) as app:
        app.task(name="work")(lambda: 7)
        app.task(name="more", queue="slow")(lambda: 8)
        yield app


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_wait_that_is_over_says_why_it_was_in_vain(app: QueueTasks) -> None:
    job = app.tasks["work"].enqueue()

    with pytest.raises(ResultTimeout) as caught:
        job.result(timeout=0)

    assert str(caught.value) == f"job {job.id} (work) is still ready after 0 seconds: {SAID}"


def test_the_async_twin_says_the_same(app: QueueTasks) -> None:
    job = app.tasks["work"].enqueue()

    with pytest.raises(ResultTimeout, match="no worker is alive"):
        asyncio.run(job.aresult(timeout=0.01))


def test_a_worker_for_other_queues_is_named(app: QueueTasks) -> None:
    words = "no worker listens to queue slow, only to default"

    with app.worker(queues=["default"]), pytest.raises(ResultTimeout, match=words):
        app.tasks["more"].enqueue().result(timeout=0.01)


def test_a_watch_says_after_a_while_that_nobody_works_and_goes_on_when_somebody_does(app: QueueTasks) -> None:
    job = app.tasks["work"].enqueue()
    updates = iter(app.watch(job.id))
    told = [next(updates), next(updates)]

    assert [(update.state.value, update.unserved) for update in told] == [("ready", ""), ("ready", SAID)]

    with app.worker():
        last = list(updates)[-1]

    assert (last.state.value, last.unserved) == ("succeeded", "")


def test_the_log_is_told_once_however_many_wait(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    jobs = app.tasks["work"].enqueue_many([()] * 20)

    async def wait_for_all() -> list[Any]:
        waits = [asyncio.create_task(job.aresult(timeout=30)) for job in jobs]
        await asyncio.to_thread(wait_until, lambda: warnings(caplog), "the log is told", 20)

        with await asyncio.to_thread(_start, app) as _:
            return await asyncio.gather(*waits)

    with caplog.at_level(logging.WARNING, "cherga.client"):
        assert asyncio.run(wait_for_all()) == [7] * 20

    assert warnings(caplog) == [f"a job of task work in queue default is waited for: {SAID}"]


def test_browsers_are_not_told_how_to_start_workers(app: QueueTasks) -> None:
    updates = iter(app.watch(app.tasks["work"].enqueue().id))
    next(updates)

    assert "cherga worker" not in str(next(updates).public())


def _start(app: QueueTasks) -> Any:
    return app.worker()
