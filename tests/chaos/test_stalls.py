"""Processes that stand still, and orders that come at a bad moment."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import apsw
import pytest

from cherga import JobFailed, JobState
from cherga.testing import wait_until
from tests.workers import PATH, Workplace

APP = """
from threading import Event
from cherga import QueueTasks

app = QueueTasks("jobs", heartbeat=0.2, lease=1.0, {settings})


@app.task
def work(seconds: float) -> int:
    Event().wait(seconds)
    return {value}


@app.task
def say(text: str) -> None:
    print(text)


@app.task
async def idle(seconds: float) -> None:
    import asyncio
    await asyncio.sleep(seconds)
"""


def _write_app(folder: Path, settings: str = "", value: int = 1, more: str = "") -> dict[str, str]:
    """A module ``made`` with an application; returns the environment that finds it."""
    (folder / "made.py").write_text(APP.format(settings=settings, value=value) + more, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join((str(folder), PATH)), "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_worker_whose_lease_has_lapsed_claims_nothing_until_it_is_renewed(place: Workplace) -> None:
    worker = place.worker().ready()
    assert place.client.add_task("add", 1, 1).result(10) == 2
    place.freeze(worker.process.pid)  # as Ctrl-Z in a terminal does
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > 1.3, "the lease lapses")
    job = place.client.add_task("work", 0.0)
    offered = time.monotonic()
    wait_until(lambda: time.monotonic() - offered > 0.5, "the worker has had time to try")

    assert job.refresh().row.claims <= 1
    worker.send(signal.SIGCONT)
    job.result(10)
    assert job.refresh().row.claims <= 2


def test_an_idle_engine_is_not_taken_for_a_stalled_one(place: Workplace, tmp_path: Path) -> None:
    environment = _write_app(tmp_path, "poll_interval=5.0, stall_limit=0.8")
    place.worker(app="made:app", **environment).ready()
    job = place.client.add_task("work", 2.0)

    assert job.result(20) == 1
    assert job.refresh().crashes == 0


def test_a_process_that_starts_slower_than_the_stall_limit_is_left_alone(place: Workplace, tmp_path: Path) -> None:
    environment = _write_app(tmp_path, "stall_limit=0.8", more="\n\nEvent().wait(1.5)\n")
    worker = place.worker(app="made:app", **environment).ready()
    (first,) = worker.children()
    os.kill(first, signal.SIGKILL)  # for its successor the supervisor has everything open, and looks as soon as it is up
    wait_until(lambda: worker.log.count(": ready for") == 2, "the successor is ready", 20)

    assert place.client.add_task("work", 0.0).result(20) == 1
    assert "stood still" not in worker.log


def test_a_supervisor_ends_in_time_although_its_worker_process_stands_still(place: Workplace, tmp_path: Path) -> None:
    environment = _write_app(tmp_path, "grace=0.5")
    worker = place.worker(app="made:app", **environment).ready()
    jobs = [place.client.add_task("idle", 60.0) for _ in range(90)]
    wait_until(lambda: place.states()["running"] == len(jobs), "all run", 20)
    (child,) = worker.children()
    place.freeze(child)

    for job in jobs:  # each rings, and each ring repeats all cancellations
        job.cancel()

    worker.send(signal.SIGTERM)
    assert worker.wait(20) == 7


def test_work_that_must_not_run_twice_is_not_repeated_when_its_end_could_not_be_written(
    place: Workplace, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    more = f"\n\n@app.task\ndef mark() -> None:\n    open({str(marks)!r}, 'a').write('x')\n    Event().wait(0.2)\n"
    worker = place.worker(app="made:app", **_write_app(tmp_path, "sweep=30.0", more=more)).ready()
    (child,) = worker.children()
    task = place.client.task(name="mark", on_crash="fail")(_mark)
    job = task.enqueue()
    wait_until(marks.exists, "it runs", 20)
    db = apsw.Connection(place.url.removeprefix("sqlite:///"))
    db.set_busy_timeout(5000)
    db.execute("begin immediate")
    wait_until(lambda: "succeeded" in worker.log, "it has ended, and cannot say so", 20)
    os.kill(child, signal.SIGKILL)
    db.execute("rollback")
    db.close()

    with pytest.raises(JobFailed) as caught:
        job.result(20)

    assert caught.value.reason == "crashed"
    assert marks.read_text(encoding="utf-8") == "x"


def _mark() -> None:
    """Stands for the worker's task on the sender's side."""


def test_what_a_job_prints_in_a_burst_is_not_lost(place: Workplace, tmp_path: Path) -> None:
    environment = _write_app(tmp_path)
    job = place.client.add_task("say", "hello from the job")
    worker = place.worker("--burst", app="made:app", **environment, PYTHONUNBUFFERED="")

    assert worker.wait() == 0
    assert job.refresh().status is JobState.SUCCEEDED
    assert "hello from the job" in worker.log


def test_a_reloading_worker_waits_for_a_broken_file_to_be_mended(place: Workplace, tmp_path: Path) -> None:
    environment = _write_app(tmp_path)
    worker = place.worker("--reload", "--processes", "2", app="made:app", **environment).ready()
    assert place.client.add_task("work", 0.0).result(10) == 1
    _write_app(tmp_path, more="def broken(:\n")
    wait_until(lambda: worker.log.count("waiting for a change") == 2, "both wait", 20)
    _write_app(tmp_path, value=22)

    assert place.client.add_task("work", 0.0).result(20) == 22
    wait_until(lambda: len(worker.children()) == 2, "both are back", 20)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
