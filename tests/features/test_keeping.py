"""How long jobs are kept that no worker ends: the application says it, a task, or one enqueue; to every process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cherga import Job, QueueTasks, group


@pytest.fixture(params=["memory://{}", "sqlite:///{}/kept.db"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of its own for each test, that several applications share."""
    return str(request.param).format(tmp_path)


def shop(url: str, **settings: Any) -> QueueTasks:
    app = QueueTasks("kept", url, **settings)

    @app.task
    def small() -> int:
        return 1

    @app.task(failure_ttl=3, result_ttl=2)
    def own() -> int:
        return 2

    return app


def kept(job: Job[Any]) -> float:
    row = job.refresh().row
    assert row.prune_at is not None
    assert row.finished_at is not None
    return round(row.prune_at - row.finished_at, 3)


def cancelled(app: QueueTasks, name: str, **using: Any) -> Job[Any]:
    job: Job[Any] = app.tasks[name].using(run_in=60, **using).enqueue()
    assert job.cancel()
    return job


def test_a_job_cancelled_before_its_start_is_kept_as_application_task_or_enqueue_say(url: str) -> None:
    app = shop(url, failure_ttl=5)
    jobs = [cancelled(app, "small"), cancelled(app, "own"), cancelled(app, "own", failure_ttl=1)]
    assert [kept(job) for job in jobs] == [5, 3, 1]
    app.close()


def test_a_process_that_does_not_declare_the_task_goes_by_what_workers_published(url: str) -> None:
    app = shop(url, failure_ttl=5)
    app.publish()
    other = QueueTasks("kept", url)
    jobs = [other.add_task("small"), other.add_task("own")]
    assert [job.cancel() for job in jobs] == [True, True]
    assert [kept(job) for job in jobs] == [5, 3]
    other.close()
    app.close()


def test_a_task_that_says_nothing_of_its_own_any_more_is_kept_as_the_application_says(url: str) -> None:
    app = shop(url)
    app.publish()
    later = QueueTasks("kept", url, failure_ttl=8)
    later.task(name="own")(lambda: None)
    later.publish()
    job = later.tasks["own"].enqueue()
    job.cancel()
    assert kept(job) == 8
    later.close()
    app.close()


def test_older_code_changes_nothing_back(url: str) -> None:
    new, old = (shop(url, code_version=version, failure_ttl=version) for version in (9, 8))
    new.publish()
    old.publish()
    assert kept(cancelled(old, "small")) == 9
    old.close()
    new.close()


def test_a_group_and_its_members_are_kept_no_longer_than_a_success(url: str) -> None:
    app = shop(url, result_ttl=4)
    job = group(app.s("small") for _ in range(3)).enqueue()

    with app.worker(threads=1):
        job.await_end(20)

    assert kept(job) == 4
    app.broker.time_offset = 5
    assert app.broker.prune() + app.broker.prune() == 4
    app.close()
