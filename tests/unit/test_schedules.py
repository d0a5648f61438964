"""Schedules as users handle them: made at run time, declared in code, and published by workers."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from cherga import ConfigError, InvalidArguments, QueueTasks
from cherga.client.schedules import Scheduled
from cherga.testing import FakeClock
from cherga.words.push import JobHead
from cherga.words.schedule import SCHEDULE, CatchUp
from cherga.words.shared import Definition

NewCode = Callable[..., QueueTasks]


@pytest.fixture
def new_code(request: pytest.FixtureRequest) -> Iterator[NewCode]:
    """Makes applications that share one broker, as deploys of one do."""
    made: list[QueueTasks] = []

    def new_code(version: int = 0, **timing: Any) -> QueueTasks:
        """One whose task ``nightly`` has this schedule."""
        app = QueueTasks("shop", f"memory://{request.node.name}", code_version=version)
        app.clock = FakeClock()
        app.task(name="mail")(lambda user=0: None)
        app.task(name="nightly", **timing)(lambda: None)
        made.append(app)
        return app

    yield new_code

    for app in made:
        app.close()


@pytest.fixture
def app(new_code: NewCode) -> QueueTasks:
    return new_code()


def stored(app: QueueTasks) -> dict[str, str]:
    return {one.name: one.when for one in app.schedules.all()}


# --- made at run time


def test_a_schedule_made_at_run_time_is_stored(app: QueueTasks) -> None:
    made = app.schedule("digest", "mail", (7,), cron="0 9 * * 1-5", timezone="Europe/Kyiv", catch_up="all", catch_up_cap=3)

    read = app.schedules.get("digest")
    assert read.schedule == made.schedule
    assert (read.name, read.task_name, read.when) == ("digest", "mail", "0 9 * * 1-5 (Europe/Kyiv)")
    assert (read.paused, read.from_code) == (False, False)
    assert (read.schedule.catch_up, read.schedule.cap) == (CatchUp.ALL, 3)
    assert msgspec.msgpack.decode(read.schedule.job.payload) == {"user": 7}


def test_the_next_tick_is_told_before_any_worker_has_seen_the_schedule(app: QueueTasks) -> None:
    made = app.schedule("digest", "mail", cron="0 9 * * *", timezone="Europe/Kyiv")

    assert made.next_at is not None
    assert made.next_at.isoformat() == "2030-01-01T09:00:00+02:00"
    made.pause()
    assert made.next_at is None


def test_options_of_using_hold_for_every_tick(app: QueueTasks) -> None:
    made = app.schedule("digest", app.tasks["mail"].using(priority=10, queue="slow", expires=60), every=timedelta(minutes=5))

    job = made.schedule.job
    assert (job.priority, job.queue, job.expires_in, made.schedule.every) == (10, "slow", 60.0, 300.0)


@pytest.mark.parametrize("option", ["run_at", "expires"])
def test_a_moment_cannot_hold_for_every_tick(app: QueueTasks, option: str) -> None:
    moment: Any = {option: datetime(2031, 1, 1, tzinfo=UTC)}

    with pytest.raises(ConfigError, match="in seconds, counted from each tick, got a moment"):
        app.schedule("digest", app.tasks["mail"].using(**moment), every=60)


def test_ticks_cannot_wait_for_one_job(app: QueueTasks) -> None:
    job = app.tasks["mail"].enqueue()

    with pytest.raises(ConfigError, match="expected a schedule without after"):
        app.schedule("digest", app.tasks["mail"].using(after=[job]), every=60)


def test_the_same_name_again_changes_the_schedule_and_leaves_it_paused(app: QueueTasks) -> None:
    app.schedule("digest", "mail", every=60).pause()
    app.schedule("digest", "mail", (8,), cron="0 9 * * *")

    (read,) = app.schedules.all()
    assert (read.when, read.paused) == ("0 9 * * * (UTC)", True)


def test_the_timing_alone_can_be_changed(app: QueueTasks) -> None:
    made = app.schedule("digest", "mail", (7,), every=60, catch_up="skip")
    made.change(cron="0 9 * * *")
    made.change(timezone="Europe/Kyiv")

    schedule = app.schedules.get("digest").schedule
    assert (schedule.cron, schedule.every, schedule.timezone) == ("0 9 * * *", None, "Europe/Kyiv")
    assert (schedule.catch_up, schedule.job) == (CatchUp.SKIP, made.schedule.job)
    made.change(every=5)
    schedule = app.schedules.get("digest").schedule
    assert (schedule.cron, schedule.every) == (None, 5.0)


def test_pause_and_resume_are_stored(app: QueueTasks) -> None:
    made = app.schedule("digest", "mail", every=60)
    made.pause()
    assert app.schedules.get("digest").paused
    made.resume()
    assert not app.schedules.get("digest").paused


def test_run_now_enqueues_its_job_beside_the_ticks(app: QueueTasks) -> None:
    made = app.schedule("digest", "mail", (7,), every=60)
    first, second = made.run_now(), made.run_now()

    assert first.id != second.id
    (row,) = app.broker.get([first.id])
    assert row is not None
    assert msgspec.msgpack.decode(row.payload) == {"user": 7}
    head = msgspec.msgpack.decode(row.head or b"", type=JobHead)
    assert (head.schedule, head.tick) == ("digest", None)


def test_a_deleted_schedule_is_gone(app: QueueTasks) -> None:
    app.schedule("digest", "mail", every=60).delete()

    assert app.schedules.all() == []


@pytest.mark.parametrize("verb", ["refresh", "pause", "resume", "run_now", "delete"])
def test_a_handle_on_a_deleted_schedule_does_not_bring_it_back(app: QueueTasks, verb: str) -> None:
    made = app.schedule("digest", "mail", every=60)
    app.schedules.get("digest").delete()

    with pytest.raises(ConfigError, match="schedule digest is not stored any more"):
        getattr(made, verb)()

    assert app.schedules.all() == []
    assert app.jobs() == []


def test_a_handle_changes_the_schedule_as_it_stands_now(app: QueueTasks) -> None:
    made = app.schedule("digest", "mail", (7,), every=60)
    app.schedule("digest", "mail", (8,), every=30)
    made.pause()

    read = app.schedules.get("digest")
    assert (read.when, read.paused) == ("every 30 s", True)
    assert app.schedules.get("digest").schedule == made.schedule
    assert made.run_now().row.payload == read.schedule.job.payload
    assert asyncio.run(made.arefresh()).paused


def test_a_handle_of_before_a_deploy_still_pauses(new_code: NewCode) -> None:
    new_code(1, every=60).publish()
    handle = new_code(1, every=60).schedules.get("nightly")
    new_code(2, every=30).publish()
    handle.pause()

    read = new_code(2).schedules.get("nightly")
    assert (read.paused, read.when) == (True, "every 30 s")


def test_the_async_twins_do_the_same(app: QueueTasks) -> None:
    async def use() -> list[Any]:
        made = await app.aschedule("digest", "mail", every=60)
        await made.apause()
        paused = (await app.schedules.aget("digest")).paused
        await made.aresume()
        await made.achange(every=20)
        job = await made.arun_now()
        names = [one.when for one in await app.schedules.aall()]
        await made.adelete()
        return [paused, job.task_name, names]

    assert asyncio.run(use()) == [True, "mail", ["every 20 s"]]
    assert app.schedules.all() == []


def test_a_name_that_nobody_has_is_answered_by_the_nearest(app: QueueTasks) -> None:
    app.schedule("digest", "mail", every=60)

    with pytest.raises(ConfigError, match="expected the name of a schedule, got 'digets'; did you mean 'digest'"):
        app.schedules.get("digets")


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        ({}, "expected cron or every, for the times at which it runs, got neither"),
        ({"cron": "0 9 * * *", "every": 60}, "expected cron or every, one of them"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": 5}, "expected cron to be text, got 5"),
        ({"every": 0.01}, "expected every to be 0.1 seconds or more"),
        ({"every": -1}, "expected every to be seconds, a timedelta or"),
        ({"every": math.nan}, "expected every to be seconds, a timedelta or"),
        ({"every": "5"}, "expected every to be seconds, a timedelta or"),
        ({"every": timedelta(0)}, "expected every to be 0.1 seconds or more"),
        ({"every": 60, "timezone": "Kyiv"}, "expected timezone to be a name like"),
        ({"every": 60, "timezone": None}, "expected timezone to be text"),
        ({"every": 60, "catch_up": "some"}, "expected catch_up to be 'skip', 'last' or 'all', got 'some'"),
        ({"every": 60, "catch_up_cap": 0}, "expected catch_up_cap to be 1 or more"),
        ({"every": 60, "catch_up_cap": 1.5}, "expected catch_up_cap to be a whole number"),
        ({"evry": 60}, "unknown option 'evry'; did you mean 'every'"),
    ],
)
def test_a_wrong_timing_is_refused_where_it_is_written(app: QueueTasks, timing: dict[str, Any], words: str) -> None:
    made = app.schedule("kept", "mail", every=60)

    with pytest.raises(ConfigError) as caught:
        app.schedule("digest", "mail", **timing)

    assert words in str(caught.value)

    if timing:
        with pytest.raises(ConfigError):
            made.change(**timing)

    assert stored(app) == {"kept": "every 1 min"}


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "words"),
    [
        (print, (), None, "expected a task, task.using"),
        (None, (), None, "expected a task, task.using"),
        ("mail", 7, None, r"expected args to be a tuple such as \(7,\), got 7"),
        ("mail", "7", None, r"expected args to be a tuple such as \(7,\), got '7'"),
        ("mail", (), 7, "expected kwargs to be a dictionary"),
    ],
)
def test_what_is_no_call_of_a_task_is_refused(app: QueueTasks, task: Any, args: Any, kwargs: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        app.schedule("digest", task, args, kwargs, every=60)


def test_one_id_cannot_hold_for_every_tick(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected a schedule without id"):
        app.schedule("digest", app.tasks["mail"].using(id=uuid4()), every=60)


def test_a_wrong_name_and_wrong_arguments_are_refused(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected a schedule's name to be"):
        app.schedule("every night", "mail", every=60)

    with pytest.raises(InvalidArguments):
        app.schedule("digest", app.tasks["mail"], (1, 2), every=60)

    assert app.schedules.all() == []


# --- declared in code


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": "0 9 * * *", "timezone": "Europe/Kiyv"}, "did you mean 'Europe/Kyiv'"),
        ({"every": 0}, "expected every to be 0.1 seconds or more"),
        ({"timezone": "Europe/Kyiv"}, "expected cron or every, for the times at which it runs, got neither"),
        ({"every": 5, "catch_up": "never"}, "expected catch_up to be"),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_place_in_the_code(app: QueueTasks, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=r"^task report \(.*test_schedules\.py:\d+\): ") as caught:
        app.task(name="report", **options)(lambda: None)

    assert words in str(caught.value)


def test_a_scheduled_task_must_not_need_arguments(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match=r"expected a task with a schedule to need no arguments: .*use app\.schedule\(\)"):
        app.task(name="report", every=60)(lambda user: None)


def test_declaring_stores_nothing(new_code: NewCode) -> None:
    assert new_code(every=60).schedules.all() == []


def test_what_the_code_declares_is_published(new_code: NewCode) -> None:
    app = new_code(cron="0 9 * * *", timezone="Europe/Kyiv")
    app.publish()

    (read,) = app.schedules.all()
    assert (read.name, read.task_name, read.when, read.from_code) == ("nightly", "nightly", "0 9 * * * (Europe/Kyiv)", True)


def test_a_schedule_that_left_the_code_goes_with_the_next_publishing(new_code: NewCode) -> None:
    new_code(every=60).publish()
    new_code(every=60).schedule("digest", "mail", every=30)

    after = new_code()
    after.publish()

    assert list(stored(after)) == ["digest"]


def test_a_schedule_whose_task_left_the_code_goes_too(new_code: NewCode) -> None:
    before = new_code()
    before.task(name="report", every=60)(lambda: None)
    before.publish()

    after = new_code()
    after.publish()

    assert after.schedules.all() == []


def test_a_changed_declaration_replaces_the_stored_one(new_code: NewCode) -> None:
    new_code(every=60).publish()
    app = new_code(cron="0 9 * * *")
    app.publish()

    assert stored(app) == {"nightly": "0 9 * * * (UTC)"}


def test_a_paused_schedule_stays_paused_over_deploys(new_code: NewCode) -> None:
    before = new_code(every=60)
    before.publish()
    before.schedules.get("nightly").pause()

    for version in (0, 3):
        after = new_code(version, every=30)
        after.publish()
        assert after.schedules.get("nightly").paused

    after.schedules.get("nightly").resume()
    new_code(3, every=30).publish()
    assert not after.schedules.get("nightly").paused


def test_a_lower_code_version_changes_nothing_back(new_code: NewCode) -> None:
    new = new_code(2, every=30)
    new.publish()
    new_code(1, every=60).publish()
    new_code(1).publish()

    (read,) = new.schedules.all()
    assert read.schedule.every == 30.0


def test_code_of_a_lower_version_is_warned_that_it_changes_nothing_back(
    new_code: NewCode, caplog: pytest.LogCaptureFixture
) -> None:
    new_code(2, every=60).publish()
    new_code(2, every=60).publish()
    new_code(1, every=60).publish()
    assert caplog.messages == []

    new_code(1, every=30).publish()
    (said,) = caplog.messages
    assert said.startswith("code_version 1 is lower than 2, whose limits and schedules stay as they are; ")


def test_a_lower_code_version_does_not_bring_back_what_left_the_code(new_code: NewCode) -> None:
    new_code(1, every=60).publish()
    new = new_code(2)
    new.publish()
    new_code(1, every=60).publish()

    assert new.schedules.all() == []


def test_the_due_time_survives_a_deploy(new_code: NewCode) -> None:
    app = new_code(every=60)
    app.publish()
    app.broker.tick("nightly", 60.0, 120.0, [])
    new_code(1, every=60, catch_up="all").publish()

    assert app.broker.ticks() == {"nightly": 120.0}


def test_what_the_code_declares_cannot_be_changed_or_deleted(new_code: NewCode) -> None:
    app = new_code(every=60)
    app.publish()
    scheduled = app.schedules.get("nightly")

    with pytest.raises(ConfigError, match="schedule nightly is declared in the code; change it there, or pause it"):
        scheduled.change(every=30)

    with pytest.raises(ConfigError, match="schedule nightly is declared in the code; take it out there, or pause it"):
        scheduled.delete()

    with pytest.raises(ConfigError, match="schedule nightly is declared in the code; choose another name"):
        app.schedule("nightly", "mail", every=30)

    assert scheduled.run_now().task_name == "nightly"


def test_a_name_that_left_the_code_may_be_used_at_run_time(new_code: NewCode) -> None:
    new_code(4, every=60).publish()
    app = new_code(4)
    app.publish()
    made = app.schedule("nightly", "mail", every=30)
    app.publish()

    assert (made.from_code, list(stored(app))) == (False, ["nightly"])
    made.delete()
    assert app.schedules.all() == []


def test_a_name_that_newer_code_took_back_is_refused_to_older_code(new_code: NewCode) -> None:
    new_code(4, every=60).publish()
    new_code(5).publish()

    with pytest.raises(ConfigError, match="schedule nightly belongs to code of a higher version than 1"):
        new_code(1).schedule("nightly", "mail", every=30)


def test_what_cannot_be_read_is_left_alone(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    odd = Definition(SCHEDULE, "odd", b"\xc1")
    app.broker.define([odd])

    with caplog.at_level(logging.ERROR):
        app.publish()

    assert app.schedules.all() == []
    assert app.broker.definitions(SCHEDULE) == [odd]


def test_a_handle_says_what_it_is(app: QueueTasks) -> None:
    made: Scheduled = app.schedule("digest", "mail", cron="0 9 * * *")

    assert repr(made) == "<Scheduled digest: mail 0 9 * * * (UTC)>"
