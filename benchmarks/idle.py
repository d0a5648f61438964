"""What a worker costs that has nothing to do."""

from __future__ import annotations

import time

from benchmarks.processes import children, client, processor_seconds, resident_megabytes, worker
from benchmarks.run import Run, at_most

WATCHED = 10.0
"""Seconds; two heartbeats and two sweeps fall into them."""


def measure(run: Run) -> None:
    """Memory and processor time of the supervisor and of its one worker process."""
    database = run.database()

    with client(database) as app, worker(database) as supervisor:
        app.tasks["stamp"].enqueue().result(timeout=30)
        (process,) = children(supervisor)
        time.sleep(1.0)
        used = share_used(supervisor, process, WATCHED)
        run.add("supervisor, memory", resident_megabytes(supervisor), "MB", at_most(40))
        run.add("worker process, memory", resident_megabytes(process), "MB")
        run.add("supervisor, share of a core while idle", used[0], "%")
        run.add("worker process, share of a core while idle", used[1], "%", at_most(1))
        run.add("both together", sum(used), "%", at_most(1))


def share_used(supervisor: int, process: int, seconds: float) -> tuple[float, float]:
    """The share of a core that each of the two takes in the next so many seconds, in percent."""
    before = processor_seconds(supervisor), processor_seconds(process)
    time.sleep(seconds)
    after = processor_seconds(supervisor), processor_seconds(process)
    return (after[0] - before[0]) / seconds * 100, (after[1] - before[1]) / seconds * 100
