"""How fast jobs that wait are worked off: from the first claim to the last settlement, without the worker's start."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import apsw

from benchmarks import bare, peer
from benchmarks.processes import client, run_burst
from benchmarks.run import Run, at_least

JOBS = 30_000
PEER_JOBS = 5_000
PORTION = 1_000


def measure(run: Run) -> None:
    """Every contestant once a round, in turn, so that a slow minute of the machine strikes all of them."""
    rates: dict[str, list[float]] = defaultdict(list)

    for _ in range(run.rounds):
        for name, take in _contestants(run).items():
            rates[name].append(take())

    middle = {name: run.add(name, statistics.median(values), "jobs/s") for name, values in rates.items()}
    _compare(run, middle)


def _contestants(run: Run) -> dict[str, Callable[[], float]]:
    return {
        "sync tasks, 1 worker process": lambda: _cherga(run, "noop", 1),
        "async tasks, 1 worker process": lambda: _cherga(run, "anoop", 1),
        "sync tasks, 2 worker processes": lambda: _cherga(run, "noop", 2),
        "async tasks, 2 worker processes": lambda: _cherga(run, "anoop", 2),
        "sync tasks, 1 worker process, wall time of the whole command": lambda: _whole(run),
        "bare engine loop": lambda: _bare(run),
        "huey, 1 thread": lambda: _huey(run, 1),
        "huey, 4 threads": lambda: _huey(run, 4),
    }


def _compare(run: Run, rates: dict[str, float]) -> None:
    huey = max(rates["huey, 1 thread"], rates["huey, 4 threads"])

    for kind in ("sync", "async"):
        ours = rates[f"{kind} tasks, 1 worker process"]
        run.add(f"  {kind}, 1 process, to huey's better", ours / huey, "×", at_least(15))
        run.add(f"  {kind}, 1 process, to the bare loop", ours / rates["bare engine loop"], "×", at_least(0.5))


def _cherga(run: Run, task: str, processes: int) -> float:
    database = _filled(run, task)
    run_burst(database, processes)
    return _rate(database, run.jobs(JOBS))


def _whole(run: Run) -> float:
    database = _filled(run, "noop")
    start = time.perf_counter()
    run_burst(database)
    return run.jobs(JOBS) / (time.perf_counter() - start)


def _bare(run: Run) -> float:
    database = _filled(run, "noop")
    return run.jobs(JOBS) / bare.processing_seconds(database)


def _huey(run: Run, threads: int) -> float:
    jobs = run.jobs(PEER_JOBS)
    return jobs / peer.processing_seconds(run.database(), threads, jobs)


def _filled(run: Run, task: str) -> Path:
    database, jobs = run.database(), run.jobs(JOBS)

    with client(database) as app:
        for first in range(0, jobs, PORTION):
            app.tasks[task].enqueue_many([(number,) for number in range(first, min(jobs, first + PORTION))])

    return database


def _rate(database: Path, jobs: int) -> float:
    """Jobs a second by the store's own times. Raises when a job is missing: a rate of lost jobs would be no rate."""
    db = apsw.Connection(str(database))
    count, first, last = db.execute("select count(*), min(started_at), max(finished_at) from jobs where state = 5").get
    db.close()

    if count != jobs:
        raise RuntimeError(f"expected {jobs} succeeded jobs, found {count}")

    return float(jobs / (last - first))
