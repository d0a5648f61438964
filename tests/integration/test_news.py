"""Ends that no worker wrote, and deaths: a worker tells them to the log, to ``app.on`` and to callbacks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cherga import Event, Job, JobFailed, QueueTasks, chain
from cherga.testing import wait_until
from cherga.words.claim import ClaimWish
from cherga.words.job import JobState
from cherga.words.session import Death, SessionInfo
from tests.workers import PATH, Workplace

heard: list[Event] = []
calls: list[Any] = []


def note_failure(job: Job[Any], connection: QueueTasks, kind: Any, value: Any, traceback: Any) -> None:
    calls.append((job.id, job.status, kind, str(value)))


@pytest.fixture(params=["memory://", "sqlite:///{}/shop.db"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueTasks]:
    app = QueueTasks("shop", str(request.param).format(tmp_path), crash_cap=2, crash_backoff=(0.0,), sweep=0.2)
    heard.clear()
    calls.clear()
    app.task(note_failure)

    @app.task
    def work() -> int:
        return 1

    @app.task
    def fail() -> None:
        raise ValueError("no")

    for signal in (app.on.retried, app.on.failed, app.on.cancelled, app.on.succeeded):
        signal(heard.append)

    yield app
    app.close()


def die(app: QueueTasks) -> None:
    """A worker process takes what is ready, and dies under it."""
    app.broker.register(SessionInfo(id="mortal.1", worker="mortal", host="here", pid=1))
    app.broker.claim(ClaimWish(session="mortal.1", limit=100, tasks=frozenset(app.tasks), alone=True))
    app.broker.reap([Death("mortal.1")])


def told(name: str) -> list[Event]:
    return [event for event in heard if event.name == name]


def test_a_death_is_told_as_a_retry_with_what_comes_next(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cherga")
    job = app.tasks["work"].enqueue()
    die(app)

    with app.worker(threads=1):
        assert job.result(20) == 1
        wait_until(lambda: told("retried"), "the death is told")

    (event,) = told("retried")
    assert (event.job_id, event.task_name, event.state, event.attempt) == (job.id, "work", JobState.READY, 1)
    assert event.error is not None
    assert event.error.message == "the worker process died while the job ran"
    assert event.details == {"reason": "crashed", "message": None}
    assert f"job {job.id} (work) lost its worker process and starts again, crash 1 of 2" in caplog.text
    assert app.broker.notices(app.name, set(app.tasks)) == []


def test_the_last_death_is_told_as_a_failure_and_calls_back(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    job = app.queue().enqueue("work", on_failure=note_failure)
    die(app)
    die(app)

    with app.worker(threads=1):
        wait_until(lambda: calls, "the callback was called")
        wait_until(lambda: told("failed"), "the failure is told")

    (event,) = told("failed")
    assert event.job_id == job.id
    assert event.error is not None
    assert event.error.message == "its process died under it 2 times"
    assert [call[:3] for call in calls] == [(job.id, JobState.FAILED, JobFailed)]
    assert f"job {job.id} (work) failed (poison): its process died under it 2 times" in caplog.text


def test_a_job_that_expires_and_what_waits_for_it_are_told_as_cancelled(app: QueueTasks) -> None:
    first = app.tasks["work"].using(run_in=60, expires=61)
    behind = app.tasks["work"].using(after=[first.enqueue()]).enqueue()
    app.broker.time_offset = 62

    with app.worker(threads=1):
        wait_until(lambda: len(told("cancelled")) == 2, "both ends are told")

    assert {event.details["reason"] for event in told("cancelled") if event.details} == {"expired", "upstream"}
    assert behind.id in {event.job_id for event in told("cancelled")}


def test_the_rest_of_a_chain_that_failed_is_told_as_cancelled(app: QueueTasks) -> None:
    job = chain(app.tasks["fail"].s(), app.tasks["work"].si()).enqueue()

    with app.worker(threads=1):
        wait_until(lambda: told("cancelled"), "the rest is told")

    (event,) = told("cancelled")
    assert (event.job_id, event.error) == (job.id, None)
    assert event.details == {"reason": "upstream", "message": "a job that it waited for failed"}


def test_a_job_that_has_expired_when_it_is_pushed_is_told(app: QueueTasks) -> None:
    job = app.tasks["work"].using(expires=0).enqueue()

    with app.worker(threads=1):
        wait_until(lambda: told("cancelled"), "the end is told")

    assert [event.job_id for event in told("cancelled")] == [job.id]


def test_a_callback_that_was_not_finished_is_called_by_the_next_worker(app: QueueTasks) -> None:
    job = app.queue().enqueue("work", on_failure=note_failure)
    die(app)
    die(app)
    app.broker.register(SessionInfo(id="teller.1", worker="teller", host="here", pid=1))
    assert [notice.state for notice in app.broker.notices("teller.1", set(app.tasks))] == [JobState.READY, JobState.FAILED]
    app.broker.reap([Death("teller.1")])

    with app.worker(threads=1):
        wait_until(lambda: calls, "the callback was called")

    assert calls[0][0] == job.id


def test_a_handler_that_raises_is_logged_and_its_notice_is_told_once(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    @app.on.cancelled
    def broken(event: Event) -> None:
        raise RuntimeError("a broken handler")

    app.tasks["work"].using(expires=0).enqueue()

    for _ in range(2):
        with app.worker(threads=1):
            app.tasks["work"].enqueue().result(20)
            wait_until(lambda: told("cancelled"), "the end is told")

    assert len(told("cancelled")) == 1
    assert "a broken handler" in caplog.text


def test_a_drain_tells_them_too(app: QueueTasks) -> None:
    with app.testing() as kit:
        app.tasks["work"].using(run_in=5, expires=6).enqueue()
        kit.advance(7)
        job = chain(app.tasks["fail"].s(), app.tasks["work"].si()).enqueue()
        kit.drain()
        assert {event.details["reason"] for event in told("cancelled") if event.details} == {"expired", "upstream"}
        assert job.id in {event.job_id for event in told("cancelled")}


MORTAL = """
import os
from cherga import Event, QueueTasks

app = QueueTasks("jobs", sweep=0.2, crash_cap=2, crash_backoff=(0.0,))


def write(event: Event) -> None:
    with open(os.environ["DIARY"], "a") as file:
        file.write(f"{event.name} {event.job_id} {event.attempt} {os.getpid()} 0\\n")


for signal in (app.on.retried, app.on.failed):
    signal(write)


@app.task
def mortal() -> None:
    os._exit(9)
"""


def test_the_process_that_takes_the_place_of_a_dead_one_tells_of_its_jobs(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "mortal.py").write_text(MORTAL, encoding="utf-8")
    job = place.client.add_task("mortal")

    worker = place.worker(app="mortal:app", PYTHONPATH=f"{tmp_path}{os.pathsep}{PATH}")
    (retried,), (failed,) = place.wait_for("retried"), place.wait_for("failed")
    assert {retried.job, failed.job} == {str(job.id)}
    assert f"recovered 1 job from a dead worker (mortal {job.id}: starts again, crash 1 of 2)" in worker.log
    assert f"recovered 1 job from a dead worker (mortal {job.id}: failed (poison))" in worker.log
