"""Async callers share round trips, are told when an answer does not come, and never harm each other."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from uuid import UUID

import pytest

from cherga import BrokerUnavailable, EnqueueRefused, EnqueueUnknown, QueueTasks
from cherga.client.ids import new_id
from cherga.client.submit import MOST_GROUPS
from cherga.testing import wait_until
from cherga.words.push import Edge
from tests.odd_brokers import AppWith, FailingBroker, SlowBroker


def test_what_comes_while_the_broker_is_busy_goes_in_one_round_trip() -> None:
    broker = SlowBroker()
    task = AppWith(broker).task(name="work")(lambda x: None)

    async def enqueue_many() -> None:
        first = asyncio.ensure_future(task.aenqueue(0))
        await asyncio.to_thread(wait_until, lambda: broker.pushes, "the first push is under way")
        others = [asyncio.ensure_future(task.aenqueue(n)) for n in range(1, 50)]
        await asyncio.sleep(0)
        broker.gate.set()
        jobs = await asyncio.gather(first, *others)
        assert len({job.id for job in jobs}) == 50

    asyncio.run(enqueue_many())
    assert broker.pushes == [1, 49]
    assert len(broker.counts()) == 1


def test_what_is_asked_in_one_turn_of_a_loop_is_pushed_together_in_portions() -> None:
    broker = SlowBroker()
    broker.gate.set()
    task = AppWith(broker).task(name="work")(lambda x: None)

    async def enqueue_all(number: int) -> None:
        jobs = await asyncio.gather(*(task.aenqueue(n) for n in range(number)))
        assert len({job.id for job in jobs}) == number

    asyncio.run(enqueue_all(50))
    assert broker.pushes == [50]
    asyncio.run(enqueue_all(1200))
    assert sum(broker.pushes) == 1250
    assert max(broker.pushes) < 2 * MOST_GROUPS


def test_what_was_asked_just_before_the_application_is_closed_is_stored() -> None:
    broker = SlowBroker()
    broker.gate.set()
    app = AppWith(broker)
    task = app.task(name="work")(lambda x: None)

    async def enqueue_and_close() -> None:
        asked = asyncio.ensure_future(task.aenqueue(1))
        await asyncio.sleep(0)
        app.submitter.close()
        await asked

    asyncio.run(enqueue_and_close())
    assert broker.pushes == [1]


def test_a_refused_group_harms_no_other() -> None:
    broker = SlowBroker()
    task = AppWith(broker).task(name="work")(lambda: None)

    async def enqueue_three() -> None:
        first = asyncio.ensure_future(task.aenqueue())
        await asyncio.to_thread(wait_until, lambda: broker.pushes, "the first push is under way")
        others = [asyncio.ensure_future(prepared.aenqueue()) for prepared in (task.using(), task.using(after=[Edge(new_id())]))]
        await asyncio.sleep(0)
        broker.gate.set()
        good, bad = await asyncio.gather(*others, return_exceptions=True)
        assert not isinstance(good, BaseException)
        assert isinstance(bad, EnqueueRefused)
        await first

    asyncio.run(enqueue_three())
    assert broker.pushes == [1, 2]


def test_an_error_of_the_broker_reaches_the_caller_and_the_next_call_works() -> None:
    task = AppWith(FailingBroker(BrokerUnavailable("busy"))).task(name="work")(lambda: None)

    async def enqueue_twice() -> None:
        with pytest.raises(BrokerUnavailable, match="busy"):
            await task.aenqueue()

        await task.aenqueue()

    asyncio.run(enqueue_twice())


def test_a_broker_that_does_not_answer_in_time_leaves_the_job_unknown() -> None:
    broker = SlowBroker()
    app = AppWith(broker, enqueue_timeout=0.05)
    task = app.task(name="work")(lambda: None)

    with pytest.raises(EnqueueUnknown, match=r"did not answer within 0\.05 seconds") as caught:
        asyncio.run(task.aenqueue())

    id = caught.value.job_id
    assert id is not None
    assert str(id) in str(caught.value)
    broker.gate.set()
    assert asyncio.run(task.using(id=id).aenqueue()).id == id
    assert len(app.jobs()) == 1


def test_an_answer_that_comes_after_the_end_of_its_loop_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    broker = SlowBroker()
    task = AppWith(broker, enqueue_timeout=0.05).task(name="work")(lambda: None)

    with pytest.raises(EnqueueUnknown):
        asyncio.run(task.aenqueue())

    broker.gate.set()
    asyncio.run(task.aenqueue())
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_cancelled_enqueue_may_still_be_stored_and_disturbs_nobody() -> None:
    broker = SlowBroker()
    app = AppWith(broker)
    task = app.task(name="work")(lambda x: None)

    async def cancel_one() -> None:
        cancelled = asyncio.ensure_future(task.aenqueue(1))
        await asyncio.to_thread(wait_until, lambda: broker.pushes, "the push is under way")
        cancelled.cancel()
        broker.gate.set()
        await task.aenqueue(2)

        with pytest.raises(asyncio.CancelledError):
            await cancelled

    asyncio.run(cancel_one())
    assert len(app.jobs()) == 2


def test_what_is_cancelled_or_given_up_in_the_line_is_never_stored() -> None:
    broker = SlowBroker()
    app = AppWith(broker, enqueue_timeout=30)
    task = app.task(name="work")(lambda x: None)

    async def go_away() -> None:
        first = asyncio.ensure_future(task.aenqueue(1))
        await asyncio.to_thread(wait_until, lambda: broker.pushes, "the first push is under way")
        cancelled = asyncio.ensure_future(task.aenqueue(2))
        given_up = asyncio.ensure_future(asyncio.wait_for(task.aenqueue(3), 0.01))

        with pytest.raises(TimeoutError):
            await given_up

        cancelled.cancel()

        with pytest.raises(asyncio.CancelledError):
            await cancelled

        broker.gate.set()
        await first
        await task.aenqueue(4)

    asyncio.run(go_away())
    assert sorted(job.arguments["x"] for job in app.jobs()) == [1, 4]


def test_whatever_a_push_raises_the_next_one_works() -> None:
    task = AppWith(FailingBroker(cast(Exception, SystemExit()))).task(name="work")(lambda: None)

    async def enqueue_twice() -> None:
        with pytest.raises(BrokerUnavailable, match="SystemExit"):
            await task.aenqueue()

        await task.aenqueue()

    asyncio.run(enqueue_twice())


def test_several_event_loops_enqueue_at_the_same_time() -> None:
    app = QueueTasks("shop", "memory://")
    task = app.task(name="work")(lambda x: None)

    async def enqueue_some(start: int) -> int:
        jobs = await asyncio.gather(*(task.aenqueue(start + n) for n in range(25)))
        return len({job.id for job in jobs})

    with ThreadPoolExecutor(4) as loops:
        counts = list(loops.map(lambda start: asyncio.run(enqueue_some(start)), range(0, 400, 100)))

    assert counts == [25] * 4
    assert len(app.jobs()) == 100


def test_threads_start_with_the_first_async_call_and_end_with_close() -> None:
    app = QueueTasks("shop", "memory://")
    task = app.task(name="work")(lambda: None)
    before = set(threading.enumerate())
    task.enqueue()

    assert set(threading.enumerate()) == before
    asyncio.run(task.aenqueue())
    started = set(threading.enumerate()) - before
    assert [thread.name for thread in started] == ["cherga-submit"]
    app.close()
    wait_until(lambda: not any(thread.is_alive() for thread in started), "the thread has ended")


def test_an_application_that_was_closed_opens_again() -> None:
    app = QueueTasks("shop", "memory://again")
    task = app.task(name="work")(lambda: None)
    keep = app.broker  # a memory broker lives as long as somebody holds it

    async def enqueue_close_and_enqueue() -> None:
        await task.aenqueue()
        app.close()
        app.close()
        await task.aenqueue()

    asyncio.run(enqueue_close_and_enqueue())
    assert len(app.jobs()) == 2
    assert keep is not app.broker


def test_each_who_shared_a_push_that_could_not_be_synced_is_told_its_own_id() -> None:
    task = AppWith(FailingBroker(EnqueueUnknown("the log could not be synced"))).task(name="work")(lambda x: None)
    ids = [new_id(), new_id()]

    async def enqueue(id: UUID) -> None:
        with pytest.raises(EnqueueUnknown, match="the log could not be synced") as caught:
            await task.using(id=id).aenqueue(1)

        assert caught.value.job_id == id

    async def enqueue_both() -> None:
        await asyncio.gather(*map(enqueue, ids))

    asyncio.run(enqueue_both())
