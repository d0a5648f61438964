"""What a running job tells, and those who watch it: sync and async, from the start or from a position."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest

from cherga import JobNotFound, JobState, LiveUpdate, Progress, QueueTasks, ctx
from cherga.client.ids import new_id
from cherga.testing import wait_until
from cherga.web.frames import encode_json
from cherga.words.report import Reading
from tests.conftest import NewApp

WAIT = 10.0


async def watched(app: QueueTasks, job_id: object, after: int = 0) -> list[LiveUpdate]:
    """Every update that an async watcher sees."""
    return [update async for update in app.watch(str(job_id), after)]


def test_the_last_progress_is_always_stored(new_app: NewApp) -> None:
    app = new_app(report_interval=3600.0)

    @app.task
    def work() -> None:
        for done in range(1, 1001):
            ctx.progress(done, 1000, f"item {done}")

    @app.task
    async def awork() -> None:
        for done in range(1, 1001):
            ctx.progress(done, 1000, f"item {done}")

    with app.worker():
        for task in (work, awork):
            job = task.enqueue()
            job.result(WAIT)
            assert job.progress == Progress(1000, 1000, "item 1000")


@dataclass
class Row:
    id: UUID


TOLD: dict[Any, Any] = {
    "pair": (1, date(2030, 1, 2)),
    "ids": {UUID(int=1)},
    "price": Decimal("1.50"),
    ("a", 1): datetime(2030, 1, 2, tzinfo=UTC),
    "seen": Row(UUID(int=2)),
}


def test_what_a_job_tells_comes_back_as_what_it_was_and_objects_as_what_they_hold(app: QueueTasks) -> None:
    @app.task
    def work() -> None:
        ctx.emit(TOLD)
        ctx.emit((1, 2))
        ctx.meta.update(TOLD)
        ctx.save_meta()

    expected = {**TOLD, "seen": {"id": UUID(int=2)}}

    with app.worker():
        job = work.enqueue()
        assert list(job.stream()) == [expected, (1, 2)]

    assert job.refresh().meta == expected
    assert msgspec.json.decode(encode_json(job.meta))["pair"] == [1, "2030-01-02"]


def test_progress_is_seen_while_the_job_runs(app: QueueTasks) -> None:
    half, go_on = threading.Event(), threading.Event()

    @app.task
    def work() -> None:
        for item in ctx.track(range(4), note="working"):
            if item == 2:
                half.set()
                go_on.wait(WAIT)

    with app.worker():
        job = work.enqueue()
        assert half.wait(WAIT)
        wait_until(lambda: job.refresh().progress == Progress(2, 4, "working"), "half of it is told")
        assert job.status is JobState.RUNNING
        go_on.set()
        job.result(WAIT)

    assert job.progress is not None
    assert job.progress.percent == 100.0


def test_few_values_are_stored_however_many_are_told(new_app: NewApp) -> None:
    app = new_app(report_interval=3600.0)

    @app.task
    def work() -> None:
        for done in range(500):
            ctx.progress(done)

    with app.worker():
        job = work.enqueue()
        updates = list(app.watch(job.id))

    assert len(updates) < 10
    assert updates[-1].progress == Progress(499)


def test_meta_is_kept_from_attempt_to_attempt(app: QueueTasks) -> None:
    @app.task(retry=1)
    def work() -> list[int]:
        seen: list[int] = ctx.meta.setdefault("seen", [])
        seen.append(ctx.attempt)
        ctx.save_meta()

        if ctx.attempt == 1:
            raise ConnectionError

        return seen

    with app.worker():
        job = work.enqueue()
        wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
        assert job.meta == {"seen": [1]}
        assert job.retry()
        assert job.result(WAIT) == [1, 2]

    assert job.meta == {"seen": [1, 2]}


def test_a_failed_job_keeps_what_it_told(app: QueueTasks) -> None:
    @app.task
    def work() -> None:
        ctx.progress(3, 4, "nearly")
        ctx.meta["file"] = "a.txt"
        ctx.save_meta()
        ctx.log("a line")
        raise ValueError

    with app.worker():
        job = work.enqueue()
        (*_, last) = app.watch(job.id)

    assert last.final
    assert (last.state, last.progress, last.meta) == (JobState.FAILED, Progress(3, 4, "nearly"), {"file": "a.txt"})


# --- watching


def test_a_watch_tells_the_whole_story_in_its_order(app: QueueTasks) -> None:
    go_on = threading.Event()

    @app.task(description="Counting…")
    def work() -> None:
        ctx.log("first")
        go_on.wait(WAIT)

        for number in range(3):
            ctx.log(f"line {number}")
            ctx.progress(number + 1, 3)

    with app.worker():
        job = work.enqueue()
        seen: list[LiveUpdate] = []

        for update in app.watch(job.id):
            seen.append(update)

            if update.logs:
                go_on.set()

    assert [line for update in seen for line in update.logs] == ["first", "line 0", "line 1", "line 2"]
    assert all(before.position <= after.position for before, after in pairwise(seen))
    assert [update.final for update in seen] == [False] * (len(seen) - 1) + [True]
    assert {update.description for update in seen} == {"Counting…"}
    assert seen[-1].progress == Progress(3, 3)


def test_sync_and_async_watchers_see_the_same_lines(app: QueueTasks) -> None:
    @app.task
    async def work() -> None:
        for number in range(5):
            ctx.log(f"line {number}")
            await asyncio.sleep(0)

    async def watch_it(job_id: object) -> list[str]:
        return [line for update in await watched(app, job_id) for line in update.logs]

    with app.worker():
        job = work.enqueue()
        assert asyncio.run(watch_it(job.id)) == [f"line {number}" for number in range(5)]

    assert [line for update in app.watch(job.id) for line in update.logs] == [f"line {number}" for number in range(5)]


def test_a_watch_goes_on_from_a_position(app: QueueTasks) -> None:
    @app.task
    def work() -> None:
        for number in range(10):
            ctx.log(f"line {number}")

    with app.worker():
        job = work.enqueue()
        job.result(WAIT)

    (whole,) = app.watch(job.id)
    assert len(whole.logs) == 10
    (followed,) = app.broker.follow([Reading(job.id)])
    assert followed is not None
    middle = followed.events[4].position
    assert next(iter(app.watch(job.id, after=middle))).logs == whole.logs[-5:]
    assert asyncio.run(watched(app, job.id, middle))[0].logs == whole.logs[-5:]
    (nothing_new,) = app.watch(job.id, after=whole.position)
    assert (nothing_new.logs, nothing_new.final) == ((), True)


def test_a_watcher_that_lost_its_line_misses_nothing_and_sees_nothing_twice(app: QueueTasks) -> None:
    turn = threading.Semaphore(0)

    @app.task
    def work() -> None:
        for number in range(6):
            turn.acquire(timeout=WAIT)
            ctx.log(f"line {number}")

    lines: list[str] = []
    position = 0
    final = False

    with app.worker():
        job = work.enqueue()

        while not final:
            turn.release()

            # Every connection is given up after its second update, and the next one goes on from there.
            for count, update in enumerate(app.watch(job.id, position)):
                lines += update.logs
                position, final = update.position, update.final

                if count == 1 or final:
                    break

    assert lines == [f"line {number}" for number in range(6)]


def test_more_lines_than_a_page_holds_come_in_pages(app: QueueTasks) -> None:
    @app.task
    def work() -> None:
        for number in range(350):
            ctx.log(f"line {number}")

    with app.worker():
        job = work.enqueue()
        job.result(WAIT)

    updates = list(app.watch(job.id))
    assert [line for update in updates for line in update.logs] == [f"line {number}" for number in range(350)]
    assert len(updates) >= 4


def test_only_the_last_thousand_lines_are_kept(app: QueueTasks) -> None:
    @app.task
    def work() -> None:
        for number in range(1200):
            ctx.log(f"line {number}")

    with app.worker():
        job = work.enqueue()
        job.result(WAIT)

    lines = [line for update in app.watch(job.id) for line in update.logs]
    assert lines == [f"line {number}" for number in range(200, 1200)]


def test_many_watchers_of_one_job_all_see_its_end(app: QueueTasks) -> None:
    go_on = threading.Event()
    work = app.task(name="work")(lambda: go_on.wait(WAIT))

    async def watch_often(job_id: object) -> list[LiveUpdate]:
        watches = [asyncio.ensure_future(watched(app, job_id)) for _ in range(20)]
        await asyncio.sleep(0)
        go_on.set()
        return [updates[-1] for updates in await asyncio.gather(*watches)]

    with app.worker():
        ends = asyncio.run(watch_often(work.enqueue().id))

    assert {end.state for end in ends} == {JobState.SUCCEEDED}


def test_an_async_watcher_that_goes_away_disturbs_nobody(app: QueueTasks) -> None:
    go_on = threading.Event()
    work = app.task(name="work")(lambda: go_on.wait(WAIT))

    async def look_once(job_id: object) -> LiveUpdate:
        async for update in app.watch(str(job_id)):
            return update

        raise AssertionError("nothing came")

    with app.worker():
        job = work.enqueue()
        assert not asyncio.run(look_once(job.id)).final
        go_on.set()
        assert job.result(WAIT) is True


def test_a_job_that_has_ended_is_one_update(app: QueueTasks) -> None:
    work = app.task(name="work")(lambda: None)

    with app.worker():
        job = work.enqueue()
        job.result(WAIT)

    assert [update.state for update in app.watch(job.id)] == [JobState.SUCCEEDED]
    assert [update.state for update in asyncio.run(watched(app, job.id))] == [JobState.SUCCEEDED]


def test_a_job_that_is_not_kept_cannot_be_watched(app: QueueTasks) -> None:
    with pytest.raises(JobNotFound, match="is not kept"):
        list(app.watch(new_id()))

    with pytest.raises(JobNotFound, match="is not kept"):
        asyncio.run(watched(app, new_id()))


def test_a_cancelled_job_ends_its_watch_with_the_words(app: QueueTasks) -> None:
    work = app.task(name="work")(lambda: None)
    job = work.enqueue()
    job.cancel("wrong file")
    (last,) = app.watch(job.id)

    assert (last.state, last.final, last.message) == (JobState.CANCELLED, True, "wrong file")


def test_what_a_browser_gets_holds_no_traceback_and_no_arguments(app: QueueTasks) -> None:
    fail = app.task(name="fail")(lambda secret: 1 / 0)

    with app.worker():
        job = fail.enqueue("s3cret")
        (*_, last) = app.watch(job.id)

    assert "s3cret" not in str(last.public())
    assert "ZeroDivisionError" not in str(last.public())
