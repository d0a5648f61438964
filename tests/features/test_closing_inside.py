"""A job that closes its application takes nothing from the jobs beside it."""

from __future__ import annotations

import asyncio
from contextlib import closing

from cherga import QueueTasks

LONG = 20


def test_jobs_go_on_after_one_that_closed_its_application(app: QueueTasks) -> None:
    @app.task
    def close() -> None:
        app.close()

    @app.task
    async def close_later() -> None:
        await asyncio.to_thread(app.close)

    @app.task
    def add(a: int) -> int:
        return a + 1

    with app.worker():
        for task in (close, close_later):
            task.enqueue().result(timeout=LONG)
            assert [job.result(timeout=LONG) for job in add.enqueue_many([(n,) for n in range(20)])] == list(range(1, 21))


def test_after_the_worker_it_closes_as_usual(app: QueueTasks) -> None:
    app.task(name="work")(lambda: None)

    with closing(app), app.worker():
        app.close()
        assert app.broker is app.broker

    broker = app.broker
    app.close()
    assert app.broker is not broker
