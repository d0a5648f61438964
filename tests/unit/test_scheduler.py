"""The scheduler on its own: what several of them make of the same schedules."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from cherga import QueueTasks
from cherga.brokers.memory import MemoryBroker
from cherga.client.schedules import Scheduled, definition_of
from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.claim import Promoted
from cherga.words.clock import SystemClock
from cherga.words.inspection import JobFilter
from cherga.words.job import JobRow
from cherga.words.push import JobHead
from cherga.words.schedule import SCHEDULE, Schedule
from cherga.words.shared import Definition
from cherga.worker.caretaker import Caretaker
from cherga.worker.scheduler import Scheduler, tick_job

MIDNIGHT = 1_893_456_000.0
"""1 January 2030, 00:00 UTC."""
HOUR = 3600.0
DAY = 24 * HOUR


class Hall:
    """An application with one task, its broker, and a scheduler that is asked at times of the test's choice."""

    def __init__(self) -> None:
        self.app = QueueTasks("shop", "memory://")
        self.app.task(name="mail")(lambda user=0: None)
        self.broker = self.app.broker
        self.scheduler = Scheduler(self.broker)

    def schedule(self, name: str = "nightly", **timing: Any) -> Scheduled:
        return self.app.schedule(name, "mail", **(timing or {"cron": "0 0 * * *"}))

    def jobs(self) -> list[JobRow]:
        """Every job, oldest first."""
        return self.broker.find(JobFilter(), 100_000)[::-1]

    def ticks(self, name: str = "nightly") -> list[float | None]:
        """For which ticks of this schedule there are jobs, in the order they were enqueued in."""
        heads = [head_of(job) for job in self.jobs()]
        return [head.tick for head in heads if head.schedule == name]


def head_of(job: JobRow) -> JobHead:
    return msgspec.msgpack.decode(job.head or b"\x80", type=JobHead)


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.app.close()


def test_nothing_is_asked_for_where_no_schedule_is_stored(hall: Hall) -> None:
    assert hall.scheduler.round(MIDNIGHT) is None
    assert hall.broker.ticks() == {}


def test_a_new_schedule_waits_for_its_first_tick(hall: Hall) -> None:
    hall.schedule()

    assert hall.scheduler.round(MIDNIGHT + HOUR) == 23 * HOUR
    assert hall.scheduler.round(MIDNIGHT + 2 * HOUR) == 22 * HOUR
    assert hall.jobs() == []


def test_a_tick_becomes_a_job_that_tells_its_schedule(hall: Hall) -> None:
    hall.app.schedule("nightly", "mail", (7,), cron="0 0 * * *")
    hall.scheduler.round(MIDNIGHT - HOUR)

    assert hall.scheduler.round(MIDNIGHT) == DAY
    (job,) = hall.jobs()
    assert (job.task, msgspec.msgpack.decode(job.payload)) == ("mail", {"user": 7})
    assert (head_of(job).schedule, head_of(job).tick) == ("nightly", MIDNIGHT)


def test_the_soonest_of_all_schedules_is_waited_for(hall: Hall) -> None:
    hall.schedule("nightly")
    hall.schedule("hourly", every=3600)

    assert hall.scheduler.round(MIDNIGHT + 60) == HOUR - 60
    assert hall.scheduler.round(MIDNIGHT + HOUR) == HOUR


@pytest.mark.parametrize("seed", range(5))
def test_schedulers_that_take_turns_fire_each_tick_once(hall: Hall, seed: int) -> None:
    hall.schedule(every=60, catch_up="all")
    random, now = Random(seed), MIDNIGHT
    schedulers = [Scheduler(hall.broker) for _ in range(3)]
    schedulers[0].round(now)

    for _ in range(60):
        random.choice(schedulers).round(now := now + random.uniform(0, 150))

    assert hall.ticks() == [MIDNIGHT + 60 * number for number in range(1, int((now - MIDNIGHT) / 60) + 1)]


