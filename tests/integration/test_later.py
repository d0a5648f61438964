"""Jobs and schedules that wait for a time: never early, soon after, and at no cost until then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from cherga import JobCancelled, JobState, QueueTasks, Reason
from cherga.brokers.sqlite import SQLiteBroker
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.claim import ClaimWish, Promoted
from cherga.words.clock import SystemClock
from cherga.words.inspection import JobFilter
from cherga.words.push import JobHead, NewJob
from cherga.words.session import Death, SessionInfo
from cherga.worker.caretaker import Caretaker
from tests.conftest import NewApp

MANY = 100_000
DUE_AT_ONCE = 1000
ALL_STARTED_WITHIN = 5.0
"""Seconds; promised (issue 4)."""


# --- a thousand at once


def test_a_thousand_jobs_due_at_once_start_soon_and_none_early(app: QueueTasks) -> None:
    started: list[float] = []
    note = app.task(name="note")(lambda number: started.append(time.time()))
    due = datetime.now(UTC) + timedelta(seconds=1)
    jobs = note.using(run_at=due).enqueue_many([(number,) for number in range(DUE_AT_ONCE)])
    assert {job.status for job in jobs} == {JobState.SCHEDULED}

    with app.worker():
        wait_until(lambda: len(started) == DUE_AT_ONCE, "all jobs have started", 20)

    assert min(started) >= due.timestamp()
    assert max(started) - due.timestamp() < ALL_STARTED_WITHIN


# --- a hundred thousand that wait


class Counting(SQLiteBroker):
    """Counts the calls of the caretaker."""

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        super().__init__(url, settings)
        self.promotions = self.sweeps = 0

    def promote(self, limit: int = 1000) -> Promoted:
        self.promotions += 1
        return super().promote(limit)

    def reap(self, deaths: Sequence[Death] = (), limit: int = 1000) -> list[UUID]:
        self.sweeps += 1
        return super().reap(deaths, limit)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Counting]:
    broker = Counting(f"sqlite:///{tmp_path / 'queue.db'}", BrokerSettings(sweep=0.1, heartbeat=0.1, lease=60.0))
    broker.open()
    yield broker
    broker.close()


def test_a_hundred_thousand_scheduled_jobs_cost_an_idle_worker_nothing(broker: Counting) -> None:
    """In calls: as many as it has sweeps. In processor time: each call costs what it costs without those jobs."""
    wish = ClaimWish(session="idle.1", limit=10, tasks=frozenset({"export"}))
    broker.register(SessionInfo(id="idle.1", worker="idle", host="here", pid=1))
    calls: list[Callable[[], object]] = [broker.promote, lambda: broker.claim(wish), broker.ticks]
    before = [processor_time(call) for call in calls]
    broker.push([[waiting(number)] for number in range(MANY)])

    after = [processor_time(call) for call in calls]
    caretaker = Caretaker(broker, BrokerSettings(sweep=0.1, heartbeat=0.1, lease=60.0), SystemClock())
    broker.promotions = broker.sweeps = 0
    caretaker.start()
    wait_until(lambda: broker.sweeps >= 10, "ten sweeps")
    caretaker.stop()

    assert broker.promotions <= broker.sweeps + 2
    assert [later / earlier < 3 for later, earlier in zip(after, before, strict=True)] == [True] * 3


def processor_time(call: Callable[[], object], rounds: int = 5, times: int = 40) -> float:
    """Seconds of this process for some calls; the best round counts."""
    return min(_one_round(call, times) for _ in range(rounds))


def _one_round(call: Callable[[], object], times: int) -> float:
    began = time.process_time()

    for _ in range(times):
        call()

    return time.process_time() - began


def waiting(number: int) -> NewJob:
    return NewJob(id=uuid4(), task="export", payload=b"\x90", delay=3600.0 + number)


# --- too late


def test_a_job_whose_time_is_over_is_cancelled_and_never_started(app: QueueTasks) -> None:
    ran: list[str] = []
    note = app.task(name="note")(ran.append)
    stale = note.using(expires=60).enqueue("stale")
    later = note.using(run_in=30, expires=60).enqueue("scheduled and stale")
    fresh = note.using(expires=1000).enqueue("fresh")
    app.broker.time_offset = 100.0

    with app.worker():
        fresh.result(10)

        for job in (stale, later):
            with pytest.raises(JobCancelled) as caught:
                job.result(10)

            assert caught.value.reason == Reason.EXPIRED

    assert ran == ["fresh"]
    assert stale.refresh().attempt == later.refresh().attempt == 0


# --- schedules


def test_a_schedule_made_while_the_worker_sleeps_fires_without_waiting_for_a_sweep(new_app: NewApp) -> None:
    app = new_app(sweep=600.0)
    app.task(name="tick")(lambda: None)

    with app.worker():
        wait_until(lambda: app.broker.workers(), "the worker is there")
        app.schedule("soon", "tick", every=0.1)
        wait_until(lambda: len(ticks_of(app, "soon")) >= 3, "three ticks")


def test_ticks_come_at_their_times_and_never_early(new_app: NewApp) -> None:
    app = new_app(sweep=600.0)
    app.task(name="tick", every=0.25, catch_up="all")(lambda: None)

    with app.worker():
        wait_until(lambda: len(ticks_of(app, "tick")) >= 4, "four ticks")

    enqueued = ticks_of(app, "tick")
    ticks = sorted(enqueued)
    assert all(enqueued[tick] >= tick for tick in ticks)
    assert ticks == [ticks[0] + 0.25 * number for number in range(len(ticks))]


def test_a_paused_schedule_goes_on_as_soon_as_it_is_resumed(new_app: NewApp) -> None:
    app = new_app(sweep=600.0)
    app.task(name="tick")(lambda: None)
    scheduled = app.schedule("daily", "tick", cron="0 9 * * *")
    app.broker.tick("daily", 100.0, 100.0, [])
    scheduled.pause()

    with app.worker():
        wait_until(lambda: app.broker.workers(), "the worker is there")
        assert ticks_of(app, "daily") == {}
        scheduled.resume()
        wait_until(lambda: ticks_of(app, "daily"), "the tick that was missed")


def ticks_of(app: QueueTasks, schedule: str) -> dict[float, float]:
    """When the job of each tick was enqueued."""
    rows = app.broker.find(JobFilter(), 10_000)
    heads = [(msgspec.msgpack.decode(row.head or b"\x80", type=JobHead), row) for row in rows]
    found = [(head.tick, row.enqueued_at) for head, row in heads if head.schedule == schedule and head.tick is not None]
    assert len(found) == len(dict(found))
    return dict(found)
