"""The application whose features are tried in real worker processes. What happens goes into the diary of ``worker_jobs``."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from cherga import AsyncRouter, AsyncTask, Call, Depends, Event, Job, QueueTasks, SyncTask, ctx, shared_task

app = QueueTasks(
    "jobs", heartbeat=0.2, lease=1.0, sweep=0.2, poll_interval=1.0, stuck_after=0.3, grace=5.0, crash_backoff=(0.0,)
)
router = AsyncRouter("routed", queue="routed")


def write(line: str) -> None:
    """One line in the diary, appended atomically."""
    fd = os.open(os.environ["DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def lines() -> list[str]:
    path = Path(os.environ["DIARY"])
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@app.on.succeeded
def note_success(event: Event) -> None:
    write(f"succeeded {event.task_name}")


@app.on.worker_stopped
async def note_stop(event: Event) -> None:
    await asyncio.sleep(0)
    write("worker_stopped")


@app.middleware
def count(following: Callable[[Call], Any]) -> Callable[[Call], Any]:
    async def handle(call: Call) -> Any:
        call.ctx.meta["wrapped"] = True
        call.ctx.save_meta()
        return await following(call)

    return handle


async def pool() -> AsyncIterator[str]:
    write("pool opened")
    yield f"pool of {os.getpid()}"
    write("pool closed")


def cache() -> Iterator[list[int]]:
    write("cache opened")
    yield []
    write("cache closed")


def session(pool: str = Depends(pool, scope="worker"), cache: list[int] = Depends(cache, scope="process")) -> Iterator[str]:
    write("session opened")
    yield pool
    write("session closed")


@app.task
def query(number: int, session: str = Depends(session)) -> str:
    return session


@app.task
async def aquery(number: int, session: str = Depends(session)) -> str:
    return session


@app.task
def sub(number: int) -> int:
    return number


@app.task(echo=True)
async def main(self: AsyncTask) -> str:
    self.add_task("sub", 123)  # type: ignore[unused-awaitable]
    stored: Job[int] = await self.add_task("sub", 5)
    return f"{self.task_name} {await stored.aresult()}"


@app.task(generate_handler=str)
def numbers(count: int) -> Iterator[int]:
    yield from range(count)


@app.task
def tower(height: int) -> int:
    return 0 if height == 0 else 1 + tower.enqueue(height - 1).result()


@app.task
def deadly_once(number: int) -> int:
    """Takes its process with it, and so the job that waits for it, the first time."""
    if "deadly" not in lines():
        write("deadly")
        os.kill(os.getpid(), signal.SIGKILL)

    return number


@app.task(batch=3, batch_wait=0.2)
def deadly_batch(numbers: list[int]) -> list[int]:
    """Takes its process with it unless it is given one job alone."""
    write(f"batch of {len(numbers)}")

    if len(numbers) > 1:
        os.kill(os.getpid(), signal.SIGKILL)

    return numbers


@app.task(echo=True)
def careful_parent(self: SyncTask) -> int:
    child: Job[int] = self.add_task("deadly_once", 7).store()
    return child.result()


@app.task
def waits_for_ever() -> None:
    write("waiting")
    job = sub.using(run_in=3600).enqueue(1)
    job.result()


@router.task
async def example() -> str:
    await asyncio.sleep(0)
    return f"{ctx.task_name} in {ctx.job.queue}"


@shared_task
def shared_in_process() -> str:
    return "shared"


app.include_router(router)
