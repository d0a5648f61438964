"""What limits and unique keys cost: plain no-op jobs beside jobs with a limit by key, and a unique key each."""

from __future__ import annotations

import statistics
from collections import defaultdict

from benchmarks.processing import process
from benchmarks.run import Run, at_least

JOBS = 20_000
PLAIN = "noop"
SHARE = 1 / 3
"""Of the plain rate, at least."""

KINDS = {
    "limited": "max_running for each of 100 keys, and a unique key",
    "keyed": "max_running for each of 100 keys",
    "unique": "a unique key",
}


def measure(run: Run) -> None:
    """In turn, so that a slow minute of the machine strikes all."""
    rates: dict[str, list[float]] = defaultdict(list)

    for _ in range(run.rounds):
        for task in (PLAIN, *KINDS):
            rates[task].append(process(run, task, 1, JOBS))

    run.add("plain", statistics.median(rates[PLAIN]), "jobs/s")

    for task, what in KINDS.items():
        run.add(what, statistics.median(rates[task]), "jobs/s")
        aim = at_least(SHARE) if task == "limited" else None
        run.add(f"  {what}, to plain", _share(rates[task], rates[PLAIN]), "×", aim)


def _share(one: list[float], plain: list[float]) -> float:
    """The middle of the ratios, each of one round."""
    return statistics.median(rate / base for rate, base in zip(one, plain, strict=True))
