"""Limits, caps and pauses as users meet them, with an embedded worker."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cherga import ConfigError, EnqueueRefused, JobState, QueueTasks, Reason, ctx, group
from cherga.testing import wait_until


class Gauge:
    """Counts how many are inside at once, by name, and lets them out when told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.entered: list[str] = []
        self.open = threading.Event()

    @contextmanager
    def inside(self, name: str = "") -> Iterator[None]:
        with self._lock:
            self._now[name] += 1
            self.entered.append(name)
            self.most[name] = max(self.most[name], self._now[name])

        try:
            yield
        finally:
            with self._lock:
                self._now[name] -= 1

    def wait(self, name: str = "") -> None:
        with self.inside(name):
            assert self.open.wait(10)


@pytest.fixture
def gauge() -> Gauge:
    return Gauge()


def finished(app: QueueTasks, count: int) -> bool:
    return len(app.jobs(states=[JobState.SUCCEEDED], limit=1000)) == count


class TestMaxRunning:
    def test_no_more_jobs_of_a_task_run_at_once(self, app: QueueTasks, gauge: Gauge) -> None:
        @app.task(max_running=2)
        def work() -> None:
            gauge.wait()

        with app.worker(threads=6):
            work.enqueue_many([()] * 8)
            wait_until(lambda: len(gauge.entered) == 2, "two run")
            gauge.open.set()
            wait_until(lambda: finished(app, 8), "all have run")

        assert gauge.most[""] == 2

    def test_each_value_of_the_key_has_slots_of_its_own(self, app: QueueTasks, gauge: Gauge) -> None:
        @app.task(max_running=1, key=lambda user: user)
        def work(user: str) -> None:
            gauge.wait(user)

        with app.worker(threads=6):
            work.enqueue_many([("ann",), ("ann",), ("bob",), ("ann",)])
            wait_until(lambda: sorted(gauge.entered) == ["ann", "bob"], "one of each runs")
            gauge.open.set()
            wait_until(lambda: finished(app, 4), "all have run")

        assert gauge.most == {"ann": 1, "bob": 1}

    def test_somebody_with_many_jobs_does_not_keep_others_waiting(self, app: QueueTasks, gauge: Gauge) -> None:
        @app.task(max_running=5, key="user")
        def work(user: str) -> None:
            with gauge.inside(user):
                pass

        work.enqueue_many([("many",)] * 50)
        work.enqueue_many([("few",)] * 2)

        with app.worker(threads=1):
            wait_until(lambda: finished(app, 52), "all have run")

        assert {place for place, user in enumerate(gauge.entered) if user == "few"} <= set(range(12))

    def test_two_workers_keep_one_limit(self, app: QueueTasks, gauge: Gauge) -> None:
        @app.task(max_running=1)
        def work() -> None:
            with gauge.inside():
                pass

        with app.worker(threads=3, name="one"), app.worker(threads=3, name="two"):
            work.enqueue_many([()] * 30)
            wait_until(lambda: finished(app, 30), "all have run")

        assert gauge.most[""] == 1

    def test_a_queue_can_have_one_too(self, app: QueueTasks, gauge: Gauge) -> None:
        app.limit(queue="mail", max_running=1)

        @app.task(queue="mail")
        def send() -> None:
            gauge.wait()

        @app.task(queue="mail")
        async def asend() -> None: ...

        with app.worker(threads=4):
            send.enqueue()
            wait_until(lambda: len(gauge.entered) == 1, "one runs")
            other = asend.enqueue()
            assert app.limits.get(queue="mail").running == 1
            gauge.open.set()
            other.await_end(10)

    def test_a_thread_past_its_time_keeps_its_slot_until_it_ends(self, app: QueueTasks, gauge: Gauge) -> None:
        told = threading.Event()

        @app.task(max_running=1, max_time=0.1)
        def work() -> None:
            ctx.sleep(10)
            told.set()
            gauge.wait()

        with app.worker(threads=2):
            first, second = work.enqueue_many([()] * 2)
            assert told.wait(5)
            assert second.refresh().status is JobState.READY
            gauge.open.set()
            first.await_end(10)
            second.await_end(10)

        assert first.reason is Reason.TIMEOUT
        assert gauge.most[""] == 1


