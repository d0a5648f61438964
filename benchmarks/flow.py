"""How long a group takes from its enqueue to the end of its callback, and what its results cost."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections import defaultdict

from benchmarks.processes import LIMIT, client, worker
from benchmarks.run import Run, at_most
from cherga import GroupJob, QueueTasks, chain, group

MEMBERS = 10_000
LINKS = 200
MOST = 3.0
"""Seconds from the enqueue of a group to the end of its callback, at most."""
MEBIBYTE = 2**20


def measure(run: Run) -> None:
    """One worker with one process, up and idle, works off one group after another."""
    taken: dict[str, list[float]] = defaultdict(list)
    members = run.jobs(MEMBERS)

    with worker(database := run.database()), client(database) as app:
        app.tasks["noop"].enqueue(0).result(LIMIT)

        for _ in range(run.rounds):
            for name, seconds in _time_group(app, members).items():
                taken[name].append(seconds)

            taken["chain"].append(_time_chain(app, run.jobs(LINKS)))

        memory = _megabytes_of_results(app, members)

    run.add(f"group of {members:,}, its enqueue", statistics.median(taken["enqueue"]), "s")
    run.add("  from enqueue() to the callback's end", statistics.median(taken["callback"]), "s", at_most(MOST))
    run.add("  results() of the members", statistics.median(taken["results"]), "s")
    run.add("  memory for results(), at its peak", memory, "MiB")
    run.add("chain, each link", statistics.median(taken["chain"]) / run.jobs(LINKS) * 1e3, "ms")


def _time_group(app: QueueTasks, members: int) -> dict[str, float]:
    """Seconds to the end of each of these."""
    begun = time.perf_counter()
    job = _enqueue(app, members)
    enqueued = time.perf_counter()
    assert job.callback is not None
    counted = job.callback.result(LIMIT)
    ended = time.perf_counter()

    if counted != members or len(job.results()) != members:
        raise RuntimeError(f"expected {members} results, got {counted}")

    return {"enqueue": enqueued - begun, "callback": ended - begun, "results": time.perf_counter() - ended}


def _enqueue(app: QueueTasks, members: int) -> GroupJob[int]:
    noop = app.tasks["noop"]
    return group((noop.s(number) for number in range(members)), then=app.tasks["count"].s()).enqueue()


def _time_chain(app: QueueTasks, links: int) -> float:
    begun = time.perf_counter()
    noop = app.tasks["noop"]
    chain(noop.s(0), *(noop.s() for _ in range(links - 1))).enqueue().result(LIMIT)
    return time.perf_counter() - begun


def _megabytes_of_results(app: QueueTasks, members: int) -> float:
    job = _enqueue(app, members)
    job.await_end(LIMIT)
    tracemalloc.start()
    job.results()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / MEBIBYTE
