"""The application of the tests that kill workers amid chains, groups, limits and unique jobs. It writes into a diary."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from cherga import QueueTasks, ctx

_pause = threading.Event().wait


def note(event: str, *words: object) -> None:
    """One line in the diary named by the environment, appended atomically."""
    line = " ".join(map(str, (event, *words)))
    fd = os.open(os.environ["DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def make_app(url: str | None = None) -> QueueTasks:
    """The application, for the workers and for who enqueues: no number of crashes makes one of its jobs fail.

    Workers hardly ever look unasked: nothing is to depend on it.
    """
    app = QueueTasks(
        "jobs",
        url,
        heartbeat=0.2,
        lease=1.0,
        sweep=0.2,
        poll_interval=60.0,
        stuck_after=0.3,
        stall_limit=5.0,
        grace=5.0,
        crash_backoff=(0.0,),
        crash_cap=1000,
    )

    for function in (number, increase, collect, fall):
        app.task(function)

    app.task(max_running=3)(limited)
    app.task(max_running=2, key="user")(keyed)
    app.task(unique=["key"], on_conflict="latest")(newest)
    app.task(unique=["key"], on_conflict="replace")(replaced)
    app.task(rate_limit=RATE)(rated)
    return app


RATE = "15/s"
PER_SECOND = 15


def number(n: int, seconds: float = 0.0) -> int:
    _pause(seconds)
    return n


def increase(n: int, seconds: float = 0.0) -> int:
    _pause(seconds)
    return n + 1


def collect(values: list[object]) -> list[object]:
    """What a group's callback was given; the diary holds that it was called."""
    note("collect", ctx.job_id)
    return values


def fall(seconds: float = 0.0) -> None:
    _pause(seconds)
    raise ValueError("on purpose")


def limited(seconds: float) -> None:
    _work("limited", 0, seconds)


def keyed(user: int, seconds: float) -> None:
    _work("keyed", user, seconds)


def newest(key: str, change: int) -> None:
    _work(f"newest-{key}", change, 0.02)


def replaced(key: str, change: int) -> None:
    _work(f"replaced-{key}", change, 0.02)


def rated() -> None:
    note("rated", ctx.job_id)


def _work(name: str, value: int, seconds: float) -> None:
    run = (name, value, ctx.job_id, ctx.attempt, os.getpid())
    note("start", *run, time.monotonic())
    _pause(seconds)
    note("end", *run, time.monotonic())


app = make_app()


def enqueue_changes(who: int, keys: list[str], done: Path) -> None:
    """Enqueue changes of these keys, each with a number of its own, until the file exists."""
    change = who

    while not done.exists():
        for key in keys:
            for name in ("newest", "replaced"):
                change += 10
                began = time.monotonic()
                job = app.add_task(name, key, change)
                note("pushed", f"{name}-{key}", change, job.id, began, time.monotonic())

        _pause(0.01)


if __name__ == "__main__":
    enqueue_changes(int(sys.argv[1]), sys.argv[2].split(","), Path(sys.argv[3]))
