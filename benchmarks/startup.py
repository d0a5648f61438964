"""What it costs to begin: the import, and a worker's way to its first job."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.processes import client, environment, worker
from benchmarks.run import Run, at_most

IMPORT = "from cherga import QueueTasks"
STARTS = 15
WORKERS = 5


def measure(run: Run) -> None:
    """Imports in turn with bare interpreters, then worker starts with one job waiting."""
    bare, ours = [], []
    _interpreter(IMPORT)

    for _ in range(STARTS):
        bare.append(_interpreter("pass"))
        ours.append(_interpreter(IMPORT))

    run.add("python -c pass", statistics.median(bare), "ms")
    run.add(f"{IMPORT}, over that", statistics.median(ours) - statistics.median(bare), "ms", at_most(60))
    start = statistics.median(_worker(run) for _ in range(WORKERS))
    run.add("worker start to first job's start, median", start, "ms", at_most(250))


def _interpreter(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    return (time.perf_counter() - start) * 1e3


def _worker(run: Run) -> float:
    database = run.database()

    with client(database) as app:
        job = app.tasks["stamp"].enqueue()
        start = time.monotonic_ns()

        with worker(database):
            began: int = job.result(timeout=30)

        return (began - start) / 1e6
