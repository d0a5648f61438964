"""The application that worker processes run in these tests. Effects go to a file, one line an event, appended atomically."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from pathlib import Path

import apsw

from cherga import QueueTasks, ctx

app = QueueTasks("jobs", heartbeat=0.2, lease=1.0, sweep=0.2, poll_interval=1.0, stuck_after=0.3, stall_limit=5.0, grace=5.0)

_pause = threading.Event().wait


def note(event: str) -> None:
    """One line in the diary named by the environment: event, job, attempt, pid, monotonic time."""
    # A line whose writer is killed where a page of the file begins is torn: the next one starts anew all the same.
    line = f"\n{event} {ctx.job_id} {ctx.attempt} {os.getpid()} {time.monotonic()}\n"
    fd = os.open(os.environ["DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task
async def aadd(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@app.task
def work(seconds: float) -> int:
    note("start")
    _pause(seconds)
    note("end")
    return os.getpid()


@app.task
async def awork(seconds: float) -> int:
    note("start")
    await asyncio.sleep(seconds)
    note("end")
    return os.getpid()


@app.task
def politely(seconds: float) -> str:
    note("start")
    return "whole" if ctx.sleep(seconds) else "stopped early"


@app.task
def until_file(path: str) -> None:
    note("start")

    while not Path(path).exists():
        _pause(0.005)

    note("end")


@app.task
def end_but_not_in_the_store(path: str) -> None:
    """Nobody can write to the queue file any more, until this process has been killed, a little later."""
    note("start")
    _held.append(db := apsw.Connection(path))
    db.set_busy_timeout(10_000)
    db.execute("begin immediate")
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
    note("end")


_held: list[apsw.Connection] = []


@app.task
def close_everything() -> None:
    """Every file and socket of the process, those of its engine too."""
    note("start")
    os.closerange(3, 4096)


@app.task(max_time=0.2)
def overrun(seconds: float) -> None:
    note("start")
    _pause(seconds)
    note("end")


@app.task(max_time=0.2)
async def aoverrun() -> None:
    note("start")
    await asyncio.sleep(60)


@app.task(max_time=0.2, retry=1)
def overrun_and_retry(seconds: float) -> None:
    note("start")
    _pause(seconds if ctx.attempt == 1 else 0)
    note("end")


@app.task
def suicide() -> None:
    note("start")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def suicide_on_file(path: str) -> None:
    until_file(path)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(on_crash="fail")
def once_at_most() -> None:
    note("start")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(on_crash="fail")
def quick_once() -> None:
    note("start")


@app.task
def leave() -> None:
    note("start")
    os._exit(0)


@app.task
def hog(seconds: float) -> None:
    """Hold the interpreter's lock in one call of C."""
    note("start")
    end = time.monotonic() + seconds

    while time.monotonic() < end:
        re.match(r"(a+)+$", "a" * 23 + "b")

    note("end")


@app.task
def fail(text: str) -> None:
    raise ValueError(text)
