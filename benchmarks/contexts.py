"""The cost of a Flask application around each job: its context, a session in it, and a worker's start beside its import."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from resource import RUSAGE_CHILDREN, getrusage

from benchmarks.processes import WORKER, environment, url
from benchmarks.processing import process
from benchmarks.run import Run, at_most

JOBS = 20_000
MOST = 40.0
"""Microseconds more for each job, at most."""
MOST_TO_READY = 500.0
"""Milliseconds that a worker may take to be ready, over what the application's own import takes."""

KINDS = {
    "plain": "app:app",
    "in a context": "flask_app:create_app",
    "in a context, with a session": "flask_app:create_with_session",
}
FLASK = "benchmarks.flask_app:create_app"


def measure(run: Run) -> None:
    """The three kinds in turn, so that a slow minute of the machine strikes all; then worker starts beside bare imports."""
    costs: dict[str, list[float]] = defaultdict(list)

    for _ in range(run.rounds):
        for kind, place in KINDS.items():
            costs[kind].append(_microseconds(run, _command(f"benchmarks.{place}")))

    for kind, found in costs.items():
        run.add(f"def, {kind}, of the processor", statistics.median(found), "µs/job")

    more = statistics.median(one - other for one, other in zip(costs[list(KINDS)[-1]], costs["plain"], strict=True))
    run.add("  context and session, more for each job", more, "µs/job", at_most(MOST))
    _measure_start(run)


def _microseconds(run: Run, command: Sequence[str]) -> float:
    """Processor time for each job, without that of the worker's start: of many jobs beside few."""
    many, few = (_processor_seconds(run, command, jobs) for jobs in (JOBS, JOBS // 10))
    return (many - few) * 1e6 / (run.jobs(JOBS) - run.jobs(JOBS // 10))


def _processor_seconds(run: Run, command: Sequence[str], jobs: int) -> float:
    before = getrusage(RUSAGE_CHILDREN)
    process(run, "noop", 1, jobs, command)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _measure_start(run: Run) -> None:
    imports, starts = [], []
    _import()

    for _ in range(run.rounds):
        imports.append(_import())
        starts.append(_start(run))

    run.add("python, which makes the Flask application", statistics.median(imports), "ms")
    over = statistics.median(start - made for start, made in zip(starts, imports, strict=True))
    run.add("worker start to ready, over that", over, "ms", at_most(MOST_TO_READY))


def _command(target: str) -> Sequence[str]:
    return tuple(target if word == "benchmarks.app:app" else word for word in WORKER)


def _import() -> float:
    start = time.perf_counter()
    code = "from benchmarks.flask_app import create_app; create_app()"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    return (time.perf_counter() - start) * 1e3


def _start(run: Run) -> float:
    """From the command to the line that says so."""
    usual = [sys.executable, "-m", "cherga", "worker", "-A", FLASK, "-u", url(run.database())]
    start = time.perf_counter()

    with subprocess.Popen(usual, env=environment(), stderr=subprocess.PIPE, encoding="utf-8") as worker:
        try:
            if not any("ready for" in line for line in worker.stderr or ()):
                raise RuntimeError("expected the worker to get ready, but it ended")

            return (time.perf_counter() - start) * 1e3
        finally:
            worker.terminate()
