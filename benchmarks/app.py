"""The application that is measured: ``app`` for the workers, ``make`` for clients of some other file."""

from __future__ import annotations

import time

from cherga import QueueTasks


def noop(number: int) -> int:
    """Does nothing, on a thread."""
    return number


async def anoop(number: int) -> int:
    """Does nothing, on the loop."""
    return number


def stamp() -> int:
    """When the job's own code began, on the clock that the processes of a machine share."""
    return time.monotonic_ns()


def make(broker_url: str | None = None) -> QueueTasks:
    """The application on this broker, else on ``CHERGA_BROKER_URL``."""
    made = QueueTasks("bench", broker_url)

    for function in (noop, anoop, stamp):
        made.task(function)

    return made


app = make()
