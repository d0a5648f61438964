"""How a worker ends: the grace time is the jobs', closings have a time of their own, and nothing overlaps."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from itertools import count, pairwise
from pathlib import Path

import pytest

from cherga import JobState, QueueTasks, Reason
from cherga.testing import wait_until
from tests.workers import PATH, Worker, Workplace

APP = """
import asyncio, os, threading, time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated
from cherga import Depends, QueueTasks, Retry, ctx
from tests.worker_jobs import note

app = QueueTasks("jobs", heartbeat=0.2, lease=1.0, sweep=0.2, poll_interval=1.0, stuck_after=0.2)
pause = threading.Event().wait
SLOW = float(os.environ.get("SLOW", "0"))


def mark(event: str) -> None:
    fd = os.open(os.environ["DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{event} - 0 {os.getpid()} {time.monotonic()}\\n".encode())
    os.close(fd)


def for_the_worker() -> Iterator[int]:
    yield 1
    close("a worker's dependency")


def for_the_process() -> Iterator[int]:
    yield 1
    close("a process's dependency")


async def async_for_the_worker() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(SLOW if slow == "an async dependency" else 0)
    mark("closed")


slow = os.environ.get("WHAT", "")


def close(what: str) -> None:
    if slow == what:
        pause(SLOW)
        mark("closed")


@app.on.worker_stopped
def stopped(event: object) -> None:
    close("a handler")


@app.on.worker_stopped
async def astopped(event: object) -> None:
    if slow == "an async handler":
        await asyncio.sleep(SLOW)
        mark("closed")


@app.task
def use(
    a: Annotated[int, Depends(for_the_worker, scope="worker")],
    b: Annotated[int, Depends(for_the_process, scope="process")],
    c: Annotated[int, Depends(async_for_the_worker, scope="worker")],
) -> int:
    return a + b + c


@app.task(max_time=0.2, retry=Retry(max=1, backoff=0), unique=True, max_running=1)
def deaf() -> int:
    attempt = ctx.attempt
    note("start")

    while attempt == 1:
        pause(0.01)
        note("works")

    return attempt


@app.task
def plain(seconds: float) -> str:
    note("start")
    pause(seconds)
    return "done"


@app.task
async def aplain(seconds: float) -> str:
    note("start")
    await asyncio.sleep(seconds)
    return "done"


@app.task
def generated(seconds: float) -> Iterator[str]:
    note("start")
    pause(seconds)
    yield "done"


@app.task
async def agenerated(seconds: float) -> AsyncIterator[str]:
    note("start")
    await asyncio.sleep(seconds)
    yield "done"


@app.task(batch=2)
def batch(seconds: list[float]) -> list[str]:
    note("start")
    pause(seconds[0])
    return ["done" for _ in seconds]


@app.task(batch=2)
async def abatch(seconds: list[float]) -> list[str]:
    note("start")
    await asyncio.sleep(seconds[0])
    return ["done" for _ in seconds]


@app.task
async def tidies_up() -> None:
    note("start")

    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.5)
        note("tidy")


@app.task
def looks() -> str:
    note("start")

    while not ctx.cancelled:
        pause(0.05)

    return "told"
