"""How soon an idle worker in another process starts a job, and how soon its result is back."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from random import Random

from benchmarks import peer
from benchmarks.processes import client, worker
from benchmarks.run import Run, at_most, percentile

SINGLES = 300
PEER_SINGLES = 40
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
    ours = _cherga(run, "full")
    median = run.add("enqueue called to start, median", statistics.median(ours.start), "ms", at_most(2))
    run.add("enqueue called to start, p99", percentile(ours.start, 0.99), "ms", at_most(10))
    run.add("enqueue returned to start, median", statistics.median(ours.after), "ms")
    run.add("round trip with result, median", statistics.median(ours.result), "ms", at_most(1.5))
    run.add("round trip with result, p99", percentile(ours.result, 0.99), "ms")

    process = _cherga(run, "process")
    run.add("durability process, enqueue called to start, median", statistics.median(process.start), "ms")
    run.add("durability process, round trip with result, median", statistics.median(process.result), "ms")

    theirs = _huey(run)
    other = run.add("huey, enqueue called to start, median", statistics.median(theirs.start), "ms")
    run.add("huey, enqueue called to start, p99", percentile(theirs.start, 0.99), "ms")
    run.add("  huey to Cherga", other / median, "×")


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
