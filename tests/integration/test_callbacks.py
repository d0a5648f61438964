"""``on_success`` and ``on_failure``: called by the worker after the end of a job is stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app

from cherga import Job, JobCancelled, JobFailed, QueueTasks, Retry, TaskCancelError, get_current_job
from cherga.contrib.flask import Cherga
from cherga.testing import wait_until

calls: list[Any] = []
_pause = threading.Event().wait


def double(number: int) -> int:
    job = get_current_job()
    assert job is not None
    job.meta["seen"] = number
    job.save_meta()
    return 2 * number


def fail(text: str) -> None:
    raise LookupError(text)


def give_up() -> None:
    raise TaskCancelError("no use")


async def hang() -> None:
    await asyncio.sleep(60)


def note_success(job: Job[int], connection: QueueTasks, result: int) -> None:
    calls.append((job.id, connection, result, job.meta, job.status.value))


def note_stored(job: Job[int], connection: QueueTasks, result: int) -> None:
    calls.append(Job.fetch(job.id).is_succeeded)


def note_late(job: Job[int], connection: QueueTasks, result: int) -> None:
    _pause(0.05)
    calls.append("late")


def note_failure(job: Job[Any], connection: QueueTasks, kind: Any, value: Any, traceback: Any) -> None:
    calls.append((job, kind, value, traceback))


async def anote_success(job: Job[int], connection: QueueTasks, result: int) -> None:
    await asyncio.sleep(0)
    calls.append((threading.current_thread().name, result))


def note_application(job: Job[int], connection: QueueTasks, result: int) -> None:
    calls.append((current_app.name, get_current_job()))


def explode(job: Job[int], connection: QueueTasks, result: int) -> None:
    raise SystemExit("from the callback")


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueTasks]:
    app = QueueTasks("calls", "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/queue.db")
    app.tasks_from(__name__)
    yield app
    app.close()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def test_a_success_calls_with_the_job_the_application_and_the_result(app: QueueTasks) -> None:
    job = app.queue().enqueue(double, 21, on_success=note_success, on_failure=note_failure)

    with app.worker():
        assert job.result(5) == 42

    assert calls == [(job.id, app, 42, {"seen": 21}, "succeeded")]


def test_the_end_is_stored_when_the_callback_begins(app: QueueTasks) -> None:
    job = app.queue().enqueue(double, 21, on_success=note_stored)

    with app.worker():
        job.result(5)

    assert calls == [True]


def test_a_result_that_is_not_kept_still_reaches_the_callback(app: QueueTasks) -> None:
    job = app.queue().enqueue(double, 21, on_success=note_success, result_ttl=0)

    with app.worker():
        wait_until(lambda: calls, "the callback was called")

    assert calls == [(job.id, app, 42, {"seen": 21}, "succeeded")]
    assert app.get(job.id) is None


def test_a_failure_calls_with_type_value_and_traceback(app: QueueTasks) -> None:
    job = app.queue().enqueue(fail, "no such post", on_success=note_success, on_failure=note_failure)

    with app.worker(), pytest.raises(JobFailed):
        job.result(5)

    ((seen, kind, value, traceback),) = calls
    assert (seen, kind, str(value)) == (job, LookupError, "no such post")
    assert seen.error.type == "LookupError"
    assert traceback is value.__traceback__ is not None


def test_only_the_last_failure_of_a_job_that_is_retried_calls(app: QueueTasks) -> None:
    task = app.task(retry=Retry(max=2, backoff=0))(fail)
    job = app.queue().enqueue(task, "again", on_failure=note_failure)

    with app.worker(), pytest.raises(JobFailed):
        job.result(5)

    assert [seen.attempt for seen, *_ in calls] == [3]


def test_a_job_past_its_time_calls_with_the_reason(app: QueueTasks) -> None:
    job = app.queue().enqueue(hang, job_timeout=0.1, on_failure=note_failure)

    with app.worker(), pytest.raises(JobFailed):
        job.result(5)

    ((_, kind, value, traceback),) = calls
    assert (kind, value.reason, traceback) == (JobFailed, "timeout", None)


def test_a_cancelled_job_calls_nothing(app: QueueTasks) -> None:
    job = app.queue().enqueue(give_up, on_success=note_success, on_failure=note_failure)

    with app.worker(), pytest.raises(JobCancelled):
        job.result(5)

    assert calls == []


def test_a_callback_that_raises_is_logged_and_harms_nothing(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    queue = app.queue()

    with app.worker():
        jobs = [queue.enqueue(double, number, on_success=explode) for number in range(8)]
        last = queue.enqueue(double, 9, on_success=note_success)
        assert [job.result(5) for job in [*jobs, last]] == [0, 2, 4, 6, 8, 10, 12, 14, 18]

    assert len(calls) == 1
    assert caplog.text.count("SystemExit: from the callback") == 8
    assert f"job {jobs[0].id} ({__name__}.double): its callback {__name__}.explode failed" in caplog.text
    assert jobs[0].is_succeeded


def test_a_worker_that_drains_waits_for_callbacks(app: QueueTasks) -> None:
    job = app.queue().enqueue(double, 21, on_success=note_late)

    with app.worker():
        job.result(5)

    assert calls == ["late"]


def test_an_async_callback_runs_on_the_loop_of_the_worker(app: QueueTasks) -> None:
    job = app.queue().enqueue(double, 21, on_success=anote_success)

    with app.worker():
        job.result(5)

    assert calls == [("cherga-loop", 42)]


def test_a_declared_task_may_be_the_callback(app: QueueTasks) -> None:
    task = app.task(name="note")(note_success)
    job = app.queue().enqueue(double, 21, on_success=task)

    with app.worker():
        job.result(5)

    assert [call[2] for call in calls] == [42]


def test_a_callback_runs_in_the_context_of_the_application_and_outside_the_job() -> None:
    site = Flask("microblog")
    site.config["CHERGA"] = {"name": "calls", "broker_url": "memory://"}
    cherga = Cherga(site)
    cherga.tasks_from(__name__)
    job = cherga.queue().enqueue(double, 21, on_success=note_application)

    with cherga.worker():
        job.result(5)

    assert calls == [("microblog", None)]
    cherga.close()
