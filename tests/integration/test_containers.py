"""Workers in containers of one host, which see each other's processes as little as their names, share one queue file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cherga.testing import wait_until
from tests.workers import ROOT, Workplace

CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]


def can_contain() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_contain(), reason="this user may make no namespaces here")


@contextmanager
def contained(place: Workplace, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as process 1 of namespaces of its own, with a host name of its own."""
    log = place.diary.parent / f"{name}.log"
    worker = f"hostname {name}; exec {sys.executable} -m cherga worker -A tests.worker_jobs:app"

    with log.open("wb") as output:
        command = [*CONTAINER, "sh", "-c", worker]
        process = subprocess.Popen(command, cwd=ROOT, env=place.environment, stdout=output, stderr=output)

        try:
            wait_until(lambda: b": ready for" in log.read_bytes() or process.poll() is not None, "the worker is ready", 20)
            yield process
        finally:
            process.kill()
            process.wait(10)


def first_process(container: subprocess.Popen[bytes]) -> int:
    """The id by which this host knows the container's process 1."""
    with open(f"/proc/{container.pid}/task/{container.pid}/children", encoding="utf-8") as file:
        return int(file.read().split()[0])


def test_a_container_goes_on_at_once_with_the_jobs_of_one_that_was_killed(place: Workplace) -> None:
    with contained(place, "first") as first, contained(place, "second"):
        assert {worker.session.host for worker in place.client.broker.workers()} == {"first", "second"}

        gate = place.diary.parent / "gate"
        jobs = [place.client.add_task("until_file", str(gate)) for _ in range(12)]
        place.wait_for("start", len(jobs))
        os.kill(first_process(first), signal.SIGKILL)
        first.wait(20)
        gate.touch()
        wait_until(lambda: not place.unfinished(), "all jobs have ended, long before a lease would have", 20)

    assert all(job.refresh().is_succeeded for job in jobs)
    assert len(place.events("start")) > len(jobs), "none of them had run in the container that was killed"


def test_a_container_hears_at_once_of_a_job_that_is_enqueued_outside(place: Workplace) -> None:
    with contained(place, "only"):
        job = place.client.add_task("add", 1, 2)

        assert job.result(20) == 3
