"""``job.explain()`` on real brokers, with a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cherga import Job, JobState, ObstacleKind, QueueTasks, ctx
from cherga.rules.pausing import write_arguments
from cherga.testing import wait_until
from cherga.words.shared import PauseScope

K = ObstacleKind


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueTasks]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"

    with closing(QueueTasks("shop", url, poll_interval=0.2)) as app:
        app.task(wait)
        app.task(name="save", unique="save", on_conflict="latest")(wait)
        app.task(name="post", rate_limit="1/h")(add)
        app.task(add)
        yield app


def add(a: int = 1) -> int:
    return a + 1


def wait() -> None:
    while ctx.sleep(0.05):
        pass


def kinds(job: Job[object]) -> list[ObstacleKind]:
    return [obstacle.kind for obstacle in job.explain().obstacles]


def run_first(job: Job[object]) -> None:
    wait_until(lambda: job.refresh().status is JobState.RUNNING, "the first job runs")


def test_a_job_that_waits_for_a_worker_runs_and_ends_and_says_so(app: QueueTasks) -> None:
    job = app.tasks["add"].enqueue(1)
    assert kinds(job) == [K.NO_WORKER]

    with app.worker():
        job.result(10)

    explained = job.explain()
    assert (explained.state, explained.obstacles) == (JobState.SUCCEEDED, ())
    assert explained.runs_when.startswith("it succeeded at ")


def test_a_successor_names_the_running_holder_of_its_key(app: QueueTasks) -> None:
    with app.worker():
        first = app.tasks["save"].enqueue()
        run_first(first)
        latest = app.tasks["save"].enqueue()
        explained = latest.explain()
        latest.cancel()
        first.cancel()

    assert [(one.kind, one.jobs) for one in explained.obstacles] == [(K.HOLDER, (first.id,))]


def test_jobs_that_it_waits_for_are_named_until_they_have_ended(app: QueueTasks) -> None:
    with app.worker():
        first, second = app.tasks["wait"].enqueue(), app.tasks["add"].enqueue()
        run_first(first)
        second.result(10)
        after = app.tasks["add"].using(after=[first, second]).enqueue()
        explained = after.explain()
        after.cancel()
        first.cancel()

    assert [(one.kind, one.jobs) for one in explained.obstacles] == [(K.JOBS, (first.id,))]


def test_a_rate_tells_when_the_next_start_is_due(app: QueueTasks) -> None:
    with app.worker():
        app.tasks["post"].enqueue().result(10)
        (obstacle,) = app.tasks["post"].enqueue().explain().obstacles

    assert obstacle.kind is K.RATE
    assert obstacle.until is not None
    assert obstacle.until.timestamp() > app.clock.now() + 3000


def test_a_pause_stands_in_the_way_of_the_jobs_with_its_arguments_alone(app: QueueTasks) -> None:
    app.broker.pause(PauseScope(task="add", arguments=write_arguments({"a": 7})), True)

    with app.worker():
        held = app.tasks["add"].enqueue(7)
        app.tasks["add"].enqueue(8).result(10)

        assert kinds(held) == [K.PAUSED]
        assert "with a=7 is paused" in str(held.explain())


def test_the_async_twin_says_the_same(app: QueueTasks) -> None:
    job = app.tasks["add"].using(run_in=600).enqueue()

    async def ask() -> str:
        return str(await job.aexplain())

    help = "with app.worker():" if app.broker_url == "memory://" else "cherga worker -A module:app"
    assert asyncio.run(ask()).splitlines()[1:] == [f"- {one.text}" for one in job.explain().obstacles if one.kind is K.TIME] + [
        f"- no worker is alive; {help}"
    ]
