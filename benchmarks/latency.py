"""How soon an idle worker in another process starts a job, and how soon its result is back."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from random import Random
from subprocess import PIPE

from benchmarks import peer
from benchmarks.processes import client, worker
from benchmarks.run import Run, at_most, percentile

SINGLES = 300
PEER_SINGLES = 40
ECHO = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR)
while os.read(0, 1):
    os.pwrite(file, bytes(4096), 0)
    os.fdatasync(file)
    os.write(1, b"x")
"""
PAUSE = (0.005, 0.03)
"""Seconds between two jobs, so that the worker is idle again, at no fixed beat."""


@dataclass
class Delays:
    """Milliseconds, one entry a job."""

    start: list[float] = field(default_factory=list)
    """From the call of enqueue to the first line of the task."""
    after: list[float] = field(default_factory=list)
    """From the return of enqueue to the first line of the task; negative when that came first."""
    result: list[float] = field(default_factory=list)
    """From the call of enqueue to the result in the caller's hand."""

    def add(self, called: int, returned: int, began: int, answered: int) -> None:
        """Take down one job; all times in nanoseconds."""
        self.start.append((began - called) / 1e6)
        self.after.append((began - returned) / 1e6)
        self.result.append((answered - called) / 1e6)


def measure(run: Run) -> None:
    """Singles to an idle worker, then to huey's."""
    bare = statistics.median(_bare(run))
    ours = _cherga(run, "full")
    median = run.add("enqueue called to start, median", statistics.median(ours.start), "ms", at_most(2))
    run.add("enqueue called to start, p99", percentile(ours.start, 0.99), "ms", at_most(10))
    run.add("enqueue returned to start, median", statistics.median(ours.after), "ms")
    run.add("round trip with result, median", statistics.median(ours.result), "ms", at_most(1.5))
    run.add("round trip with result, p99", percentile(ours.result, 0.99), "ms")
    run.add("with no queue: two syncs, and a byte there and back", bare, "ms")

    process = _cherga(run, "process")
    run.add("durability process, enqueue called to start, median", statistics.median(process.start), "ms")
    run.add("durability process, round trip with result, median", statistics.median(process.result), "ms")

    theirs = _huey(run)
    other = run.add("huey, enqueue called to start, median", statistics.median(theirs.start), "ms")
    run.add("huey, enqueue called to start, p99", percentile(theirs.start, 0.99), "ms")
    run.add("  huey to Cherga", other / median, "×")


def _bare(run: Run) -> list[float]:
    """What is left of a round trip without any queue, in milliseconds: 4 KiB written over and synced, a byte to an idle
    process, the same there, a byte back."""
    times, random = list[float](), Random(1)

    with (run.database()).open("w+b", buffering=0) as file:
        file.write(bytes(4096))
        echo = subprocess.Popen([sys.executable, "-c", ECHO, file.name], stdin=PIPE, stdout=PIPE, bufsize=0)

        with echo:
            there, back = echo.stdin, echo.stdout
            assert there is not None
            assert back is not None

            for _ in range(run.jobs(SINGLES)):
                time.sleep(random.uniform(*PAUSE))
                called = time.monotonic_ns()
                os.pwrite(file.fileno(), bytes(4096), 0)
                os.fdatasync(file.fileno())
                there.write(b"x")
                back.read(1)
                times.append((time.monotonic_ns() - called) / 1e6)

    return times


def _cherga(run: Run, durability: str) -> Delays:
    database, delays, random = run.database(), Delays(), Random(1)

    with client(database, durability) as app, worker(database, durability):
        stamp = app.tasks["stamp"]
        stamp.enqueue().result(timeout=30)

        for _ in range(run.jobs(SINGLES)):
            time.sleep(random.uniform(*PAUSE))
            called = time.monotonic_ns()
            job = stamp.enqueue()
            returned = time.monotonic_ns()
            began = job.result(timeout=30)
            delays.add(called, returned, began, time.monotonic_ns())

    return delays


def _huey(run: Run) -> Delays:
    delays, random = Delays(), Random(1)

    with peer.consumer(run.database()) as other:
        other.stamp().get(blocking=True, timeout=30)

        for _ in range(run.jobs(PEER_SINGLES)):
            time.sleep(random.uniform(*PAUSE))
            called = time.monotonic_ns()
            answer = other.stamp()
            returned = time.monotonic_ns()
            began = answer.get(blocking=True, timeout=30, max_delay=0.01)
            delays.add(called, returned, began, time.monotonic_ns())

    return delays
