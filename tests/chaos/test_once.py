"""Work that must not run twice: at no moment of a death it does, and what had not begun runs."""

from __future__ import annotations

import os
import signal
from collections import Counter

from cherga import Job, JobState
from cherga.testing import wait_until
from tests.workers import Worker, Workplace, declared_here

JOBS, KILLS, THREADS = 3000, 3, 2


def starts(place: Workplace) -> Counter[str]:
    return Counter(event.job for event in place.events("start"))


def kill_children(place: Workplace, worker: Worker, after: int) -> None:
    """Kill the worker's processes once so many jobs have begun."""
    wait_until(lambda: len(place.events("start")) >= after, f"{after} jobs have begun", 30)

    for child in worker.children():
        os.kill(child, signal.SIGKILL)


def kill_all(place: Workplace, worker: Worker, after: int) -> None:
    """Kill the worker with its supervisor once so many jobs have begun."""
    wait_until(lambda: len(place.events("start")) >= after, f"{after} jobs have begun", 30)

    for pid in [worker.process.pid, *worker.children()]:
        os.kill(pid, signal.SIGKILL)


def check(place: Workplace, jobs: list[Job[None]]) -> None:
    """Every job has ended, none ran twice, and those that failed had begun; some perhaps had not come to their first line."""
    wait_until(lambda: not place.unfinished(), "all have ended", 40)
    begun = starts(place)
    failed = {str(job.id) for job in jobs if job.refresh().status is JobState.FAILED}

    assert max(begun.values()) == 1
    assert len(failed - set(begun)) <= KILLS * THREADS
    assert not [(job, job.row) for job in jobs if str(job.id) not in {*begun, *failed}], "neither begun nor failed"


def test_quick_jobs_whose_process_is_killed_run_once_or_are_failed(place: Workplace) -> None:
    jobs = declared_here(place, "quick_once").enqueue_many([()] * JOBS)
    worker = place.worker("--threads", str(THREADS)).ready()

    for kill in range(1, KILLS + 1):
        kill_children(place, worker, kill * JOBS // 5)

    check(place, jobs)


def test_quick_jobs_of_workers_that_vanish_whole_run_once_or_are_failed(place: Workplace) -> None:
    """Supervisor and processes die together: another worker finds what had begun."""
    jobs = declared_here(place, "quick_once").enqueue_many([()] * JOBS)

    for kill in range(1, KILLS + 1):
        worker = place.worker("--threads", str(THREADS)).ready()
        kill_all(place, worker, kill * JOBS // 5)

    place.worker().ready()
    check(place, jobs)
    assert all(job.refresh().crashes == 0 for job in jobs)
