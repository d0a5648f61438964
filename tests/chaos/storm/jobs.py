"""The application of the storm: one task of every kind. Each attempt writes its first and its last line into the diary."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cherga import AsyncTask, Backoff, Batch, Event, QueueTasks, Retry, Snooze, SyncTask, ctx
from tests.chaos.storm.diary import write

LEASE = 3.0
GRACE = 6.0
CRASH_CAP = 3
SLOTS = 3
"""``limited`` jobs at once."""
PER_USER = 2
PER_SECOND = 20
EVERY = 0.5

_pause = threading.Event().wait


def make_app(url: str | None = None) -> QueueTasks:
    """The application, for the workers and for the producers."""
    app = QueueTasks(
        "jobs",
        url,
        heartbeat=0.3,
        lease=LEASE,
        sweep=0.3,
        poll_interval=60.0,
        stuck_after=0.5,
        stall_limit=10.0,
        grace=GRACE,
        crash_cap=CRASH_CAP,
        crash_backoff=(0.0, 0.1),
        enqueue_timeout=20.0,
        busy_timeout=20.0,
    )

    for function, options in TASKS.items():
        app.task(**options)(function)

    for signal_ in (app.on.succeeded, app.on.failed, app.on.cancelled):
        signal_(_note_end)

    return app


def _note_end(event: Event) -> None:
    write("told", job=str(event.job_id), words=event.name)


def _worker() -> str:
    """The name of the worker process, as the history of a job has it."""
    return str(ctx.get_component("worker").worker)


@contextmanager
def attempt(key: object = "") -> Iterator[None]:
    """The first and the last line of the attempt that runs here."""
    job = ctx.job
    here = {
        "job": str(job.id),
        "task": job.task,
        "key": str(key),
        "claim": job.claims,
        "given": job.started_at,
        "worker": _worker(),
    }
    write("begin", **here)

    try:
        yield
    except BaseException as error:
        write("raise", **here, words=type(error).__name__)
        raise

    write("end", **here)


# --- the tasks; whatever they are given first, they answer it


def plain(n: int, seconds: float = 0.0) -> int:
    with attempt():
        _pause(seconds)

    return n


async def coroutine(n: int, seconds: float = 0.0) -> int:
    with attempt():
        await asyncio.sleep(seconds)

    return n


def values(n: int) -> Iterator[int]:
    with attempt():
        for more in range(3):
            yield n + more
            _pause(0.003)


async def avalues(n: int) -> AsyncIterator[int]:
    with attempt():
        for more in range(3):
            yield n + more
            await asyncio.sleep(0.003)


def rows(batch: Batch[int]) -> list[int]:
    here = [{"job": str(job.id), "task": "rows", "claim": job.fence, "worker": _worker()} for job in batch.jobs]

    for one in here:
        write("begin", **one)

    _pause(0.01)

    for one in here:
        write("end", **one)

    return list(batch)


def parent(self: SyncTask, n: int) -> int:
    with attempt():
        _ = self.add_task("plain", n + 1)
        _ = self.add_task("coroutine", n + 2)
        self.add_task("plain", n + 3).store()

    return n


async def aparent(self: AsyncTask, n: int) -> int:
    with attempt():
        _ = self.add_task("plain", n + 1)
        _ = self.add_task("coroutine", n + 2)
        await self.add_task("plain", n + 3)

    return n


def once(n: int, seconds: float = 0.0) -> int:
    return plain(n, seconds)


async def aonce(n: int, seconds: float = 0.0) -> int:
    return await coroutine(n, seconds)


def flaky(n: int) -> int:
    with attempt():
        if ctx.attempt <= 2:
            raise ConnectionError("on purpose")

    return n


def failing(n: int) -> int:
    with attempt():
        raise ValueError("on purpose")


def snoozing(n: int) -> int:
    with attempt():
        if not ctx.meta.get("snoozed"):
            ctx.meta["snoozed"] = True
            ctx.save_meta()
            raise Snooze(0.05)

    return n


def overrun(n: int) -> int:
    return plain(n, 0.5)


async def aoverrun(n: int) -> int:
    return await coroutine(n, 30.0)


def stuck(n: int) -> int:
    """Goes on for so long after its time that its process has to be replaced."""
    return plain(n, 3.0 if ctx.attempt == 1 else 0.0)


def patient(n: int) -> int:
    with attempt():
        ctx.sleep(2.0)

    return n


def alone(key: str, n: int) -> int:
    with attempt(key):
        _pause(0.02)

    return n


def limited(n: int, seconds: float = 0.01) -> int:
    with attempt("limited"):
        _pause(seconds)

    return n


async def keyed(user: int, n: int) -> int:
    with attempt(user):
        await asyncio.sleep(0.02)

    return n


def rated(n: int) -> int:
    return plain(n)


def suicide(n: int) -> int:
    with attempt():
        os.kill(os.getpid(), signal.SIGKILL)

    return n


def brief(n: int) -> int:
    return plain(n)


def later(n: int) -> int:
    return plain(n)


def increase(n: int) -> int:
    return plain(n, 0.005) + 1


def collect(numbers: list[int]) -> list[int]:
    with attempt():
        return numbers


def tick() -> None:
    with attempt():
        _pause(0.0)


Declared = Callable[..., Any]
_RETRIES = Retry(max=3, backoff=Backoff(base=0.05))
TASKS: dict[Declared, dict[str, Any]] = {
    plain: {},
    coroutine: {},
    values: {},
    avalues: {},
    rows: {"batch": 5, "batch_wait": 0.05},
    parent: {"echo": True},
    aparent: {"echo": True},
    once: {"on_crash": "fail"},
    aonce: {"on_crash": "fail"},
    flaky: {"retry": _RETRIES},
    failing: {"retry": Retry(max=1, backoff=Backoff(base=0.05))},
    snoozing: {},
    overrun: {"max_time": 0.2},
    aoverrun: {"max_time": 0.2},
    stuck: {"max_time": 0.2, "retry": _RETRIES, "max_running": 1},
    patient: {},
    alone: {"unique": ["key"]},
    limited: {"max_running": SLOTS},
    keyed: {"max_running": PER_USER, "key": "user"},
    rated: {"rate_limit": f"{PER_SECOND}/s"},
    suicide: {},
    brief: {},
    later: {},
    increase: {},
    collect: {},
    tick: {"every": EVERY, "catch_up": "all", "catch_up_cap": 10_000},
}

app = make_app()
