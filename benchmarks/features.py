"""What a task's features cost: plain no-op tasks beside those with echo, two middlewares and one dependency."""

from __future__ import annotations

import statistics
from collections import defaultdict

from benchmarks.processing import process
from benchmarks.run import Run, at_most

JOBS = 30_000
MOST = 40.0
"""Microseconds more for each job, at most."""

PAIRS = {"def": ("noop", "featured"), "async def": ("anoop", "afeatured")}


def measure(run: Run) -> None:
    """The plain task and the other in turn, so that a slow minute of the machine strikes both."""
    costs: dict[str, list[float]] = defaultdict(list)

    for _ in range(run.rounds):
        for task in (task for pair in PAIRS.values() for task in pair):
            costs[task].append(_microseconds(run, task))

    for kind, (plain, featured) in PAIRS.items():
        run.add(f"{kind}, plain", statistics.median(costs[plain]), "µs/job")
        run.add(f"{kind}, echo, two middlewares, one dependency", statistics.median(costs[featured]), "µs/job")
        run.add(f"  {kind}, more for each job", _more(costs[featured], costs[plain]), "µs/job", at_most(MOST))


def _microseconds(run: Run, task: str) -> float:
    return 1e6 / process(run, task, 1, JOBS)


def _more(with_features: list[float], without: list[float]) -> float:
    """The middle of the differences, each of one round."""
    return statistics.median(one - other for one, other in zip(with_features, without, strict=True))
