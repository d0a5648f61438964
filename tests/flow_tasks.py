"""Tasks of which the tests make chains and groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from typing import Any

from cherga import Job, JobState, QueueTasks

LONG = 10.0


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine function as a test."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def live() -> None:
            await test(*args, **kwargs)

        asyncio.run(live())

    return run


class Wanted(Exception):
    """Raised by tasks that are to fail."""


class Tasks:
    """The tasks of most tests."""

    def __init__(self, app: QueueTasks) -> None:
        self.ran: list[Any] = []
        self.add = app.task("add")(self._add)
        self.total = app.task("total")(self._total)
        self.fail = app.task("fail")(self._fail)

        @app.task
        async def double(number: int) -> int:
            return number * 2

        @app.task
        def count(upto: int) -> Iterator[int]:
            yield from range(upto)

        @app.task
        async def acount(upto: int) -> AsyncIterator[int]:
            for number in range(upto):
                yield number

        self.double, self.count, self.acount = double, count, acount

    def _add(self, a: int, b: int = 0) -> int:
        self.ran.append(a)
        return a + b

    def _total(self, numbers: list[int | None]) -> int:
        return sum(number or 0 for number in numbers)

    def _fail(self, number: int = 0) -> int:
        raise Wanted("no")


def states(jobs: list[Job[Any]]) -> list[JobState]:
    return [job.refresh().row.state for job in jobs]