class TestChangedAtRunTime:
    def test_a_limit_is_set_raised_and_taken_back_while_workers_run(self, app: QueueTasks, gauge: Gauge) -> None:
        @app.task
        def work() -> None:
            gauge.wait()

        with app.worker(threads=8):
            app.limits.set(task="work", max_running=0)
            work.enqueue_many([()] * 6)
            app.limits.set(task="work", max_running=2)
            wait_until(lambda: len(gauge.entered) == 2, "two run")
            app.limits.set(task="work", max_running=3)
            wait_until(lambda: len(gauge.entered) == 3, "three run")
            app.limits.reset(task="work")
            wait_until(lambda: len(gauge.entered) == 6, "all run")
            gauge.open.set()

    def test_what_is_set_goes_before_what_the_code_declares_until_it_is_taken_back(self, app: QueueTasks) -> None:
        @app.task(max_running=4, rate_limit="100/m")
        def work() -> None: ...

        app.publish()
        app.limits.set(task="work", max_running=1)
        app.publish()
        rule = app.limits.get(task="work").rule
        assert (rule.max_running, rule.rate and rule.rate.count) == (1, 100)
        app.limits.reset(task="work")
        assert app.limits.get(task="work").rule.max_running == 4

    def test_a_limit_that_the_code_no_longer_declares_goes(self, app: QueueTasks) -> None:
        app.limit(queue="mail", max_running=1)
        app.publish()
        app.declared_limits.clear()
        app.publish()
        assert app.limits.get(queue="mail").rule.max_running is None

    def test_one_value_of_a_key_may_have_a_limit_of_its_own(self, app: QueueTasks, gauge: Gauge) -> None:
        @app.task(max_running=1, key="user")
        def work(user: str) -> None:
            gauge.wait(user)

        with app.worker(threads=8):
            app.limits.set(task="work", key="vip", max_running=3)
            work.enqueue_many([("vip",)] * 4 + [("ann",)] * 2)
            wait_until(lambda: len(gauge.entered) == 4, "three of one and one of the other run")
            gauge.open.set()
            wait_until(lambda: finished(app, 6), "all have run")

        assert gauge.most == {"vip": 3, "ann": 1}


class TestRates:
    def test_no_more_start_within_the_period(self, app: QueueTasks) -> None:
        @app.task(rate_limit="3/0.5s")
        def work() -> None: ...

        with app.worker(threads=4):
            work.enqueue_many([()] * 9)
            wait_until(lambda: finished(app, 9), "all have run")

        starts = sorted(job.started_at.timestamp() for job in app.jobs() if job.started_at)
        # By the broker's clock, which wrote the starts down in the claims that counted them.
        assert all(later - earlier >= 0.5 - 1e-6 for earlier, later in zip(starts, starts[3:], strict=False))

    def test_a_rate_can_be_by_key(self, app: QueueTasks, gauge: Gauge) -> None:
        @app.task(rate_limit="1/h", key="user")
        def work(user: str) -> None:
            with gauge.inside(user):
                pass

        with app.worker(threads=4):
            work.enqueue_many([("ann",), ("ann",), ("bob",)])
            wait_until(lambda: finished(app, 2), "one of each has run")

        assert sorted(gauge.entered) == ["ann", "bob"]


