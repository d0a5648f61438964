"""Workers killed on purpose: nothing is lost, nothing is completed twice, and it goes on within seconds."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cherga import Job, JobFailed, JobState, Reason
from cherga.testing import wait_until
from tests.workers import Workplace, declared_here

JOBS = 200
THREADS = 4
KILLED_START_AGAIN_WITHIN = 2.0
"""Seconds, on a machine on which a worker is up within ``USUAL_START``."""
USUAL_START = 0.5


def test_a_kill_in_the_middle_of_200_jobs_loses_and_doubles_nothing(place: Workplace) -> None:
    asked_for = time.monotonic()
    worker = place.worker("--processes", "2", "--threads", str(THREADS)).ready()
    slowness = max(1.0, (time.monotonic() - asked_for) / USUAL_START)
    go_on = place.diary.with_name("go on")
    held = [place.client.add_task("until_file", str(go_on)) for _ in range(THREADS // 2)]
    jobs = held + [place.client.add_task("work", 0.02) for _ in range(JOBS)]
    place.wait_for("end", JOBS // 4)
    victim, killed_at = wait_until(lambda: _kill_one_that_is_busy(place, worker.children()), "a process runs jobs")
    go_on.touch()

    for job in jobs:
        job.result(30)

    ends = Counter(event.job for event in place.events("end"))
    assert set(ends) == {str(job.id) for job in jobs}

    interrupted = _begun_but_not_ended(place, victim)
    assert interrupted
    completed_before = {event.job for event in place.events("end") if event.pid == victim}

    for job in jobs:
        assert job.refresh().status is JobState.SUCCEEDED
        # One that had ended just before the kill and was not yet written may run again: at least once is the promise,
        # exactly one completion in the store is the other one.
        assert ends[str(job.id)] == 1 or str(job.id) in completed_before

    again = {event.job: event.at for event in place.events("start") if event.pid != victim and event.job in interrupted}
    assert set(again) == interrupted
    assert max(again.values()) - killed_at < KILLED_START_AGAIN_WITHIN * slowness
    assert all(job.crashes == 1 for job in jobs if str(job.id) in interrupted)
    # A job may have been caught between the mark that it begins and its first line; nobody else is charged.
    assert sum(job.crashes for job in jobs) <= THREADS


def _kill_one_that_is_busy(place: Workplace, pids: list[int]) -> tuple[int, float] | None:
    """Which one, and when it still lived."""
    victim = next((pid for pid in pids if _begun_but_not_ended(place, pid)), None)

    if victim is None:
        return None

    os.kill(victim, signal.SIGKILL)
    return victim, max(event.at for event in place.events("start"))


def _begun_but_not_ended(place: Workplace, pid: int) -> set[str]:
    begun = {event.job for event in place.events("start") if event.pid == pid}
    return begun - {event.job for event in place.events("end") if event.pid == pid}


def test_a_job_that_kills_its_process_fails_after_three_crashes_and_harms_no_other(place: Workplace) -> None:
    place.worker("--threads", "4").ready()
    good = [place.client.add_task("work", 0.01) for _ in range(30)]
    pill = place.client.add_task("suicide")
    good += [place.client.add_task("work", 0.01) for _ in range(30)]
    place.wait_for("end", 60)

    wait_until(lambda: _run_now(pill).crashes >= 3, "three crashes", 30)

    with pytest.raises(JobFailed) as caught:
        pill.result(10)

    assert caught.value.reason == "poison"

    for job in good:
        job.result(20)

    assert all(job.refresh().crashes <= 1 for job in good)


def _run_now(job: Job[Any]) -> Job[Any]:
    """A job waits longer after each crash; an operator may run it at once."""
    if job.refresh().status is JobState.SCHEDULED:
        job.retry()

    return job.refresh()


def test_a_job_whose_process_dies_before_its_end_is_written_has_begun_all_the_same(place: Workplace) -> None:
    place.worker().ready()
    job = place.client.add_task("end_but_not_in_the_store", str(place.diary.with_name("queue.db")))
    place.wait_for("end", 2)
    wait_until(lambda: job.refresh().crashes == 2, "both were crashes", 20)

    assert [attempt.reason for attempt in job.attempts] == [Reason.CRASHED] * 2


def test_a_process_whose_files_and_sockets_a_job_has_closed_is_replaced(place: Workplace) -> None:
    place.worker().ready()
    place.client.add_task("close_everything")
    (start,) = place.wait_for("start")[:1]
    wait_until(lambda: not os.path.exists(f"/proc/{start.pid}"), "its process is gone", 30)

    assert place.client.add_task("work", 0).result(20) != start.pid


def test_a_job_that_kills_its_process_is_charged_a_crash_although_the_worker_drains(place: Workplace) -> None:
    worker = place.worker().ready()
    deed = place.diary.with_name("deed")
    job = place.client.add_task("suicide_on_file", str(deed))
    place.wait_for("start")
    worker.send(signal.SIGTERM)
    wait_until(lambda: "draining" in worker.log, "the worker drains")
    deed.touch()
    worker.wait()

    assert (job.refresh().crashes, job.row.interruptions) == (1, 0)


def test_one_crash_does_not_make_all_that_ran_run_one_by_one(place: Workplace) -> None:
    worker = place.worker("--processes", "2").ready()
    jobs = [place.client.add_task("awork", 1.0) for _ in range(40)]
    victim = Counter(event.pid for event in place.wait_for("start", 10)).most_common(1)[0][0]
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()

    for job in jobs:
        job.result(40)

    assert time.monotonic() - killed_at < len(jobs) / 2
    assert max(Counter(event.job for event in place.events("start")).values()) == 2
    assert max(job.refresh().crashes for job in jobs) == 1
    assert worker.process.poll() is None


def test_work_that_must_not_run_twice_fails_at_its_first_crash(place: Workplace) -> None:
    worker = place.worker().ready()
    job = declared_here(place, "once_at_most").using(on_crash="fail").enqueue()

    with pytest.raises(JobFailed) as caught:
        job.result(20)

    assert caught.value.reason == "crashed"
    assert len(place.events("start")) == 1
    assert worker.process.poll() is None


def test_leaving_the_process_with_code_0_is_not_taken_for_success(place: Workplace) -> None:
    place.worker().ready()
    job = place.client.add_task("leave")

    wait_until(lambda: job.refresh().crashes >= 1, "the crash is noticed", 20)
    assert job.status is not JobState.SUCCEEDED


def test_a_job_that_leaves_the_process_is_not_taken_for_the_end_of_a_burst(place: Workplace) -> None:
    worker = place.worker("--burst", "--threads", "1")
    place.client.add_task("leave")
    after = place.client.add_task("work", 0.0)

    wait_until(lambda: after.refresh().status is JobState.SUCCEEDED, "the job behind it is run", 20)
    wait_until(lambda: worker.process.poll() is not None, "the burst ends", 30)


def test_a_killed_supervisor_takes_its_worker_processes_with_it(place: Workplace) -> None:
    worker = place.worker().ready()
    (child,) = worker.children()
    job = place.client.add_task("work", 0.3)
    place.wait_for("start")
    worker.process.kill()

    assert job.result(20) == child
    wait_until(lambda: _is_gone(child), "the worker process ends", 20)


def _is_gone(pid: int) -> bool:
    """Ended, though perhaps nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_jobs_of_a_host_that_vanished_are_freed_by_another_worker(place: Workplace) -> None:
    worker = place.worker().ready()
    (child,) = worker.children()
    job = place.client.add_task("work", 0.5)
    place.wait_for("start")
    worker.process.kill()
    os.kill(child, signal.SIGKILL)
    place.worker().ready()

    job.result(20)
    assert (job.refresh().crashes, job.interruptions, job.attempt) == (0, 0, 1)


