"""How fast jobs that wait are worked off: from the first claim to the last settlement, without the worker's start."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from benchmarks import bare, peer
from benchmarks.processes import USUAL, WORKER, client, run_burst
from benchmarks.run import Run, at_least

JOBS = 30_000
PEER_JOBS = 5_000
PORTION = 1_000

SYNC = "sync tasks, 1 worker process"
ASYNC = "async tasks, 1 worker process"
LOGGED = "sync tasks, 1 worker process, with the settings it comes with"
WRITING = "tasks that write 32 bytes to a file"
WRITING_ALONE = "tasks that write 32 bytes to a file, 1 thread"
BARE = "bare engine loop"
HUEY = "huey, 1 thread"
HUEY_4 = "huey, 4 threads"


def measure(run: Run) -> None:
    """Every contestant once a round, in turn, so that a slow minute of the machine strikes all of them."""
    rates: dict[str, list[float]] = defaultdict(list)

    for _ in range(run.rounds):
        for name, take in _contestants(run).items():
            rates[name].append(take())

    for name, values in rates.items():
        run.add(name, statistics.median(values), "jobs/s")

    for kind in (SYNC, ASYNC):
        run.add(f"  {kind}, to huey's better", _ratio(rates[kind], _better(rates)), "×", at_least(15))
        run.add(f"  {kind}, to the bare loop", _ratio(rates[kind], rates[BARE]), "×", at_least(0.5))

    run.add("  with the settings it comes with, to a quiet log", _ratio(rates[LOGGED], rates[SYNC]), "×", at_least(0.85))
    run.add("  a write to a file, to one thread's rate", _ratio(rates[WRITING], rates[WRITING_ALONE]), "×", at_least(0.9))


def _contestants(run: Run) -> dict[str, Callable[[], float]]:
    """What is compared stands side by side."""
    return {
        SYNC: lambda: process(run, "noop", 1),
        LOGGED: lambda: process(run, "noop", 1, command=USUAL),
        WRITING: lambda: process(run, "scribble", 1),
        WRITING_ALONE: lambda: process(run, "scribble", 1, command=(*WORKER, "--threads", "1")),
        BARE: lambda: _bare(run),
        ASYNC: lambda: process(run, "anoop", 1),
        HUEY: lambda: _huey(run, 1),
        HUEY_4: lambda: _huey(run, 4),
        "sync tasks, 2 worker processes": lambda: process(run, "noop", 2),
        "async tasks, 2 worker processes": lambda: process(run, "anoop", 2),
        f"{SYNC}, the whole command by the clock": lambda: _whole(run),
    }


def _better(rates: dict[str, list[float]]) -> list[float]:
    return max(rates[HUEY], rates[HUEY_4], key=statistics.median)


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """The middle of the ratios, each of one round."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def process(run: Run, task: str, processes: int, jobs: int = JOBS, command: Sequence[str] = WORKER) -> float:
    """Jobs a second of this task."""
    database = _filled(run, task, jobs)
    run_burst(database, processes, command)
    return _rate(database, run.jobs(jobs))


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


def _filled(run: Run, task: str, usual: int = JOBS) -> Path:
    database, jobs = run.database(), run.jobs(usual)

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