class TestQueueCaps:
    def test_a_full_queue_refuses(self, app: QueueTasks) -> None:
        @app.task(queue="mail")
        def send(number: int) -> None: ...

        app.limits.set(queue="mail", max_length=2)
        send.enqueue_many([(1,), (2,)])

        with pytest.raises(EnqueueRefused, match="queue 'mail' is full"):
            send.enqueue(3)

        assert len(app.jobs()) == 2

    def test_a_flow_that_no_queue_of_that_length_can_take_is_told_so(self, app: QueueTasks) -> None:
        @app.task(queue="mail")
        def send(number: int) -> None: ...

        app.limits.set(queue="mail", max_length=2)

        with pytest.raises(EnqueueRefused, match="0 jobs wait, its limit allows 2, and more than 2 came together"):
            group(send.s(number) for number in range(3)).enqueue()

        assert app.jobs() == []

    def test_or_drops_the_oldest(self, app: QueueTasks) -> None:
        @app.task(queue="mail")
        def send(number: int) -> None: ...

        app.limits.set(queue="mail", max_length=2, overflow="drop_oldest")
        first, second = send.enqueue_many([(1,), (2,)])
        third = send.enqueue(3)

        assert (first.refresh().status, first.reason) == (JobState.CANCELLED, Reason.DROPPED)
        assert {second.refresh().status, third.refresh().status} == {JobState.READY}


class TestPauses:
    def test_a_task_can_be_paused_for_given_arguments(self, app: QueueTasks) -> None:
        @app.task
        def send(user: int, text: str = "") -> int:
            return user

        scope = app.pause(task="send", arguments={"user": 7})
        assert app.paused() == [scope]
        held, free = send.enqueue(7, "hello"), send.enqueue(8)

        with app.worker():
            assert free.result(5) == 8
            assert held.refresh().status is JobState.READY
            app.resume(task="send", arguments={"user": 7})
            assert held.result(5) == 7

    @pytest.mark.parametrize("what", [{}, {"queue": "default"}, {"task": "send"}, {"queue": "default", "task": "send"}])
    def test_what_is_paused_goes_on_when_it_is_resumed(self, app: QueueTasks, what: dict[str, Any]) -> None:
        send = app.task(name="send")(lambda user: user)
        app.pause(**what)
        job = send.enqueue(7)

        with app.worker():
            other = app.task(name="other", queue="other")(lambda: "free").enqueue()
            assert not what or other.result(5) == "free"
            assert job.refresh().status is JobState.READY
            app.resume(**what)
            assert job.result(5) == 7

    def test_arguments_need_a_task(self, app: QueueTasks) -> None:
        with pytest.raises(ConfigError, match="expected a task together with arguments"):
            app.pause(arguments={"user": 7})


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_running": -1}, "expected max_running to be a whole number, 0 or more"),
            ({"max_running": "3"}, "expected max_running to be a whole number"),
            ({"rate_limit": "fast"}, "expected a rate like '100/m'"),
            ({"rate_limit": "0/m"}, "expected a rate like '100/m'"),
            ({"rate_limit": "10/0s"}, "expected a rate like '100/m'"),
            ({"rate_limit": 5}, "expected a rate like '100/m'"),
            ({"key": "user"}, "expected key together with max_running or rate_limit"),
            ({"key": "usr", "max_running": 1}, "expected key to name its parameters, got 'usr'; did you mean 'user'"),
            ({"key": [], "max_running": 1}, "expected key to name at least one argument"),
        ],
    )
    def test_it_is_named_where_the_task_is_declared(self, app: QueueTasks, options: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=rf"test_limits\.py:\d+\): {message}"):

            @app.task(**options)  # type: ignore[call-overload]
            def work(user: str) -> None: ...

    @pytest.mark.parametrize(
        ("which", "message"),
        [
            ({"queue": "mail", "overflow": "explode"}, "expected overflow to be 'reject' or 'drop_oldest'"),
            ({"task": "work", "max_length": 3}, "expected max_length for a queue, got it for task:work"),
            ({"max_running": 3}, "expected queue, or task, or task and key"),
            ({"queue": "a", "task": "b"}, "expected queue, or task, or task and key"),
        ],
    )
    def test_a_change_at_run_time_is_checked_too(self, app: QueueTasks, which: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            app.limits.set(**which)  # type: ignore[arg-type]
