"""Several applications, several event loops and several processes around one queue."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cherga import QueueTasks, ctx
from tests.conftest import NewApp

WAIT = 10.0


def test_two_applications_in_one_process_never_see_each_other(new_app: NewApp) -> None:
    one, two = new_app("one", apart=True), new_app("two", apart=True)
    who_one = one.task(name="who")(lambda: f"one: {ctx.task_name}")
    who_two = two.task(name="who")(lambda: f"two: {ctx.task_name}")

    with one.worker(), two.worker():
        jobs = [task.enqueue() for _ in range(10) for task in (who_one, who_two)]
        assert [job.result(WAIT) for job in jobs] == ["one: who", "two: who"] * 10

    assert two.get(jobs[0].id) is None
    assert len(one.jobs()) == len(two.jobs()) == 10


def test_two_workers_of_one_application_share_its_jobs(new_app: NewApp) -> None:
    app = new_app()
    met = threading.Barrier(2)

    @app.task
    def meet() -> None:
        met.wait(WAIT)

    with app.worker(threads=1, name="a"), app.worker(threads=1, name="b"):
        jobs = [meet.enqueue() for _ in range(2)]

        for job in jobs:
            job.result(WAIT)

    assert {attempt.worker for job in jobs for attempt in job.attempts} == {"a", "b"}


def test_jobs_claimed_ahead_do_not_wait_behind_a_long_one_while_another_worker_is_idle(new_app: NewApp) -> None:
    app = new_app(grace=0.5)
    go_on = threading.Event()

    @app.task
    def work(long: bool) -> None:
        if long:
            go_on.wait(WAIT)

    with app.worker(threads=1, name="a"), app.worker(threads=1, name="b"):
        # Short jobs let both workers claim ahead; then comes one that is not short.
        for job in work.enqueue_many([(False,)] * 50):
            job.result(WAIT)

        long, *short = work.enqueue_many([(True,)] + [(False,)] * 20)

        try:
            for job in short:
                job.result(WAIT / 4)

            assert not long.refresh().status.final
        finally:
            go_on.set()


def test_several_event_loops_enqueue_and_wait_at_the_same_time(app: QueueTasks) -> None:
    add = app.task(name="add")(lambda a, b: a + b)

    @app.task
    async def aadd(a: int, b: int) -> int:
        return a + b

    async def send(number: int) -> list[int]:
        jobs = await asyncio.gather(*(task.aenqueue(number, n) for n in range(10) for task in (add, aadd)))
        return list(await asyncio.gather(*(job.aresult(WAIT) for job in jobs)))

    with app.worker(), ThreadPoolExecutor(4) as loops:
        results = list(loops.map(lambda number: asyncio.run(send(number)), range(0, 400, 100)))

    assert results == [[start + n for n in range(10) for _ in range(2)] for start in range(0, 400, 100)]


def test_a_worker_may_be_started_inside_a_running_loop(app: QueueTasks) -> None:
    """As in a notebook: who calls decides between sync and async, not the loop that happens to run."""
    add = app.task(name="add")(lambda a, b: a + b)

    async def both() -> list[int]:
        with app.worker():
            return [add.enqueue(1, 2).result(WAIT), await (await add.aenqueue(3, 4)).aresult(WAIT)]

    assert asyncio.run(both()) == [3, 7]


def test_a_worker_may_be_started_again_and_again(app: QueueTasks) -> None:
    add = app.task(name="add")(lambda a, b: a + b)

    for number in range(5):
        with app.worker():
            assert add.enqueue(number, 1).result(WAIT) == number + 1


FORKING = """
import asyncio, os, sys, threading
from cherga import QueueTasks

app = QueueTasks("shop", sys.argv[1])

@app.task
def add(a, b):
    return a + b

async def send(*args):
    return await add.aenqueue(*args)

# As gunicorn --preload does it: the client has been used, with its threads and connections, before the fork.
before = [add.enqueue(1, 1).id, asyncio.run(send(1, 2)).id]
children = []

for number in range(3):
    child = os.fork()

    if not child:
        sync_job, async_job = add.enqueue(number, 10), asyncio.run(send(number, 20))
        assert app.get(sync_job.id) == sync_job and len(app.jobs(limit=500)) >= 2
        os._exit(0)

    children.append(child)

codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
after = [add.enqueue(1, 3).id, asyncio.run(send(1, 4)).id]

with app.worker():
    results = sorted(job.result(20) for job in app.jobs(limit=500))

print(codes, results)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_client_that_was_used_before_a_fork_works_on_both_sides(tmp_path: Path) -> None:
    script = tmp_path / "forking.py"
    script.write_text(textwrap.dedent(FORKING), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), f"sqlite:///{tmp_path}/queue.db"],
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )

    expected = sorted([2, 3, 4, 5, *range(10, 13), *range(20, 23)])
    assert ended.stdout.strip() == f"[0, 0, 0] {expected}", ended.stderr
