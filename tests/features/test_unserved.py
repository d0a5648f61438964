"""Whoever waits for a job that no worker would run is told so."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cherga import QueueTasks, ResultTimeout
from cherga.testing import wait_until

PROGRAM = """
from cherga import QueueTasks

post_office = QueueTasks("letters")


@post_office.task
def send() -> None: ...


def main():
    (obstacle,) = send.enqueue().explain().obstacles
    print(obstacle)


if __name__ == "__main__":
    main()
"""
NOBODY = "no worker is alive; "


@pytest.fixture(params=["memory://", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueTasks]:
    url = request.param if request.param == "memory://" else f"sqlite:///{tmp_path}/queue.db"

    with closing(QueueTasks("lonely", url)) as app:
        app.task(name="work")(lambda: 7)
        app.task(name="more", queue="slow")(lambda: 8)
        yield app


def said(app: QueueTasks) -> str:
    """Jobs in memory are seen by workers of this process alone."""
    return NOBODY + ("with app.worker():" if app.broker_url == "memory://" else "cherga worker -A module:app")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_wait_that_is_over_says_why_it_was_in_vain(app: QueueTasks) -> None:
    job = app.tasks["work"].enqueue()

    with pytest.raises(ResultTimeout) as caught:
        job.result(timeout=0)

    assert str(caught.value) == f"job {job.id} (work) is still ready after 0 seconds: {said(app)}"


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

    assert [(update.state.value, update.unserved) for update in told] == [("ready", ""), ("ready", said(app))]

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

    assert warnings(caplog) == [f"a job of task work in queue default of {app.broker_url} is waited for: {said(app)}"]


def test_browsers_are_not_told_how_to_start_workers(app: QueueTasks) -> None:
    updates = iter(app.watch(app.tasks["work"].enqueue().id))
    next(updates)

    assert "cherga worker" not in str(next(updates).public())


def test_a_worker_for_the_missing_queue_is_started_in_the_same_way(app: QueueTasks) -> None:
    with app.worker(queues=["default"]):
        (obstacle,) = app.tasks["more"].enqueue().explain().obstacles

    is_memory = app.broker_url == "memory://"
    assert obstacle.remedy == ("with app.worker(queues=['slow']):" if is_memory else "cherga worker -A module:app -q slow")


def test_the_application_is_named_as_its_module_has_it(tmp_path: Path) -> None:
    """As a program, as a module, loaded by a command, and typed in: there is nothing that a worker could import then."""
    (tmp_path / "letters.py").write_text(PROGRAM)
    url = {"CHERGA_BROKER_URL": f"sqlite:///{tmp_path}/queue.db"}

    def run(*args: str) -> str:
        ran = subprocess.run([sys.executable, *args], cwd=tmp_path, env={**os.environ, **url}, capture_output=True, text=True)
        return (ran.stdout + ran.stderr).strip()

    assert run("letters.py") == NOBODY + "cherga worker -A letters:post_office"
    assert run("-m", "letters") == NOBODY + "cherga worker -A letters:post_office"
    assert run("-c", "import letters; letters.main()") == NOBODY + "cherga worker -A letters:post_office"
    assert run("-c", PROGRAM) == NOBODY + "cherga worker -A module:app"

    newest = run("-m", "cherga", "jobs", "list", "-n", "1").partition("\t")[0]
    assert "help\tcherga worker -A ./letters.py" in run("-m", "cherga", "jobs", "why", newest, "-A", "./letters.py")


def _start(app: QueueTasks) -> Any:
    return app.worker()
