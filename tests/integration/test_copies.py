"""A child that a job forks by hand and that comes back from it is no second worker: it ends, and does nothing with jobs."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from cherga import QueueTasks
from cherga.testing import wait_until
from tests.workers import PATH, Workplace

APP = """
import asyncio, os, sys, time
from cherga import Batch, QueueTasks, ctx
from tests.worker_jobs import note

app = QueueTasks("jobs")


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@app.task
def comes_back() -> int | str:
    return code_of(child) if (child := os.fork()) else "from the child"


@app.task
def leaves() -> int:
    if not (child := os.fork()):
        sys.exit(3)
    return code_of(child)


@app.task
def raises() -> int:
    if not (child := os.fork()):
        raise KeyError("in the child")
    return code_of(child)


@app.task(batch=1)
def many(batch: Batch[int]) -> list[int]:
    return [code_of(child)] if (child := os.fork()) else [7]


@app.task
async def acomes_back() -> int | str:
    return code_of(child) if (child := os.fork()) else "from the child"


@app.task
async def aleaves() -> int:
    if not (child := os.fork()):
        sys.exit(3)
    return code_of(child)


@app.task
async def awaits() -> int:
    if not (child := os.fork()):
        await asyncio.sleep(0)
        os._exit(9)
    return code_of(child)


@app.task(on_crash="fail")
def once() -> None:
    note("once")
    time.sleep(0.01)


@app.task(on_crash="fail")
async def aonce() -> None:
    note("once")
    await asyncio.sleep(0.01)
"""

NEIGHBOURS = 20
CODES = {"comes_back": 0, "leaves": 3, "raises": 1, "acomes_back": 0, "aleaves": 3, "awaits": 1}


@pytest.fixture
def worker_environment(place: Workplace, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "forking.py").write_text(APP)
    return {**place.environment, "PYTHONPATH": os.pathsep.join((str(tmp_path), PATH))}


def test_what_comes_back_from_a_forking_job_runs_no_other_job_and_ends_with_the_usual_code(
    place: Workplace, worker_environment: dict[str, str]
) -> None:
    client = place.client
    jobs = {name: client.add_task(name) for name in CODES} | {"many": client.add_task("many", 1)}
    ours = [client.add_task(name) for _ in range(NEIGHBOURS) for name in ("once", "aonce")]
    place.worker("--threads", "1", app="forking:app", **worker_environment).ready()

    for job in ours:
        job.result(30)

    assert {name: job.result(30) for name, job in jobs.items()} == {**CODES, "many": 0}
    begun = Counter(event.job for event in place.events("once"))
    assert set(begun.values()) == {1}
    assert len(begun) == len(ours)
    assert len({event.pid for event in place.events("once")}) == 1


def test_a_forked_child_that_leaves_the_block_of_an_embedded_worker_takes_no_job_from_it(tmp_path: Path) -> None:
    app = QueueTasks("jobs", f"sqlite:///{tmp_path / 'queue.db'}")
    go_on, began = tmp_path / "go-on", tmp_path / "began"

    @app.task
    def lasts() -> int:
        began.touch()

        while not go_on.exists():
            os.sched_yield()

        return os.getpid()

    with app.worker(threads=1) as worker:
        job, waiting = lasts.enqueue(), lasts.enqueue()
        wait_until(began.exists, "the first job runs")
        child = os.fork()

        if not child:
            try:
                worker.__exit__(None, None, None)
            finally:
                os._exit(0)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        go_on.touch()
        assert {job.result(20), waiting.result(20)} == {os.getpid()}
        assert [row.claims for row in app.broker.get([job.id, waiting.id]) if row is not None] == [1, 1]

    app.close()
