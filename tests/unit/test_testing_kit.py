"""``app.testing()``: jobs are stored, looked at, and run when the test says so, by the worker's own engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from cherga import ConfigError, Depends, InvalidArguments, JobFailed, JobState, QueueTasks, Snooze, UnknownTask
from cherga.testing.draining import Drained
from cherga.testing.kit import Kit

RETRY_AFTER = 1.0
"""The wait after a first failed attempt, before jitter."""


@dataclass
class Address:
    street: str


class Shop:
    """An application with a task of each kind, and a diary of what ran."""

    def __init__(self, url: str = "memory://") -> None:
        self.app = QueueTasks("shop", url)
        self.diary: list[Any] = []
        self.failing = True
        self.add = self.app.task(name="add")(self._add)
        self.aadd = self.app.task(name="aadd")(self._aadd)
        self.bad = self.app.task(name="bad", retry=1)(self._bad)

    def _add(self, a: int, b: int = 1) -> int:
        self.diary.append(("add", a, b))
        return a + b

    async def _aadd(self, a: int, b: int = 1) -> int:
        await asyncio.sleep(0)
        self.diary.append(("aadd", a, b))
        return a + b

    def _bad(self) -> str:
        if self.failing:
            raise ValueError("the shop is closed")

        return "open again"


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def kit(shop: Shop) -> Iterator[Kit]:
    with shop.app.testing() as opened:
        yield opened


# --- the block


def test_nothing_runs_by_itself_and_the_real_broker_is_never_touched(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path}/queue.db")

    with shop.app.testing():
        assert shop.add.enqueue(1).status is JobState.READY

    assert shop.diary == []
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_the_block_gives_everything_back(shop: Shop) -> None:
    broker, clock = shop.app.broker, shop.app.clock

    def break_off() -> None:
        with shop.app.testing(inline=True) as kit:
            kit.override(threading.Event, threading.Event)
            shop.add.enqueue(1)
            raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        break_off()

    assert shop.app.broker is broker
    assert shop.app.clock is clock
    assert shop.app.dependency_overrides == {}
    assert shop.app.after_send is None
    assert shop.app.jobs() == []


def test_each_block_begins_empty_and_an_inner_one_gives_back_the_outer(shop: Shop) -> None:
    with shop.app.testing() as outer:
        kept = shop.add.enqueue(1)

        with shop.app.testing() as inner:
            assert inner.enqueued() == []
            shop.add.enqueue(2)
            inner.advance(60)

        assert outer.enqueued() == [kept]
        assert outer.clock is shop.app.clock
        assert outer.drain() == Drained(succeeded=1)

    assert shop.diary == [("add", 1, 1)]


def test_closing_or_configuring_the_application_keeps_its_jobs_in_the_block(shop: Shop, tmp_path: Path) -> None:
    former = shop.app.broker

    with shop.app.testing() as kit:
        shop.add.enqueue(1)
        shop.app.close()
        shop.app.configure("shop", f"sqlite:///{tmp_path}/queue.db")
        shop.add.enqueue(2)

        kit.assert_enqueued(shop.add, count=2)

    assert list(tmp_path.iterdir()) == []
    assert shop.app.broker is not former
    assert shop.app.broker.url.startswith("sqlite:")
    shop.app.close()


def test_a_mode_that_does_not_exist_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="True, False or \"raise\", got 'eager'"):
        shop.app.testing(inline="eager")  # type: ignore[arg-type]


def test_no_thread_outlives_the_block(shop: Shop) -> None:
    before = set(threading.enumerate())

    for inline in (True, False):
        with shop.app.testing(inline=inline) as kit:
            shop.add.enqueue(1)
            shop.aadd.enqueue(2)
            kit.drain()

    assert set(threading.enumerate()) <= before  # those of an earlier test may have ended meanwhile


# --- draining


def test_a_drain_runs_what_is_ready_and_counts_how_it_ended(shop: Shop, kit: Kit) -> None:
    jobs = [shop.add.enqueue(1), shop.aadd.enqueue(2, b=3)]

    assert kit.drain() == Drained(succeeded=2)
    assert [job.result(0) for job in jobs] == [2, 5]
    assert kit.drain() == Drained()


def test_functions_run_on_the_draining_thread_in_the_order_of_their_priority(shop: Shop, kit: Kit) -> None:
    seen: list[tuple[str, threading.Thread]] = []

    @shop.app.task
    def note(name: str) -> None:
        seen.append((name, threading.current_thread()))

    for name, priority in (("low", -1), ("usual", 0), ("high", 1), ("later", 0)):
        note.using(priority=priority).enqueue(name)

    kit.drain()

    assert [name for name, _ in seen] == ["high", "usual", "later", "low"]
    assert {thread for _, thread in seen} == {threading.current_thread()}


def test_a_retry_runs_once_it_is_due_and_without_jitter(shop: Shop, kit: Kit) -> None:
    job = shop.bad.enqueue()

    assert kit.drain() == Drained(retried=1)
    assert kit.drain() == Drained()

    kit.advance(RETRY_AFTER - 0.2)
    assert job.refresh().status is JobState.SCHEDULED

    shop.failing = False
    kit.advance(0.2)
    assert kit.drain() == Drained(succeeded=1)
    assert job.result(0) == "open again"


def test_a_drain_leaves_what_a_rate_holds_up_and_does_not_wait_for_it(shop: Shop, kit: Kit) -> None:
    shop.app.task(name="call", rate_limit="2/h")(shop._add)
    shop.app.tasks["call"].enqueue_many([(number,) for number in range(5)])

    assert kit.drain(timeout=5) == Drained(succeeded=2)

    kit.advance(3601)
    assert kit.drain(timeout=5) == Drained(succeeded=2)


def test_a_drain_of_what_is_scheduled_sets_the_clock_to_when_a_rate_lets_more_jobs_go(shop: Shop, kit: Kit) -> None:
    shop.app.task(name="call", rate_limit="2/h")(shop._add)
    shop.app.tasks["call"].enqueue_many([(number,) for number in range(5)])
    shop.app.tasks["add"].using(run_in=1800).enqueue(7)
    began = kit.clock.now()

    assert kit.drain(scheduled=True, timeout=5) == Drained(succeeded=6)
    assert 7200 <= kit.clock.now() - began < 10_800
    assert kit.drain(scheduled=True, timeout=5) == Drained()


def test_a_drain_of_what_is_scheduled_goes_on_to_the_very_end(shop: Shop, kit: Kit) -> None:
    begin = kit.clock.now()
    job, later = shop.bad.enqueue(), shop.add.using(run_in=timedelta(days=2)).enqueue(1)

    assert kit.drain(scheduled=True) == Drained(retried=1, failed=1, succeeded=1)
    assert [job.is_failed, later.is_succeeded] == [True, True]
    assert kit.clock.now() - begin >= 2 * 86_400


def test_children_and_dependants_run_in_the_same_drain(shop: Shop, kit: Kit) -> None:
    @shop.app.task(echo=True)
    def parent(self: Any) -> None:
        self.add_task("add", 10)
        shop.aadd.enqueue(20)

    first = shop.app.add_task("parent")
    shop.add.using(after=[first]).enqueue(30)

    assert kit.drain() == Drained(succeeded=4)
    assert sorted(shop.diary) == [("aadd", 20, 1), ("add", 10, 1), ("add", 30, 1)]


def test_what_waited_for_a_failed_job_counts_as_cancelled(shop: Shop, kit: Kit) -> None:
    shop.add.using(after=[shop.bad.using(retry=0).enqueue()]).enqueue(1)

    assert kit.drain() == Drained(failed=1, cancelled=1)
    assert shop.diary == []


def test_a_snooze_is_no_failure(shop: Shop, kit: Kit) -> None:
    @shop.app.task
    def impatient() -> None:
        if shop.failing:
            shop.failing = False
            raise Snooze(30)

    impatient.enqueue()

    assert kit.drain() == Drained(snoozed=1)
    kit.advance(30)
    assert kit.drain() == Drained(succeeded=1)


def test_the_first_failure_can_be_raised_with_its_own_error_as_the_cause(shop: Shop, kit: Kit) -> None:
    failing, good = shop.bad.using(retry=0, priority=1).enqueue(), shop.add.enqueue(1)

    with pytest.raises(JobFailed, match="the shop is closed") as caught:
        kit.drain(raise_errors=True)

    assert caught.value.job_id == failing.id
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__cause__.__traceback__ is not None
    assert good.is_succeeded


def test_jobs_without_end_are_told_and_not_waited_for(shop: Shop, kit: Kit) -> None:
    @shop.app.task
    def again() -> None:
        again.enqueue()

    again.enqueue()

    with pytest.raises(AssertionError, match="expected the jobs to come to an end, but 6 attempts ran"):
        kit.drain(limit=5)


def test_a_job_that_hangs_is_named_and_cancelled(shop: Shop, kit: Kit) -> None:
    ended = threading.Event()

    @shop.app.task
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    job = hang.enqueue()

    with pytest.raises(AssertionError, match=rf"within 0\.1 seconds; still running: hang \({job.id}\)"):
        kit.drain(timeout=0.1)

    assert ended.wait(5)


def test_a_job_can_cancel_another_one_that_runs(shop: Shop, kit: Kit) -> None:
    @shop.app.task
    async def hang() -> None:
        await asyncio.Event().wait()

    hanging = hang.enqueue()

    @shop.app.task
    async def end_it() -> None:
        while not hanging.is_running:
            await asyncio.sleep(0)

        await hanging.acancel("enough")

    end_it.enqueue()

    assert kit.drain() == Drained(succeeded=1, cancelled=1)
    assert hanging.refresh().message == "enough"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, pytest.fail.Exception])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_meant_for_the_test_reaches_it_out_of_a_job(
    shop: Shop, kit: Kit, kind: type[BaseException], is_async: bool
) -> None:
    def give_up() -> None:
        raise kind("stop here")

    async def agive_up() -> None:
        raise kind("stop here")

    task = shop.app.task(agive_up) if is_async else shop.app.task(give_up)
    task.enqueue()

    with pytest.raises(kind, match="stop here"):
        kit.drain()


def test_an_async_test_drains_on_its_own_loop(shop: Shop, kit: Kit) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @shop.app.task
    async def look() -> None:
        loops.append(asyncio.get_running_loop())

    async def check() -> Drained:
        await look.aenqueue()
        await shop.add.aenqueue(1)
        drained = await kit.adrain()
        assert loops == [asyncio.get_running_loop()]
        return drained

    assert asyncio.run(check()) == Drained(succeeded=2)


def test_async_handlers_of_events_have_run_when_the_drain_ends(shop: Shop, kit: Kit) -> None:
    told = []

    @shop.app.on.succeeded
    async def tell(event: Any) -> None:
        await asyncio.sleep(0)
        told.append(event.task_name)

    shop.add.enqueue(1)
    kit.drain()

    assert told == ["add"]


def test_a_job_may_wait_for_another_one(shop: Shop, kit: Kit) -> None:
    @shop.app.task
    def ask(name: str) -> int:
        return int(shop.app.add_task(name, 20).result(timeout=10))

    @shop.app.task
    async def aask(name: str) -> int:
        return int(await (await shop.app.aadd_task(name, 20)).aresult(timeout=10))

    jobs = [task.enqueue(name) for task in (ask, aask) for name in ("add", "aadd")]

    assert kit.drain(raise_errors=True) == Drained(succeeded=8)
    assert [job.result(0) for job in jobs] == [21] * 4
    assert kit.drain() == Drained()


def test_events_have_been_told_in_order_when_the_drain_ends(shop: Shop, kit: Kit) -> None:
    told: list[str] = []

    for signal in (shop.app.on.enqueued, shop.app.on.started, shop.app.on.retried, shop.app.on.failed):
        signal(lambda event: told.append(event.name))

    shop.bad.enqueue()
    kit.drain(scheduled=True)

    assert told == ["enqueued", "started", "retried", "started", "failed"]


# --- what was enqueued


def test_arguments_that_are_not_given_may_be_anything(shop: Shop, kit: Kit) -> None:
    first, second = shop.add.enqueue(1, 5), shop.add.enqueue(1, b=6)

    assert kit.assert_enqueued(shop.add) == [first, second]
    assert kit.assert_enqueued(shop.add, 1) == [first, second]
    assert kit.assert_enqueued("add", b=6) == [second]
    assert kit.assert_enqueued(shop.add, 2, count=0) == []
    assert kit.enqueued(shop.aadd) == []
    assert kit.enqueued() == [first, second]


def test_defaults_count_as_arguments(shop: Shop, kit: Kit) -> None:
    shop.add.enqueue(1)
    kit.assert_enqueued(shop.add, 1, 1)


def test_arguments_are_compared_as_the_task_gets_them(shop: Shop, kit: Kit) -> None:
    @shop.app.task
    def deliver(to: Address, parcel: UUID, tags: Any = ()) -> None: ...

    parcel = uuid4()
    deliver.enqueue(Address("Baker Street"), parcel, tags=(parcel,))

    kit.assert_enqueued(deliver, Address("Baker Street"), parcel)
    kit.assert_enqueued(deliver, tags=(parcel,))
    kit.assert_enqueued(deliver, Address("Elm Street"), count=0)


def test_a_failed_expectation_shows_what_was_enqueued(shop: Shop, kit: Kit) -> None:
    shop.add.using(queue="sums", owner="user:7", run_in=60).enqueue(2)
    shop.aadd.enqueue(3)

    with pytest.raises(AssertionError) as caught:
        kit.assert_enqueued(shop.add, 2, within=5, queue="sums", owner="user:8")

    assert str(caught.value).splitlines() == [
        "expected a job add(a=2, …) due within 5 s in queue sums of owner user:8, found none; enqueued were:",
        "    add(a=2, b=1)  due in 1 min, queue sums, owner user:7",
        "    aadd(a=3, b=1)  ready, queue default",
    ]


def test_a_failed_expectation_shows_twenty_jobs_at_most(shop: Shop, kit: Kit) -> None:
    shop.add.enqueue_many([(number,) for number in range(25)])

    with pytest.raises(AssertionError, match=r"expected 3 jobs add\(…\), found 25; (.|\n)*and 5 more"):
        kit.assert_enqueued(shop.add, count=3)


def test_a_task_name_that_nobody_declared_gets_the_nearest_one(kit: Kit) -> None:
    with pytest.raises(
        AssertionError, match=r"no task of that name is declared; did you mean .add.\?\), found none; nothing was"
    ):
        kit.assert_enqueued("addd")


def test_arguments_that_the_task_cannot_take_are_the_tests_own_mistake(shop: Shop, kit: Kit) -> None:
    with pytest.raises(TypeError, match=r"expected arguments of task add\(a: .*\).* got an unexpected keyword argument 'c'"):
        kit.assert_enqueued(shop.add, c=3)


@pytest.mark.parametrize(("within", "found"), [(59, 0), (60, 1), (timedelta(minutes=2), 1)])
def test_within_is_about_when_a_job_is_due(shop: Shop, kit: Kit, within: Any, found: int) -> None:
    shop.add.using(run_in=60).enqueue(1)
    kit.assert_enqueued(shop.add, within=within, count=found)


def test_jobs_of_tasks_that_live_elsewhere_are_found_by_name(shop: Shop, kit: Kit) -> None:
    shop.app.add_task("elsewhere", 1, colour="red")

    kit.assert_enqueued("elsewhere", 1)
    kit.assert_enqueued("elsewhere", colour="red")
    kit.assert_enqueued("elsewhere", 2, count=0)
    assert kit.drain() == Drained()


def test_jobs_are_found_by_the_function_of_their_task(shop: Shop, kit: Kit) -> None:
    @shop.app.task
    def pack(order: int) -> None: ...

    job = pack.enqueue(7)

    assert kit.assert_enqueued(pack.function, 7) == kit.enqueued(pack.function) == [job]
    with pytest.raises(UnknownTask, match="expected a declared task"):
        kit.enqueued(len)


def test_what_is_no_function_cannot_be_overridden(kit: Kit) -> None:
    wrong: Any = "open_mailbox"

    with pytest.raises(ConfigError, match="expected the function of a dependency to be overridden, got 'open_mailbox'"):
        kit.override(wrong, lambda: 1)


def test_jobs_are_found_under_every_name_of_their_task(shop: Shop, kit: Kit) -> None:

    @shop.app.task(aliases=["subtract"])
    def minus(a: int) -> int:
        return -a

    shop.app.add_task("subtract", 1)

    assert kit.enqueued(minus) == kit.enqueued("subtract") == kit.assert_enqueued("minus", 1)


def test_a_job_that_is_not_kept_is_still_known_to_have_been_enqueued(shop: Shop, kit: Kit) -> None:
    job = shop.add.using(result_ttl=0).enqueue(1)
    kit.drain()

    assert shop.app.get(job.id) is None
    assert kit.assert_enqueued(shop.add, 1) == [job]


# --- time


def test_the_clock_runs_and_can_be_set_ahead(shop: Shop, kit: Kit) -> None:
    before, when = datetime.now(UTC), datetime.now(UTC) + timedelta(days=365)
    kit.advance_to(when)
    job = shop.add.using(run_at=when + timedelta(hours=1)).enqueue(1)

    assert before < when <= (kit.now() or before)
    assert (job.enqueued_at or before) >= when
    assert job.status is JobState.SCHEDULED
    kit.advance(timedelta(hours=1))
    assert job.refresh().status is JobState.READY


def test_the_clock_cannot_be_set_back(kit: Kit) -> None:
    with pytest.raises(ConfigError):
        kit.advance_to(datetime(2001, 1, 1, tzinfo=UTC))

    with pytest.raises(ConfigError):
        kit.advance(-1)


def test_a_job_expires_with_the_clock(shop: Shop, kit: Kit) -> None:
    job = shop.add.using(expires=60).enqueue(1)
    kit.advance(61)

    assert kit.drain() == Drained()
    assert job.is_cancelled


def test_schedules_fire_when_the_clock_is_set_ahead(shop: Shop, kit: Kit) -> None:
    @shop.app.task(every=3600, catch_up="skip")
    def hourly() -> None: ...

    shop.app.schedule("three", shop.add, (3,), cron="30 * * * *")
    assert kit.drain() == Drained()
    kit.advance(3600)

    assert {job.task_name for job in kit.enqueued()} == {"hourly", "add"}
    kit.advance(3 * 3600)
    assert (len(kit.enqueued(hourly)), len(kit.enqueued(shop.add))) == (4, 4)
    assert kit.drain() == Drained(succeeded=8)
    assert shop.diary == [("add", 3, 1)] * 4


def test_schedules_fire_at_no_other_time(shop: Shop, kit: Kit) -> None:
    @shop.app.task(every=60)
    def often() -> None: ...

    kit.advance(60)
    fired = kit.enqueued(often)
    shop.add.using(run_in=86_400).enqueue(1)
    kit.drain(scheduled=True)

    assert 1 <= len(kit.enqueued(often)) == len(fired)


def test_a_far_journey_fires_no_more_than_the_cap_of_a_schedule(shop: Shop, kit: Kit) -> None:
    shop.app.schedule("often", shop.add, (1,), every=1, catch_up_cap=5)
    kit.advance(timedelta(days=365))

    assert len(kit.enqueued(shop.add)) == 5


def test_schedules_that_are_paused_do_not_fire(shop: Shop, kit: Kit) -> None:
    schedule = shop.app.schedule("often", shop.add, (1,), every=60)
    schedule.pause()
    kit.advance(3600)
    assert kit.enqueued() == []

    schedule.resume()
    kit.advance(60)
    assert 1 <= len(kit.enqueued()) <= 60


def test_a_worker_in_the_block_survives_the_journey(shop: Shop, kit: Kit) -> None:
    with shop.app.worker():
        assert shop.add.enqueue(1).result(10) == 2
        kit.advance(timedelta(days=1))
        job = shop.aadd.enqueue(2)
        assert job.result(10) == 3

    assert (job.crashes, job.interruptions, job.attempt) == (0, 0, 1)


# --- what jobs need


def test_a_dependency_is_replaced_for_the_block_alone(shop: Shop) -> None:
    events: list[str] = []

    def connect() -> str:
        return "the real one"

    def pretend() -> Iterator[str]:
        events.append("open")
        yield "a fake one"
        events.append("close")

    @shop.app.task
    def ask(connection: str = Depends(connect)) -> str:
        return connection

    with shop.app.testing() as kit:
        kit.override(connect, pretend)
        fake = ask.enqueue()
        kit.drain(raise_errors=True)
        assert fake.result(0) == "a fake one"

    with shop.app.testing() as kit:
        real = ask.enqueue()
        kit.drain(raise_errors=True)
        assert real.result(0) == "the real one"

    assert events == ["open", "close"]


def test_what_lives_as_long_as_a_worker_or_process_lives_as_long_as_a_drain(shop: Shop, kit: Kit) -> None:
    events: list[str] = []

    def pool() -> Iterator[str]:
        events.append("open")
        yield "pool"
        events.append("close")

    needs = [Depends(pool, scope="worker"), Depends(lambda: "process", scope="process")]

    @shop.app.task
    def swim(pool: str = needs[0], place: str = needs[1]) -> None:
        events.append(f"swim in {pool} of {place}")

    kit.override(needs[1], lambda: "test")
    swim.enqueue_many([(), ()])
    kit.drain(raise_errors=True)

    assert events == ["open", "swim in pool of test", "swim in pool of test", "close"]


def test_only_a_function_can_stand_in_for_a_function(kit: Kit) -> None:
    with pytest.raises(ConfigError, match="for a value write lambda: it"):
        kit.override(threading.Event, "not a function")  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="parameter 'left' of the dependency"):
        kit.override(threading.Event, lambda left: left)


def test_arguments_are_checked_as_always(shop: Shop, kit: Kit) -> None:
    with pytest.raises(InvalidArguments):
        shop.add.enqueue("one")  # type: ignore[arg-type]

    assert kit.enqueued() == []