def test_schedulers_at_the_same_instant_fire_each_tick_once(hall: Hall) -> None:
    hall.schedule(every=60, catch_up="all")
    hall.scheduler.round(MIDNIGHT)
    start = threading.Barrier(4, timeout=10)

    def look(scheduler: Scheduler) -> None:
        for minute in range(1, 30):
            start.wait()
            scheduler.round(MIDNIGHT + 60 * minute)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(look, Scheduler(hall.broker)) for _ in range(4)]:
            done.result(20)

    assert hall.ticks() == [MIDNIGHT + 60 * minute for minute in range(1, 30)]


def test_a_scheduler_that_was_beaten_looks_again_at_once(hall: Hall) -> None:
    hall.schedule(every=60)
    hall.scheduler.round(MIDNIGHT)
    slow = Scheduler(Overtaken(hall.broker, lambda: hall.scheduler.round(MIDNIGHT + 60)))

    assert slow.round(MIDNIGHT + 60) == 0.0
    assert slow.round(MIDNIGHT + 60) == 60.0
    assert hall.ticks() == [MIDNIGHT + 60]


def test_the_same_tick_has_the_same_id_whoever_fires_it() -> None:
    job = definition().data
    schedule = msgspec.msgpack.decode(job, type=Schedule)

    assert tick_job("nightly", schedule, MIDNIGHT).id == tick_job("nightly", schedule, MIDNIGHT).id
    ids = {tick_job(name, schedule, tick).id for name in ("nightly", "other") for tick in (MIDNIGHT, MIDNIGHT + 0.1)}
    assert len(ids) == 4


def test_ticks_do_not_wait_behind_a_thousand_other_jobs(hall: Hall) -> None:
    hall.schedule(every=0.1)
    caretaker = Caretaker(Busy(hall.broker, lambda: None), BrokerSettings(), SystemClock())
    caretaker.start()
    wait_until(lambda: hall.ticks(), "a tick")
    caretaker.stop()


# --- paused and changed


@pytest.mark.parametrize(
    ("policy", "fired"),
    [
        ({"catch_up": "skip"}, []),
        ({"catch_up": "last"}, [MIDNIGHT + 5 * HOUR]),
        ({"catch_up": "all"}, [MIDNIGHT + number * HOUR for number in range(1, 6)]),
        ({"catch_up": "all", "catch_up_cap": 2}, [MIDNIGHT + 4 * HOUR, MIDNIGHT + 5 * HOUR]),
    ],
)
def test_what_a_pause_missed_is_caught_up_by_policy(hall: Hall, policy: dict[str, Any], fired: list[float]) -> None:
    scheduled = hall.schedule(every=HOUR, **policy)
    hall.scheduler.round(MIDNIGHT)
    scheduled.pause()

    assert hall.scheduler.round(MIDNIGHT + 5.5 * HOUR) is None
    assert hall.ticks() == []
    scheduled.resume()
    assert hall.scheduler.round(MIDNIGHT + 5.5 * HOUR) == HOUR / 2
    assert hall.ticks() == fired


def test_a_changed_timing_forgets_the_old_due_time(hall: Hall) -> None:
    scheduled = hall.schedule()
    hall.scheduler.round(MIDNIGHT + HOUR)
    scheduled.change(cron="30 * * * *")

    assert hall.scheduler.round(MIDNIGHT + HOUR) == HOUR / 2
    hall.scheduler.round(MIDNIGHT + 1.5 * HOUR)
    assert hall.ticks() == [MIDNIGHT + 1.5 * HOUR]


def test_other_arguments_keep_the_due_time(hall: Hall) -> None:
    hall.schedule()
    hall.scheduler.round(MIDNIGHT + HOUR)
    hall.app.schedule("nightly", "mail", (8,), cron="0 0 * * *")

    assert hall.scheduler.round(MIDNIGHT + DAY + HOUR) == 23 * HOUR
    assert [msgspec.msgpack.decode(job.payload) for job in hall.jobs()] == [{"user": 8}]


def test_a_deleted_schedule_fires_no_more(hall: Hall) -> None:
    scheduled = hall.schedule()
    hall.scheduler.round(MIDNIGHT - HOUR)
    scheduled.delete()

    assert hall.scheduler.round(MIDNIGHT) is None
    assert hall.jobs() == []


