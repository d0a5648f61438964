"""How fast jobs are stored."""

from __future__ import annotations

import asyncio
import statistics
import time
from operator import truediv
from typing import Any

from benchmarks.peer import Peer
from benchmarks.processes import client
from benchmarks.run import Run, at_least

SINGLES = 2_000
BULK = 20_000
PORTION = 1_000
IN_FLIGHT = 50


def measure(run: Run) -> None:
    """One by one with either durability, from many coroutines, in bulk, and a peer one by one."""
    ours, theirs = zip(*(_side_by_side(run) for _ in range(run.rounds)), strict=True)
    full = run.add("one by one, durability full", statistics.median(ours), "jobs/s")
    run.add("huey, one by one, its default (synced)", statistics.median(theirs), "jobs/s")
    run.add("  Cherga to huey", statistics.median(map(truediv, ours, theirs)), "×", at_least(1))
    run.add("one by one, durability process", run.median(lambda: _singles(run, "process")), "jobs/s")
    flying = run.median(lambda: _in_flight(run))
    run.add(f"{IN_FLIGHT} aenqueue in flight, durability full", flying, "jobs/s", at_least(30_000))
    bulk = run.add(f"in bulk, {PORTION} a call, durability full", run.median(lambda: _bulk(run)), "jobs/s")
    run.add("  in bulk to one by one", bulk / full, "×")


def _side_by_side(run: Run) -> tuple[float, float]:
    """Jobs a second of ours and of huey's, one of each in turn: the disk of a busy machine has good and bad milliseconds."""
    jobs, peer = run.jobs(SINGLES), Peer(run.database())
    ours = theirs = 0.0

    with client(run.database()) as app:
        noop = app.tasks["noop"]

        for number in range(jobs):
            start = time.perf_counter()
            noop.enqueue(number)
            between = time.perf_counter()
            peer.noop(number)
            ours += between - start
            theirs += time.perf_counter() - between

    return jobs / ours, jobs / theirs


def _singles(run: Run, durability: str) -> float:
    jobs = run.jobs(SINGLES)

    with client(run.database(), durability) as app:
        noop = app.tasks["noop"]
        start = time.perf_counter()

        for number in range(jobs):
            noop.enqueue(number)

        return jobs / (time.perf_counter() - start)


def _in_flight(run: Run) -> float:
    each = run.jobs(BULK) // IN_FLIGHT

    with client(run.database()) as app:
        asyncio.run(_send(app.tasks["noop"], 1))  # threads and the loop's first use
        start = time.perf_counter()
        asyncio.run(_send(app.tasks["noop"], each))
        return each * IN_FLIGHT / (time.perf_counter() - start)


async def _send(task: Any, each: int) -> None:
    async def send_some() -> None:
        for number in range(each):
            await task.aenqueue(number)

    await asyncio.gather(*(send_some() for _ in range(IN_FLIGHT)))


def _bulk(run: Run) -> float:
    jobs = run.jobs(BULK)

    with client(run.database()) as app:
        noop = app.tasks["noop"]
        start = time.perf_counter()

        for first in range(0, jobs, PORTION):
            noop.enqueue_many([(number,) for number in range(first, min(jobs, first + PORTION))])

        return jobs / (time.perf_counter() - start)
