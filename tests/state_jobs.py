"""The application of the tests of shared state."""

from __future__ import annotations

import os
import threading

from cherga import QueueTasks, State, StateHandle

app = QueueTasks("jobs", heartbeat=0.2, lease=1.0, sweep=0.2)

_pause = threading.Event().wait


class Totals(State):
    """What all jobs add to."""

    count: int = 0
    pids: list[int] = []


def add_slowly(totals: Totals) -> None:
    """Long enough for others to come in between."""
    count = totals.count
    _pause(0.001)
    totals.count = count + 1
    totals.pids = sorted({*totals.pids, os.getpid()})


@app.task
def add(totals: StateHandle[Totals]) -> None:
    totals.update(add_slowly)


@app.task
async def aadd(totals: StateHandle[Totals]) -> None:
    await totals.aupdate(add_slowly)
