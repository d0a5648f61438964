"""Watching with a pulse, and settings that come after the tasks."""

from __future__ import annotations

import asyncio
from itertools import islice, pairwise

import pytest

from cherga import LiveUpdate, QueueTasks, Watch
from tests.live_hand import Hand


def make_app() -> QueueTasks:
    app = QueueTasks("watched", "memory://")
    app.task(name="work")(lambda: None)
    return app


def test_a_watch_with_a_pulse_yields_an_unmoved_job_again() -> None:
    app = make_app()
    job = app.tasks["work"].enqueue()

    first, second, third = islice(Watch(app, job.id, pulse=0.01), 3)

    assert first.differs(None)
    assert not second.differs(first)
    assert not third.differs(second)


def test_a_watch_without_a_pulse_yields_only_what_is_new() -> None:
    app = make_app()
    job = app.tasks["work"].enqueue()
    hand = Hand(app)
    hand.claim()
    seen: list[LiveUpdate] = []

    for update in app.watch(job.id):
        seen.append(update)
        hand.progress(len(seen), 3) if len(seen) < 3 else hand.end()

        if len(seen) > 10:
            pytest.fail("the watch goes on after the end")

    assert [update.differs(before) for before, update in pairwise(seen)] == [True] * (len(seen) - 1)
    assert seen[-1].over


def test_an_async_watch_pulses_too() -> None:
    app = make_app()
    job = app.tasks["work"].enqueue()

    async def take_two() -> list[LiveUpdate]:
        found: list[LiveUpdate] = []

        async for update in Watch(app, job.id, pulse=0.01):
            found.append(update)

            if len(found) == 2:
                break

        return found

    first, second = asyncio.run(take_two())
    app.close()

    assert not second.differs(first)


def test_settings_that_come_after_a_task_was_declared_still_reach_it() -> None:
    app = make_app()
    app.task(name="own", max_time=5, retry=2)(lambda: None)

    app.configure("later", "memory://", max_time=77, result_ttl=60)

    assert app.tasks["work"].policy.max_time == 77
    assert app.tasks["work"].policy.result_ttl == 60
    assert app.tasks["own"].policy.max_time == 5
    assert app.tasks["own"].policy.result_ttl == 60
    assert app.tasks["own"].policy.retry.max == 2
