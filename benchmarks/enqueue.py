"""How fast jobs are stored."""

from __future__ import annotations

import time

from benchmarks.peer import Peer
from benchmarks.processes import client
from benchmarks.run import Run

SINGLES = 2_000
BULK = 20_000
PORTION = 1_000


def measure(run: Run) -> None:
    """One by one with either durability, in bulk, and a peer one by one."""
    full = run.add("one by one, durability full", run.median(lambda: _singles(run, "full")), "jobs/s")
    peer = run.add("huey, one by one, its default (synced)", run.median(lambda: _peer(run)), "jobs/s")
    run.add("  Cherga to huey", full / peer, "×")
    run.add("one by one, durability process", run.median(lambda: _singles(run, "process")), "jobs/s")
    bulk = run.add(f"in bulk, {PORTION} a call, durability full", run.median(lambda: _bulk(run)), "jobs/s")
    run.add("  in bulk to one by one", bulk / full, "×")


def _singles(run: Run, durability: str) -> float:
    jobs = run.jobs(SINGLES)

    with client(run.database(), durability) as app:
        noop = app.tasks["noop"]
        start = time.perf_counter()

        for number in range(jobs):
            noop.enqueue(number)

        return jobs / (time.perf_counter() - start)


def _bulk(run: Run) -> float:
    jobs = run.jobs(BULK)

    with client(run.database()) as app:
        noop = app.tasks["noop"]
        start = time.perf_counter()

        for first in range(0, jobs, PORTION):
            noop.enqueue_many([(number,) for number in range(first, min(jobs, first + PORTION))])

        return jobs / (time.perf_counter() - start)


def _peer(run: Run) -> float:
    jobs = run.jobs(SINGLES)
    peer = Peer(run.database())
    start = time.perf_counter()

    for number in range(jobs):
        peer.noop(number)

    return jobs / (time.perf_counter() - start)