def test_a_task_that_holds_the_interpreter_longer_than_the_lease_keeps_its_job(place: Workplace) -> None:
    place.worker("--processes", "2").ready()
    job = place.client.add_task("hog", 2.5)
    job.result(30)

    assert len(place.events("start")) == 1
    assert job.refresh().crashes == 0


def test_a_worker_that_was_stopped_past_its_lease_cannot_complete_the_job_it_lost(place: Workplace) -> None:
    first = place.worker().ready()
    (child,) = first.children()
    job = place.client.add_task("work", 0.3)
    place.wait_for("start")

    place.freeze(first.process.pid, child)

    second = place.worker().ready()
    wait_until(lambda: len(place.events("start")) == 2, "the job starts again elsewhere", 30)

    for pid in (first.process.pid, child):
        os.kill(pid, signal.SIGCONT)

    (successor,) = second.children()
    assert job.result(20) == successor
    wait_until(lambda: "refused" in first.log or "taken for dead" in first.log, "the stale worker learns of it", 20)
    assert place.client.add_task("add", 1, 1).result(10) == 2


def test_a_restart_storm_of_workers_runs_every_job_once(place: Workplace) -> None:
    jobs = [place.client.add_task("work", 0.0) for _ in range(300)]
    workers = [place.worker("--burst") for _ in range(4)]

    assert [worker.wait(50) for worker in workers] == [0, 0, 0, 0]
    assert place.states() == Counter(succeeded=len(jobs))
    assert Counter(event.job for event in place.events("end")) == Counter({str(job.id): 1 for job in jobs})