"""
KINDS = ("plain", "aplain", "generated", "agenerated", "batch", "abatch")
CLOSINGS = ("a worker's dependency", "a process's dependency", "an async dependency", "a handler", "an async handler")


@pytest.fixture
def environment(place: Workplace, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "made.py").write_text(APP)
    return {"PYTHONPATH": os.pathsep.join((str(tmp_path), PATH))}


def start(place: Workplace, environment: dict[str, str], grace: str, **more: str) -> Worker:
    return place.worker("--grace", grace, app="made:app", **environment, **more).ready()


@pytest.mark.parametrize("what", CLOSINGS)
def test_two_attempts_do_not_overlap_however_slow_the_closing_is(
    place: Workplace, environment: dict[str, str], what: str
) -> None:
    start(place, environment, "0", WHAT=what, SLOW="1.5")
    assert place.client.add_task("use").result(20) == 3
    job = place.client.add_task("deaf")
    place.wait_for("start")

    assert job.result(30) == 2
    first, second = place.events("start")
    assert first.pid != second.pid
    assert max(event.at for event in place.events("works")) < second.at
    assert min(event.at for event in place.events("closed")) < second.at
    assert [attempt.reason for attempt in job.attempts] == [Reason.TIMEOUT, None]


def test_a_closing_that_does_not_end_keeps_no_attempt_from_being_settled(place: Workplace, environment: dict[str, str]) -> None:
    worker = start(place, environment, "0", WHAT="a process's dependency", SLOW="60")
    place.client.add_task("use").result(20)
    job = place.client.add_task("deaf")

    assert job.result(40) == 2
    assert [attempt.reason for attempt in job.attempts] == [Reason.TIMEOUT, None]
    assert max(event.at for event in place.events("works")) < place.events("start")[1].at
    assert "the closing takes longer" in worker.log


def test_the_grace_time_is_the_same_for_every_kind_of_task(place: Workplace, environment: dict[str, str]) -> None:
    worker = start(place, environment, "6")
    jobs = [place.client.add_task(kind, 1.5) for kind in KINDS]
    place.wait_for("start", len(jobs))
    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert {job.refresh().status for job in jobs} == {JobState.SUCCEEDED}


@pytest.mark.parametrize("kind", KINDS)
def test_what_outlasts_the_grace_time_is_given_back_and_the_exit_code_says_so(
    place: Workplace, environment: dict[str, str], kind: str
) -> None:
    worker = start(place, environment, "0.2")
    job = place.client.add_task(kind, 60.0)
    place.wait_for("start")
    worker.send(signal.SIGTERM)

    assert worker.wait() == 7
    assert (job.refresh().status, job.attempt, job.interruptions, job.crashes) == (JobState.READY, 0, 1, 0)


ELSEWHERE = """
import os

os.chdir(os.environ["ELSEWHERE"])

from cherga import QueueTasks

app = QueueTasks("wanders", "sqlite:///its%20own.db", lease=2, heartbeat=0.2, sweep=0.2)


@app.task
def look() -> str:
    return os.getcwd()
"""


def lease_of(client: QueueTasks) -> float:
    """Seconds until the lease of the only session ends."""
    (worker,) = client.broker.workers()
    return worker.expires_in


def test_a_worker_whose_application_changes_its_folder_has_one_queue_file(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "wanders.py").write_text(ELSEWHERE)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    worker = place.worker(
        app="wanders:app", ELSEWHERE=str(elsewhere), PYTHONPATH=os.pathsep.join((str(tmp_path), PATH))
    ).ready()
    client = QueueTasks("wanders", elsewhere / "its own.db")

    try:
        assert client.add_task("look").result(20) == str(elsewhere)
        renewals = (later > earlier for earlier, later in pairwise(lease_of(client) for _ in count()))
        wait_until(lambda: next(renewals), "the lease is renewed", 20)
    finally:
        client.close()

    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert "taken for dead" not in worker.log
    assert f"sqlite:///{elsewhere}/its own.db" in " ".join(worker.log.split("\n"))


IMPATIENT = """
import signal, sys

from tests.worker_jobs import app

