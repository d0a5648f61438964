"""What worker processes and the children of jobs inherit: signals and standard streams, whoever started the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers import PATH, ROOT, Workplace

APP = """
import multiprocessing, os, signal, subprocess, sys, threading, time
from cherga import QueueTasks

app = QueueTasks("jobs")
fork = multiprocessing.get_context("fork")

SHOW = '''
import signal
ignored = [int(n) for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
print(*ignored, *(f"blocked {n}" for n in signal.pthread_sigmask(0, ())))
'''


def sleep(busy) -> None:
    busy.set()
    time.sleep(60)


def tell(pipe) -> None:
    usual = (signal.SIG_DFL, signal.default_int_handler)
    ignored = [int(n) for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
    odd = [int(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD) if signal.getsignal(n) not in usual]
    pipe.send((ignored, [int(n) for n in signal.pthread_sigmask(0, ())], odd, signal.set_wakeup_fd(-1)))


@app.task
def terminated() -> int | None:
    child = fork.Process(target=sleep, args=(busy := fork.Event(),))
    child.start()
    busy.wait(10)
    child.terminate()
    child.join(10)
    code = child.exitcode
    child.kill()
    child.join()
    return code


@app.task
def at_once() -> int | None:
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(10)
    code = child.exitcode
    child.kill()
    child.join()
    return code


@app.task
def pools(count: int) -> int:
    for _ in range(count):
        with fork.Pool(2) as pool:
            pool.map(abs, range(4))
    return count


@app.task
def forked() -> list[object]:
    ours, theirs = fork.Pipe()
    child = fork.Process(target=tell, args=(theirs,))
    child.start()
    told = ours.recv()
    child.join()
    return list(told)


@app.task
def started() -> str:
    return subprocess.run([sys.executable, "-c", SHOW], capture_output=True, encoding="utf-8", check=True).stdout.strip()


@app.task
def say(text: str) -> int:
    print(text, flush=True)
    return len(text)
"""

PYTHONS_OWN = sorted({signal.SIGPIPE, signal.SIGXFSZ})
"""What Python itself ignores."""

ODD_START = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def environment(place: Workplace, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "made.py").write_text(APP)
    return {**place.environment, "PYTHONPATH": os.pathsep.join((str(tmp_path), PATH))}


@pytest.mark.parametrize("task", ["terminated", "at_once"])
def test_a_child_that_a_job_forks_ends_on_terminate(place: Workplace, environment: dict[str, str], task: str) -> None:
    place.worker(app="made:app", **environment).ready()

    assert place.client.add_task(task).result(20) == -signal.SIGTERM


def test_a_pool_by_fork_ends_as_often_as_it_is_used(place: Workplace, environment: dict[str, str]) -> None:
    place.worker(app="made:app", **environment).ready()

    assert place.client.add_task("pools", 10).result(40) == 10


def test_children_of_jobs_have_usual_signals_however_the_worker_was_started(
    place: Workplace, environment: dict[str, str]
) -> None:
    command = ["-c", ODD_START, "-m", "cherga", "worker", "-A", "made:app"]
    worker = subprocess.Popen([sys.executable, *command], env=environment, cwd=ROOT, stderr=subprocess.PIPE)

    try:
        assert place.client.add_task("forked").result(20) == [PYTHONS_OWN, [], [], -1]
        assert place.client.add_task("started").result(20) == " ".join(map(str, PYTHONS_OWN))
    finally:
        worker.terminate()
        assert worker.wait(20) == 0
        worker.communicate()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_worker_whose_standard_streams_were_closed_ends_with_the_code_of_the_work(
    place: Workplace, environment: dict[str, str], closed: str
) -> None:
    job = place.client.add_task("say", "hello")
    command = f"exec {sys.executable} -m cherga worker -A made:app --burst {closed}"
    worker = subprocess.run(["sh", "-c", command], env=environment, cwd=ROOT, timeout=40, capture_output=True, encoding="utf-8")

    assert worker.returncode == 0
    assert job.refresh().result() == 5
    assert "hello" not in worker.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_command_whose_standard_streams_were_closed_ends_with_its_own_code(place: Workplace, closed: str) -> None:
    place.client.add_task("say", "hello")
    command = f"exec {sys.executable} -m cherga jobs list -u {place.url} {closed}"

    assert subprocess.run(["sh", "-c", command], env=place.environment, timeout=40, check=False).returncode == 0
