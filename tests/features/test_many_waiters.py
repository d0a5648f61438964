"""Any number of threads and coroutines may wait: they share one thread, one listener and the reads."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cherga import BrokerUnavailable, Job, JobNotFound, QueueTasks, ResultTimeout, group
from cherga.brokers.memory.broker import MemoryBroker
from cherga.client.lookout import GROUP_LOOK, LINGER, PAGE, Lookout
from cherga.client.waiters import LONGEST_LOOK
from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings
from cherga.testing import FakeClock, wait_until
from cherga.words.job import JobRow
from cherga.words.report import Followed, Reading
from tests.conftest import NewApp
from tests.odd_brokers import AppWith

MANY = 1000
WAIT = 20.0


class CountingBroker(MemoryBroker):
    """Notes how many jobs were read in each call, and fails or tells nobody of changes when told to."""

    def __init__(self) -> None:
        super().__init__("memory://", BrokerSettings())
        self.reads: list[int] = []
        self.error: Exception | None = None

    def get(self, ids: Sequence[UUID]) -> list[JobRow | None]:
        self.reads.append(len(ids))

        if self.error is not None:
            raise self.error

        return super().get(ids)

    def follow(self, readings: Sequence[Reading], limit: int = 100) -> list[Followed | None]:
        self.reads.append(len(readings))
        return super().follow(readings, limit)


def make_tasks(app: QueueTasks) -> None:
    app.task(name="work")(lambda number: number)


def store_later(app: QueueTasks, count: int) -> list[Job[Any]]:
    """Jobs that do not begin within the test."""
    return app.tasks["work"].using(run_in=3600).enqueue_many([(number,) for number in range(count)])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def ours() -> list[str]:
    """The names of our threads."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("cherga"))


def lookouts() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "cherga-lookout"}


def served(app: QueueTasks) -> int:
    """How many are waited for at this moment."""
    watch = app.lookout._watch
    return 0 if watch is None else sum(map(len, list(watch._waiters.values())))


def turn(app: QueueTasks) -> None:
    """Let the lookout look at what is due."""
    watch = app.lookout._watch
    assert watch is not None
    watch.wake()