for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signal_handlers_of_an_application_take_no_grace_time_from_its_jobs(
    place: Workplace, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    worker = place.worker(app="impatient:app", PYTHONPATH=os.pathsep.join((str(tmp_path), PATH))).ready()
    job = place.client.add_task("work", 1.0)
    place.wait_for("start")

    for pid in (*worker.children(), worker.process.pid):  # as a process manager tells all of a group
        os.kill(pid, number)

    assert worker.wait() == 0
    assert (job.refresh().status, job.attempt, job.interruptions) == (JobState.SUCCEEDED, 1, 0)


def test_a_worker_whose_folder_was_deleted_replaces_its_processes(place: Workplace, tmp_path: Path) -> None:
    release = tmp_path / "release 7"
    release.mkdir()
    place.start_in = release
    worker = place.worker().ready()
    release.rmdir()
    (child,) = worker.children()
    os.kill(child, signal.SIGKILL)

    assert place.client.add_task("work", 0).result(20) != child


def hang_up(worker: Worker) -> None:
    """As a terminal that is closed does it: to all processes of its group."""
    for pid in (worker.process.pid, *worker.children()):
        os.kill(pid, signal.SIGHUP)


def test_a_terminal_that_is_closed_drains_the_worker_however_often_it_says_so(
    place: Workplace, environment: dict[str, str]
) -> None:
    worker = start(place, environment, "20")
    job = place.client.add_task("plain", 1.0)
    place.wait_for("start")
    hang_up(worker)
    wait_until(lambda: "draining" in worker.log, "the worker drains")
    hang_up(worker)

    assert worker.wait() == 0
    assert job.refresh().result() == "done"
    assert job.attempt == 1


def test_a_worker_under_nohup_outlives_its_terminal(place: Workplace, environment: dict[str, str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the worker inherits

    try:
        worker = start(place, environment, "20")
    finally:
        signal.signal(signal.SIGHUP, before)

    job = place.client.add_task("plain", 1.0)
    place.wait_for("start")
    hang_up(worker)

    assert job.result(20) == "done"
    assert job.refresh().attempt == 1
    assert place.client.add_task("plain", 0.0).result(20) == "done"
    assert "draining" not in worker.log


def test_a_process_that_dies_while_it_drains_is_no_clean_end(place: Workplace) -> None:
    worker = place.worker().ready()
    job = place.client.add_task("work", 60)
    began = place.wait_for("start")
    worker.send(signal.SIGTERM)
    wait_until(lambda: worker.log.count("draining"), "the worker drains")
    os.kill(began[0].pid, signal.SIGKILL)

    assert worker.wait() == 7
    assert job.refresh().status is JobState.READY


def test_a_coroutine_that_is_cancelled_has_time_to_tidy_up_whatever_the_grace_time(
    place: Workplace, environment: dict[str, str]
) -> None:
    worker = start(place, environment, "0")
    place.client.add_task("tidies_up")
    place.wait_for("start")
    worker.send(signal.SIGTERM)

    assert worker.wait() == 7
    assert len(place.events("tidy")) == 1


def test_a_thread_that_looks_whether_it_should_stop_is_not_interrupted(place: Workplace, environment: dict[str, str]) -> None:
    worker = start(place, environment, "0.2")
    job = place.client.add_task("looks")
    place.wait_for("start")
    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert job.refresh().result() == "told"


def test_closings_have_a_time_of_their_own_after_the_grace_time(place: Workplace, environment: dict[str, str]) -> None:
    worker = start(place, environment, "0.1", WHAT="a handler", SLOW="1.5")
    place.client.add_task("use").result(20)
    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    wait_until(lambda: place.events("closed"), "the handler has ended")


def has_open(worker: Worker, file: Path) -> bool:
    """Whether the supervisor, too, uses the file."""
    for each in Path(f"/proc/{worker.process.pid}/fd").iterdir():
        with suppress(OSError):  # it has just been closed
            if os.readlink(each) == str(file):
                return True

    return False


@pytest.mark.parametrize("how", ["deleted", "replaced", "moved away"])
def test_a_queue_file_that_is_no_longer_there_ends_the_worker_with_code_4(place: Workplace, how: str) -> None:
    worker = place.worker("--processes", "2", "--grace", "0")
    file = Path(place.url.removeprefix("sqlite:///"))
    wait_until(lambda: worker.log.count(": ready for") == 2 and has_open(worker, file), "all have opened it", 20)

    match how:
        case "deleted":
            for each in file.parent.glob("queue.db*"):
                if each.is_file():
                    each.unlink()
        case "replaced":
            other = file.with_name("other.db")
            other.write_bytes(file.read_bytes())
            other.replace(file)
        case _:
            file.rename(file.with_name("moved.db"))

    assert worker.wait(40) == 4
    assert "Traceback" not in worker.log
    assert file.exists() is (how == "replaced")
