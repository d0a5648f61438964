"""How fast jobs are stored."""

from __future__ import annotations

import asyncio
import time
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
    full = run.add("one by one, durability full", run.median(lambda: _singles(run, "full")), "jobs/s")
    peer = run.add("huey, one by one, its default (synced)", run.median(lambda: _peer(run)), "jobs/s")
    run.add("  Cherga to huey", full / peer, "×", at_least(1))
    run.add("one by one, durability process", run.median(lambda: _singles(run, "process")), "jobs/s")
    flying = run.median(lambda: _in_flight(run))
    run.add(f"{IN_FLIGHT} aenqueue in flight, durability full", flying, "jobs/s", at_least(30_000))
    bulk = run.add(f"in bulk, {PORTION} a call, durability full", run.median(lambda: _bulk(run)), "jobs/s")
    run.add("  in bulk to one by one", bulk / full, "×")


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


def _peer(run: Run) -> float:
    jobs = run.jobs(SINGLES)
    peer = Peer(run.database())
    start = time.perf_counter()

    for number in range(jobs):
        peer.noop(number)

    return jobs / (time.perf_counter() - start)
