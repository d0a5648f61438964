"""The task interface in real worker processes, on a real file: what the embedded worker cannot show."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cherga import JobState
from cherga.testing import wait_until
from tests.workers import Worker, Workplace


class Features(Workplace):
    """The worker runs ``tests.feature_jobs``; the client knows none of its code."""

    def start(self, *arguments: str) -> Worker:
        return self.worker(*arguments, app="tests.feature_jobs:app").ready()

    def lines(self) -> list[str]:
        return self.diary.read_text(encoding="utf-8").splitlines() if self.diary.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Features]:
    place = Features(tmp_path)
    yield place
    place.close()


def test_every_feature_runs_in_one_worker_with_one_thread_and_ends_in_order(place: Features) -> None:
    worker = place.start("--threads", "1", "--concurrency", "1")
    add = place.client.add_task

    assert add("main").result(20) == "main 5"
    assert sorted(job.result(20) for job in place.client.jobs(task="sub")) == [5, 123]
    assert list(add("numbers", 3).stream()) == ["0", "1", "2"]
    assert add("tower", 5).result(20) == 5
    assert add("routed.example").result(20) == "routed.example in routed"
    assert add("shared_in_process").result(20) == "shared"
    assert len({add(task, 1).result(20) for task in ("query", "aquery", "query")}) == 1
    assert all(job.meta == {"wrapped": True} for job in place.client.jobs(task="sub"))

    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    lines = place.lines()
    assert [line for line in lines if line.startswith(("pool", "cache"))] == [
        "pool opened",
        "cache opened",
        "pool closed",
        "cache closed",
    ]
    assert lines.count("session opened") == lines.count("session closed") == 3
    assert lines.count("succeeded tower") == 6
    assert lines.index("worker_stopped") > lines.index("pool closed")


def test_a_parent_and_the_child_that_killed_them_both_run_again(place: Features) -> None:
    place.start("--threads", "1")
    parent = place.client.add_task("careful_parent")

    assert parent.result(30) == 7
    (child,) = place.client.jobs(task="deadly_once")
    assert (parent.crashes, child.crashes) == (1, 1)


def test_a_parent_that_waits_is_stopped_by_a_drain_and_given_back(place: Features) -> None:
    worker = place.start("--grace", "0.5")
    job = place.client.add_task("waits_for_ever")
    wait_until(lambda: "waiting" in place.lines(), "the job waits", 20)
    worker.send(signal.SIGTERM)

    assert worker.wait() == 7  # a job was stopped
    assert (job.refresh().status, job.interruptions) == (JobState.READY, 1)


def test_a_parent_that_waits_is_cancelled_without_a_new_process(place: Features) -> None:
    worker = place.start("--threads", "1")
    (before,) = worker.children()
    job = place.client.add_task("waits_for_ever")
    wait_until(lambda: "waiting" in place.lines(), "the job waits", 20)
    job.cancel("enough")
    wait_until(lambda: job.refresh().status is JobState.CANCELLED, "the job is cancelled", 20)

    assert place.client.add_task("sub", 1).result(20) == 1
    assert place.client.add_task("tower", 2).result(20) == 2
    assert worker.children() == [before]
