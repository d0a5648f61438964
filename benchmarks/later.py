"""Jobs that wait for a time: how soon those start that are due at once, and what those cost that are not."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from benchmarks.idle import WATCHED, share_used
from benchmarks.processes import children, client, worker
from benchmarks.run import Run, at_least, at_most

AT_ONCE = 1000
WAITING = 100_000
AHEAD = 2.0
"""Seconds; the worker sleeps by then."""


def measure(run: Run) -> None:
    """A thousand that are due at the same instant, then a worker beside a hundred thousand that are not."""
    database, count, waiting = run.database(), run.jobs(AT_ONCE), run.jobs(WAITING)

    with client(database) as app, worker(database) as supervisor:
        stamp = app.tasks["stamp"]
        stamp.enqueue().result(timeout=30)
        due = time.monotonic_ns() + int(AHEAD * 1e9)
        jobs = stamp.using(run_at=datetime.now(UTC) + timedelta(seconds=AHEAD)).enqueue_many([()] * count)
        starts = [(job.result(timeout=30) - due) / 1e6 for job in jobs]
        run.add(f"{count:,} due at once, the first starts after", min(starts), "ms", at_least(0))
        run.add(f"{count:,} due at once, the last starts after", max(starts), "ms", at_most(5000))

        (process,) = children(supervisor)
        time.sleep(1.0)
        before = sum(share_used(supervisor, process, WATCHED))
        stamp.using(run_in=3600).enqueue_many([()] * waiting)
        time.sleep(1.0)
        run.add("worker, share of a core while idle", before, "%")
        run.add(f"the same beside {waiting:,} scheduled jobs", sum(share_used(supervisor, process, WATCHED)), "%", at_most(1))