@pytest.mark.parametrize("begun", [True, False])
def test_a_timing_that_changes_while_the_old_one_is_acted_on_holds(hall: Hall, begun: bool) -> None:
    """The change is made after the schedule was read and before its next due time is written."""
    scheduled = hall.schedule()

    if begun:
        hall.scheduler.round(MIDNIGHT - HOUR)

    slow = Scheduler(Overtaken(hall.broker, lambda: scheduled.change(every=60)))

    assert slow.round(MIDNIGHT) == 0.0
    assert hall.broker.ticks() == {"nightly": MIDNIGHT + 60}
    assert slow.round(MIDNIGHT) == 60.0


def test_a_schedule_that_goes_while_it_is_acted_on_is_gone(hall: Hall) -> None:
    scheduled = hall.schedule()
    slow = Scheduler(Overtaken(hall.broker, scheduled.delete))

    slow.round(MIDNIGHT + HOUR)

    assert slow.round(MIDNIGHT + 3 * DAY) is None
    assert hall.jobs() == []


# --- what cannot be read


def test_data_that_cannot_be_read_is_told_once_and_harms_no_other(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    hall.broker.define([Definition(SCHEDULE, "broken", b"\xc1")])
    hall.schedule(every=60)

    for minute in range(4):
        hall.scheduler.round(MIDNIGHT + 60 * minute)

    assert hall.ticks() == [MIDNIGHT + 60 * minute for minute in range(1, 4)]
    assert told(caplog) == ["schedule broken does not fire: it cannot be read"]


def test_a_zone_that_this_machine_does_not_know_is_told_once(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    hall.broker.define([definition("far", timezone="Mars/Olympus"), definition("odd", cron="nonsense")])
    hall.schedule(every=60)

    for minute in range(4):
        hall.scheduler.round(MIDNIGHT + 60 * minute)

    assert hall.ticks() == [MIDNIGHT + 60 * minute for minute in range(1, 4)]
    far, odd = sorted(told(caplog))
    assert far.startswith("schedule far does not fire: expected timezone to be a name like 'Europe/Kyiv', got 'Mars/Olympus'")
    assert odd.startswith("schedule odd does not fire: expected cron to be five fields")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def definition(name: str = "nightly", **timing: Any) -> Definition:
    app = QueueTasks("shop", "memory://")
    job = app.task(name="mail")(lambda: None).prepare()
    app.close()
    return definition_of(name, Schedule(job=job, **{"cron": "0 0 * * *", **timing}), 0)


@pytest.mark.parametrize(
    ("options", "what", "level"),
    [
        ({}, "queue 'default' is full", logging.WARNING),
        ({"unique": "the key"}, "its unique key is held", logging.INFO),
    ],
)
def test_a_tick_that_adds_no_job_is_told(
    hall: Hall, caplog: pytest.LogCaptureFixture, options: dict[str, Any], what: str, level: int
) -> None:
    caplog.set_level(logging.INFO, "cherga.worker")
    task = hall.app.tasks["mail"].using(**options)
    hall.app.schedule("nightly", task, cron="0 0 * * *")
    hall.scheduler.round(MIDNIGHT)
    task.enqueue()
    hall.app.limits.set(queue="default", max_length=1)
    hall.scheduler.round(MIDNIGHT + DAY)

    assert hall.ticks() == []
    assert [(one.levelno, one.message) for one in caplog.records] == [
        (level, f"schedule nightly: a tick added no job: {what}"),
    ]


class Overtaken(MemoryBroker):
    """The same jobs, but somebody does something after the due times were read."""

    def __init__(self, broker: FullBroker, act: Callable[[], object]) -> None:
        assert isinstance(broker, MemoryBroker)
        super().__init__(broker.url, BrokerSettings())
        self._store = broker._store
        self._act: Callable[[], object] | None = act

    def ticks(self) -> dict[str, float | None]:
        dues = super().ticks()
        act, self._act = self._act, None

        if act is not None:
            act()

        return dues


class Busy(Overtaken):
    """There is always more to promote."""

    def promote(self, limit: int = 1000) -> Promoted:
        return replace(super().promote(limit), count=limit)
