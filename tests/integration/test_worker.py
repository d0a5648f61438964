"""``cherga worker`` as people start it: real processes, a real file, real signals."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from cherga import JobCancelled, JobFailed, JobState
from cherga.testing import wait_until
from tests.workers import PATH, Workplace, declared_here


def test_a_burst_runs_everything_and_ends_with_0(place: Workplace) -> None:
    jobs = [place.client.add_task("add", n, 1) for n in range(20)] + [place.client.add_task("aadd", n, 1) for n in range(20)]

    assert place.worker("--burst").wait() == 0
    assert [job.result(1) for job in jobs] == [n + 1 for n in range(20)] * 2


def test_a_burst_on_an_empty_queue_ends_at_once(place: Workplace) -> None:
    assert place.worker("--burst").wait() == 0


def test_a_burst_ends_although_jobs_are_scheduled_paused_or_unknown(place: Workplace) -> None:
    from_elsewhere = place.client.add_task("of_another_application")
    done = place.client.add_task("add", 1, 1)
    worker = place.worker("--burst")

    assert worker.wait() == 0
    assert done.result(1) == 2
    assert from_elsewhere.refresh().status is JobState.READY
    assert "of_another_application" in worker.log


def test_an_idle_worker_is_woken_by_another_process(place: Workplace) -> None:
    place.worker().ready()

    assert place.client.add_task("add", 2, 3).result(5) == 5
    assert place.client.add_task("aadd", 2, 3).result(5) == 5


def test_two_processes_share_the_work(place: Workplace) -> None:
    place.worker("--processes", "2", "--threads", "1").ready()
    jobs = [place.client.add_task("work", 0.05) for _ in range(12)]

    assert len({job.result(20) for job in jobs}) == 2


def test_a_failed_job_carries_the_remote_traceback_and_is_logged(place: Workplace) -> None:
    worker = place.worker().ready()
    job = place.client.add_task("fail", "the sentence of the error")

    with pytest.raises(JobFailed, match="the sentence of the error") as caught:
        job.result(10)

    assert "raise ValueError(text)" in caught.value.traceback
    wait_until(lambda: "raise ValueError(text)" in worker.log, "the traceback is logged")


def test_a_running_thread_job_is_cancelled_from_another_process(place: Workplace) -> None:
    place.worker().ready()
    job = place.client.add_task("politely", 60)
    place.wait_for("start")

    assert job.cancel("enough")

    with pytest.raises(JobCancelled):
        job.result(10)


def test_a_running_async_job_is_cancelled_from_another_process(place: Workplace) -> None:
    place.worker().ready()
    job = place.client.add_task("awork", 60)
    place.wait_for("start")

    assert job.cancel()

    with pytest.raises(JobCancelled):
        job.result(10)


@pytest.mark.parametrize("task", ["overrun", "aoverrun"])
def test_max_time_ends_the_attempt_whatever_the_function_does(place: Workplace, task: str) -> None:
    place.worker().ready()
    job = place.client.add_task(task, *([1.0] if task == "overrun" else []))

    with pytest.raises(JobFailed, match=r"max_time of 0\.2 seconds") as caught:
        job.result(10)

    assert caught.value.reason == "timeout"


def test_a_timed_out_thread_is_retried_only_after_it_ended(place: Workplace) -> None:
    place.worker().ready()
    place.client.add_task("overrun_and_retry", 0.5).result(20)

    (first_end, _), (_, second_start) = place.events("end"), place.events("start")
    assert first_end.at <= second_start.at


def test_a_process_whose_thread_does_not_end_is_replaced(place: Workplace) -> None:
    worker = place.worker("--grace", "0").ready()
    (before,) = worker.children()

    with pytest.raises(JobFailed):
        place.client.add_task("overrun", 60).result(10)

    assert place.client.add_task("add", 1, 1).result(20) == 2
    wait_until(lambda: before not in worker.children(), "the process is replaced", 20)
    assert place.client.add_task("add", 1, 1).result(20) == 2


def test_sigterm_drains_what_runs_and_gives_back_what_waits(place: Workplace) -> None:
    worker = place.worker("--threads", "2").ready()
    jobs = [place.client.add_task("work", 0.5) for _ in range(6)]
    place.wait_for("start", 2)
    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    states = [job.refresh().status for job in jobs]
    assert states.count(JobState.SUCCEEDED) >= 2
    assert JobState.RUNNING not in states
    assert all(job.attempt == 0 for job in jobs if job.status is JobState.READY)
    assert len(place.events("start")) == len(place.events("end"))


def test_what_outlasts_the_grace_time_is_given_back_as_an_interruption(place: Workplace) -> None:
    worker = place.worker("--grace", "0.3").ready()
    job = place.client.add_task("work", 60)
    place.wait_for("start")
    worker.send(signal.SIGTERM)

    assert worker.wait() == 7
    job.refresh()
    assert (job.status, job.attempt, job.crashes, job.interruptions) == (JobState.READY, 0, 0, 1)


def test_a_coroutine_that_outlasts_the_grace_time_is_cancelled_and_given_back(place: Workplace) -> None:
    worker = place.worker("--grace", "0.3").ready()
    job = place.client.add_task("awork", 60)
    place.wait_for("start")
    worker.send(signal.SIGINT)

    assert worker.wait() == 7
    assert (job.refresh().status, job.interruptions, job.crashes) == (JobState.READY, 1, 0)


def test_a_second_signal_stops_now(place: Workplace) -> None:
    worker = place.worker("--grace", "60").ready()
    job = place.client.add_task("work", 60)
    place.wait_for("start")
    worker.send(signal.SIGTERM)
    wait_until(lambda: "draining" in worker.log, "the first signal is heard")
    worker.send(signal.SIGTERM)

    assert worker.wait() == 7
    assert (job.refresh().status, job.interruptions, job.crashes) == (JobState.READY, 1, 0)


def test_queues_are_served_in_the_order_given(place: Workplace) -> None:
    work = declared_here(place, "work")
    low = work.using(queue="low").enqueue_many([(0.0,)] * 3)
    high = work.using(queue="high").enqueue_many([(0.0,)] * 3)

    assert place.worker("--burst", "--threads", "1", "-q", "high,low").wait() == 0
    assert [event.job for event in place.events("start")] == [str(job.id) for job in [*high, *low]]


def test_a_module_that_does_not_import_is_one_clear_line_and_code_3(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("import a_package_that_nobody_has\n", encoding="utf-8")
    worker = place.worker(app="broken_module:app", PYTHONPATH=f"{tmp_path}:{PATH}")

    assert worker.wait() == 3
    assert worker.log.count("\n") == 1
    assert "a_package_that_nobody_has" in worker.log


def test_a_file_that_is_no_database_is_one_clear_line_and_code_4(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_text(
        "this is a letter, not a database, and long enough to be read as a header" * 20, encoding="utf-8"
    )
    worker = place.worker()

    assert worker.wait() == 4
    assert "queue.db" in worker.log
    assert "Traceback" not in worker.log


def test_memory_brokers_are_refused_with_the_reason(place: Workplace) -> None:
    worker = place.worker("-u", "memory://")

    assert worker.wait() == 5
    assert "embedded" in worker.log


def test_two_workers_may_start_on_an_empty_file_at_once(place: Workplace) -> None:
    workers = [place.worker("--burst") for _ in range(3)]

    assert [worker.wait() for worker in workers] == [0, 0, 0]


def test_a_changed_file_restarts_the_worker_processes(place: Workplace, tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    source = "from cherga import QueueTasks\napp = QueueTasks('jobs')\n@app.task\ndef version() -> int:\n    return {}\n"
    module.write_text(source.format(1), encoding="utf-8")
    place.worker("--reload", app="changing:app", PYTHONPATH=f"{tmp_path}:{PATH}", PYTHONDONTWRITEBYTECODE="1").ready()
    assert place.client.add_task("version").result(10) == 1
    module.write_text(source.format(2), encoding="utf-8")

    wait_until(lambda: place.client.add_task("version").result(10) == 2, "the new code runs", 20)


def test_json_log_lines_carry_the_job_as_a_field(place: Workplace) -> None:
    job = place.client.add_task("add", 1, 1)
    worker = place.worker("--burst", "--log-format", "json")
    worker.wait()
    lines = [json.loads(line) for line in worker.log.splitlines()]

    assert any(line.get("job_id") == str(job.id) and line["action"] == "job.succeeded" for line in lines)


def test_a_worker_says_at_its_start_what_runs(place: Workplace) -> None:
    worker = place.worker("--burst", "--log-format", "json", "--processes", "2", "--threads", "3")
    worker.wait()
    (said,) = [fields for fields in map(json.loads, worker.log.splitlines()) if fields.get("action") == "worker.start"]

    assert (said["application"], said["broker"], said["queues"]) == ("jobs", place.url, [])
    assert (said["processes"], said["threads"]) == (2, 3)
    assert said["tasks"] > 1


def test_no_success_is_missing_in_the_log_of_a_worker_that_ends_at_once(place: Workplace) -> None:
    for first in range(0, 3000, 1000):
        declared_here(place, "add").enqueue_many([(number, 1) for number in range(first, first + 1000)])

    worker = place.worker("--burst", "--log-format", "json")
    worker.wait()
    lines = [json.loads(line) for line in worker.log.splitlines()]
    single = [line for line in lines if line["action"] == "job.succeeded"]
    summed = [line for line in lines if line["action"] == "jobs.succeeded"]

    assert len(single) + sum(line["count"] for line in summed) == 3000
    assert len(lines) < 300


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the machine has no /proc")
def test_processes_say_in_their_titles_what_they_are(place: Workplace, tmp_path: Path) -> None:
    worker = place.worker("--name", "here").ready()
    place.client.add_task("until_file", str(tmp_path / "go"))
    child = place.wait_for("start")[0].pid

    assert title(worker.process.pid) == "cherga: supervisor jobs"
    wait_until(lambda: title(child) == "cherga: worker jobs here (1 running)", "the title counts the job")
    (tmp_path / "go").touch()
    wait_until(lambda: title(child) == "cherga: worker jobs here (0 running)", "the title counts its end")


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