@asynccontextmanager
async def waiting(app: QueueTasks, jobs: Sequence[Job[Any]]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Within this a coroutine waits for each of these jobs."""
    before = served(app)
    waits = [asyncio.create_task(job.aresult()) for job in jobs]
    await asyncio.to_thread(wait_until, lambda: served(app) >= before + len(jobs), "all of them wait", WAIT)

    try:
        yield waits
    finally:
        for wait in waits:
            wait.cancel()

        await asyncio.gather(*waits, return_exceptions=True)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nobody else counts descriptors")
def test_a_thousand_coroutines_cost_no_more_threads_and_descriptors_than_one(app: QueueTasks) -> None:
    make_tasks(app)
    first, *others = store_later(app, MANY)

    async def compare() -> None:
        async with waiting(app, [first]):
            threads, files = ours(), descriptors()

            # What earlier tests have left may go meanwhile.
            async with waiting(app, others):
                assert set(ours()) <= set(threads)
                assert descriptors() <= files

    asyncio.run(compare())


def test_a_thousand_who_watch_cost_no_more_threads_than_one(app: QueueTasks) -> None:
    make_tasks(app)
    jobs, before = store_later(app, MANY), lookouts()
    seen: list[UUID] = []

    async def watch(job: Job[Any]) -> None:
        async for update in app.watch(job.id):
            if not update.unserved:  # which is told on a slow machine, once somebody has waited for two seconds
                seen.append(update.job_id)

    async def watch_all() -> None:
        watches = [asyncio.create_task(watch(job)) for job in jobs]
        await asyncio.to_thread(wait_until, lambda: len(seen) >= MANY, "everybody has seen his job", WAIT)
        assert len(lookouts() - before) == 1

        for each in jobs[::2]:
            await each.acancel()

        await asyncio.gather(*watches[::2])
        assert not any(watch.done() for watch in watches[1::2])

        for other in watches:
            other.cancel()

        await asyncio.gather(*watches, return_exceptions=True)

    asyncio.run(watch_all())
    assert sorted(seen) == sorted([*(job.id for job in jobs), *(job.id for job in jobs[::2])])


def test_who_waits_for_a_quick_job_beside_many_hears_of_its_end_alone() -> None:
    broker = CountingBroker()
    app = AppWith(broker)
    clock = FakeClock()
    app.lookout = Lookout(lambda: broker, lambda: clock)
    make_tasks(app)

    async def wait_beside() -> None:
        async with waiting(app, store_later(app, MANY)):
            await asyncio.to_thread(wait_until, lambda: sum(broker.reads) >= MANY, "all have had a look")
            assert len(broker.reads) <= 2 * MANY / PAGE
            broker.reads.clear()

            for number in range(5):
                assert await (await app.tasks["work"].aenqueue(number)).aresult(WAIT) == number

            assert max(broker.reads) == 1

    with app.worker():
        asyncio.run(wait_beside())


def test_threads_wait_together_too(app: QueueTasks) -> None:
    make_tasks(app)
    jobs, before = store_later(app, 60), lookouts()
    ends: list[int] = []
    waits = [threading.Thread(target=lambda job=job: ends.append(job.result(WAIT))) for job in jobs]

    for wait in waits:
        wait.start()

    wait_until(lambda: served(app) == len(jobs), "all of them wait")
    assert len(lookouts() - before) == 1

    with app.worker():
        for job in jobs:
            assert job.retry()

        for wait in waits:
            wait.join(WAIT)

    assert sorted(ends) == list(range(60))


def test_several_loops_wait_at_the_same_time(app: QueueTasks) -> None:
    make_tasks(app)

    async def work(start: int) -> list[int]:
        jobs = await app.tasks["work"].aenqueue_many([(start + number,) for number in range(20)])
        return list(await asyncio.gather(*(job.aresult(WAIT) for job in jobs)))

    results: list[int] = []

    with app.worker():
        loops = [threading.Thread(target=lambda n=n: results.extend(asyncio.run(work(n)))) for n in range(0, 100, 20)]

        for loop in loops:
            loop.start()

        for loop in loops:
            loop.join(WAIT)

    assert sorted(results) == list(range(100))


def test_two_applications_wait_apart(new_app: NewApp) -> None:
    apps = [new_app("one", apart=True), new_app("two", apart=True)]

    for app in apps:
        make_tasks(app)

    async def wait_for_both() -> list[Any]:
        jobs = [await app.tasks["work"].aenqueue(number) for number, app in enumerate(apps)]
        return await asyncio.gather(*(job.aresult(WAIT) for job in jobs))

    with apps[0].worker(), apps[1].worker():
        assert asyncio.run(wait_for_both()) == [0, 1]


# --- nothing is left behind


def test_cancelled_waits_leave_nothing_behind(app: QueueTasks) -> None:
    make_tasks(app)
    known: list[weakref.ref[Any]] = []

    async def give_up() -> None:
        jobs = store_later(app, 50)

        async with waiting(app, jobs) as waits:
            assert app.lookout._watch is not None
            known.extend(weakref.ref(wait) for wait in waits)

        assert {type(wait.exception()) if not wait.cancelled() else None for wait in waits} == {None}

    asyncio.run(give_up())
    app.lookout.close()
    assert served(app) == 0
    gc.collect()
    assert [ref for ref in known if ref() is not None] == []


def test_waits_that_time_out_leave_nothing_behind(app: QueueTasks) -> None:
    make_tasks(app)

    async def time_out() -> None:
        for job in store_later(app, 50):
            with pytest.raises(ResultTimeout):
                await job.aresult(0)

    asyncio.run(time_out())
    app.lookout.close()
    assert served(app) == 0


def test_a_loop_that_was_closed_with_its_waits_is_forgotten() -> None:
    app = AppWith(CountingBroker())
    app.clock = clock = FakeClock()
    make_tasks(app)
    (first,) = store_later(app, 1)
    loop = asyncio.new_event_loop()
    wait = loop.create_task(first.aresult())
    loop.run_until_complete(asyncio.sleep(0))
    wait_until(lambda: served(app) == 1, "it waits")
    loop.close()
    clock.advance(LONGEST_LOOK + 1)
    turn(app)
    wait_until(lambda: app.lookout._left, "nobody is there any more")
    turn(app)
    wait_until(lambda: served(app) == 0, "it is forgotten")
    wait._log_destroy_pending = False  # type: ignore[attr-defined]


def test_the_thread_ends_some_time_after_the_last_wait() -> None:
    app = AppWith(CountingBroker())
    app.clock = clock = FakeClock()
    make_tasks(app)
    (job,) = store_later(app, 1)

    with pytest.raises(ResultTimeout):
        job.result(0)

    thread = app.lookout._thread
    assert thread is not None
    clock.advance(LINGER + 1)
    turn(app)
    thread.join(WAIT)
    assert not thread.is_alive()

    with pytest.raises(ResultTimeout):
        job.result(0)


# --- what goes wrong


def test_a_change_that_nobody_rang_for_is_seen_at_the_next_look() -> None:
    broker = CountingBroker()
    app = AppWith(broker)
    app.clock = clock = FakeClock()
    make_tasks(app)
    (job,) = store_later(app, 1)
    ends: list[str] = []

    def wait() -> None:
        job.await_end()
        ends.append(job.status)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: served(app) == 1, "it waits")
    broker._store.bells.strike_job = lambda id: None  # type: ignore[method-assign]
    job_again = app.get(job.id)
    assert job_again is not None
    job_again.cancel()
    clock.advance(LONGEST_LOOK + 1)
    turn(app)
    thread.join(WAIT)
    assert ends == ["cancelled"]


def test_an_error_of_the_broker_reaches_all_who_wait_and_the_next_wait_works() -> None:
    broker = CountingBroker()
    app = AppWith(broker)
    make_tasks(app)
    jobs = store_later(app, 5)
    broker.error = BrokerUnavailable("away")

    async def wait_for_all() -> list[Any]:
        return await asyncio.gather(*(job.aresult() for job in jobs), return_exceptions=True)

    assert [str(error) for error in asyncio.run(wait_for_all())] == ["away"] * 5
    broker.error = None

    with pytest.raises(ResultTimeout):
        jobs[0].result(0)


def test_an_application_that_cannot_be_opened_says_so_to_who_waits() -> None:
    class Closed(AppWith):
        away = False

        @property
        def broker(self) -> FullBroker:
            if self.away:
                raise BrokerUnavailable("not there")

            return super().broker

    app = Closed(CountingBroker())
    make_tasks(app)
    (job,) = store_later(app, 1)
    app.away = True

    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match="not there"):
            job.result(WAIT)


def test_a_job_that_is_deleted_ends_the_waits_for_it(app: QueueTasks) -> None:
    make_tasks(app)
    app.task(name="brief", result_ttl=0)(lambda: None)
    job = app.tasks["brief"].using(run_in=3600).enqueue()

    async def wait_both() -> list[Any]:
        async with waiting(app, [job]) as (wait,):
            with app.worker():
                await asyncio.to_thread(job.retry)
                return list(await asyncio.gather(wait, return_exceptions=True))

    (error,) = asyncio.run(wait_both())
    assert isinstance(error, JobNotFound)


def test_waits_go_on_when_the_application_is_closed_meanwhile(tmp_path: Path) -> None:
    app = QueueTasks("shop", f"sqlite:///{tmp_path}/queue.db")
    make_tasks(app)
    before = app.broker
    (job,) = store_later(app, 1)

    async def wait_on() -> int:
        async with waiting(app, [job]) as (wait,):
            await asyncio.to_thread(app.close)
            await asyncio.to_thread(wait_until, lambda: served(app) == 1, "it waits again")

            with app.worker():
                assert await asyncio.to_thread(job.retry)
                return int(await asyncio.wait_for(wait, WAIT))

    assert asyncio.run(wait_on()) == 0
    assert app.broker is not before
    app.close()


def test_a_handle_whose_job_has_ended_starts_no_thread(app: QueueTasks) -> None:
    make_tasks(app)
    (job,) = store_later(app, 1)
    job.cancel()
    job.refresh()
    job.await_end()
    assert app.lookout._thread is None


# --- groups


def test_many_who_watch_one_group_cost_one_look_at_it() -> None:
    broker = CountingBroker()
    app = AppWith(broker)
    app.clock = clock = FakeClock()
    make_tasks(app)
    whole = group(app.tasks["work"].using(run_in=3600).s(number) for number in range(3)).enqueue()
    percents: list[float | None] = []

    async def watch() -> None:
        async for update in app.watch(whole.id):
            percents.append(update.progress.percent if update.progress else None)

    async def watch_often() -> None:
        watches = [asyncio.create_task(watch()) for _ in range(30)]
        await asyncio.to_thread(wait_until, lambda: len(percents) == 30, "everybody has seen it")
        assert len(broker.reads) <= 30
        broker.reads.clear()
        await asyncio.to_thread(whole.members()[0].cancel)
        clock.advance(GROUP_LOOK)
        turn(app)
        await asyncio.gather(*watches)

    asyncio.run(watch_often())


# --- where nobody can be told what has changed


def test_where_no_bell_can_be_hung_many_wait_all_the_same(tmp_path: Path) -> None:
    app = QueueTasks("shop", f"sqlite:///{tmp_path}/queue.db")
    make_tasks(app)
    jobs, before = store_later(app, 200), lookouts()
    (tmp_path / "queue.db-live").rmdir()

    async def wait_for_one() -> int:
        async with waiting(app, jobs):
            await asyncio.to_thread(jobs[7].cancel)
            job = await app.tasks["work"].using(run_in=3600).aenqueue(7)
            wait = asyncio.create_task(job.aawait_end(WAIT))
            assert await job.acancel()
            await wait
            return len(lookouts() - before)

    assert asyncio.run(wait_for_one()) == 1
    app.close()
