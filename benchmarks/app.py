"""The application that is measured: ``app`` for the workers, ``make`` for clients of some other file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Any

from cherga import Call, Depends, QueueTasks

NOTES = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (open for as long as the process lives)
LINE = b"x" * 31 + b"\n"


def noop(number: int) -> int:
    """Does nothing, on a thread."""
    return number


async def anoop(number: int) -> int:
    """Does nothing, on the loop."""
    return number


def scribble(number: int) -> None:
    """Writes 32 bytes to a file, on a thread: the least that a task does outside the interpreter."""
    NOTES.write(LINE)


def count(results: list[int]) -> int:
    """How many results a group has."""
    return len(results)


def stamp() -> int:
    """When the job's own code began, on the clock that the processes of a machine share."""
    return time.monotonic_ns()


class Before:
    """A middleware that does nothing."""

    def __call__(self, call: Call) -> None: ...


class After:
    """A middleware that does nothing."""

    def __call__(self, call: Call) -> None: ...


def open_nothing() -> Iterator[None]:
    """A dependency that is opened and closed for each job."""
    yield


FEATURES: dict[str, Any] = {"echo": True, "middlewares_before": [Before], "middlewares_after": [After]}
KEYS = 100
LIMITED: dict[str, Any] = {"max_running": 8, "key": lambda number: number % KEYS}
NEEDED: Any = Depends(open_nothing)


def featured(self: Any, number: int, needed: None = NEEDED) -> int:
    """Does nothing, with everything around it, on a thread."""
    return number


async def afeatured(self: Any, number: int, needed: None = NEEDED) -> int:
    """Does nothing, with everything around it, on the loop."""
    return number


def make(broker_url: str | None = None) -> QueueTasks:
    """The application on this broker, else on ``CHERGA_BROKER_URL``."""
    made = QueueTasks("bench", broker_url)

    for function in (noop, anoop, scribble, count, stamp):
        made.task(function)

    made.task(name="unique", unique=True)(noop)
    made.task(name="keyed", **LIMITED)(noop)
    made.task(name="limited", unique=True, **LIMITED)(noop)
    made.task(**FEATURES)(featured)
    made.task(**FEATURES)(afeatured)
    return made


app = make()
