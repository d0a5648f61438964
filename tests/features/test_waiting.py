"""Jobs that wait for jobs: their slots are lent, and waits that could never end are refused."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cherga import Job, JobCancelled, JobFailed, QueueTasks, ResultTimeout, WouldDeadlock, ctx, group
from cherga.client.context import Context, set_current
from cherga.testing import wait_until
from cherga.words.claim import ClaimedJob
from cherga.words.clock import SystemClock
from cherga.worker.assignment import Assignment, Running
from cherga.worker.lending import Lending


@pytest.fixture(autouse=True)
def tasks(app: QueueTasks) -> None:
    @app.task
    def child(number: int) -> int:
        return number

    @app.task
    async def achild(number: int) -> int:
        await asyncio.sleep(0)
        return number

    @app.task
    def parent(kind: str, number: int) -> int:
        return int(app.tasks[kind].enqueue(number).result())

    @app.task
    async def aparent(kind: str, number: int) -> int:
        job = await app.tasks[kind].aenqueue(number)
        return int(await job.aresult())

    @app.task
    def tower(height: int) -> int:
        return 0 if height == 0 else 1 + int(app.tasks["tower"].enqueue(height - 1).result())

    @app.task
    async def atower(height: int) -> int:
        return 0 if height == 0 else 1 + int(await (await app.tasks["atower"].aenqueue(height - 1)).aresult())


class TestLentSlots:
    @pytest.mark.parametrize("kind", ["child", "achild"])
    @pytest.mark.parametrize("who", ["parent", "aparent"])
    def test_one_slot_is_enough_for_a_parent_and_its_child(self, app: QueueTasks, who: str, kind: str) -> None:
        with app.worker(threads=1, concurrency=1):
            assert app.tasks[who].enqueue(kind, 7).result(10) == 7

    @pytest.mark.parametrize("who", ["tower", "atower"])
    def test_one_slot_is_enough_for_a_tower_of_waits(self, app: QueueTasks, who: str) -> None:
        with app.worker(threads=1, concurrency=1):
            assert app.tasks[who].enqueue(12).result(20) == 12

    @pytest.mark.parametrize("who", ["parent", "aparent"])
    def test_many_parents_finish_whose_children_stand_behind_them_all(self, app: QueueTasks, who: str) -> None:
        with app.worker(threads=2, concurrency=2):
            kind = {"parent": "child", "aparent": "achild"}[who]
            jobs = app.tasks[who].enqueue_many([(kind, number) for number in range(20)])
            assert [job.result(20) for job in jobs] == list(range(20))

    @pytest.mark.parametrize("is_async", [False, True])
    def test_what_was_lent_is_given_back(self, app: QueueTasks, is_async: bool) -> None:
        running: list[int] = []
        most: list[int] = []

        def count(step: int) -> None:
            running.append(1) if step > 0 else running.pop()
            most.append(len(running))

        if is_async:

            @app.task(name="busy")
            async def abusy(number: int) -> None:
                count(1)
                await asyncio.sleep(0.005)
                count(-1)
        else:

            @app.task(name="busy")
            def busy(number: int) -> None:
                count(1)
                threading.Event().wait(0.005)
                count(-1)

        who, kind = ("aparent", "achild") if is_async else ("parent", "child")

        with app.worker(threads=2, concurrency=2):
            for job in app.tasks[who].enqueue_many([(kind, number) for number in range(6)]):
                job.result(10)

            for job in app.tasks["busy"].enqueue_many([(number,) for number in range(12)]):
                job.result(10)

        assert max(most) <= 2

    def test_a_wait_that_is_over_before_its_job_gives_the_slot_back_too(self, app: QueueTasks) -> None:
        @app.task
        def impatient() -> str:
            try:
                app.tasks["child"].using(run_in=60).enqueue(1).result(timeout=0.02)
            except ResultTimeout:
                return "gave up"

            return "waited"

        with app.worker(threads=1) as worker:
            assert impatient.enqueue().result(10) == "gave up"
            assert wait_until(lambda: worker.engine._threads.lent == 0, "nothing is lent")

    def test_waiting_for_several_at_once_lends_one_slot(self, app: QueueTasks) -> None:
        most: list[int] = []

        @app.task
        async def gatherer() -> list[int]:
            jobs = await app.tasks["child"].aenqueue_many([(number,) for number in range(5)])
            waits = asyncio.gather(*(job.aresult() for job in jobs))
            await asyncio.sleep(0.01)
            most.append(worker.engine._loop.lent)
            return list(await waits)

        with app.worker(threads=1, concurrency=1) as worker:
            assert gatherer.enqueue().result(10) == [0, 1, 2, 3, 4]

        assert max(most) <= 1

    def test_waiting_with_add_task_and_timeout_lends_too(self, app: QueueTasks) -> None:
        @app.task
        def parent_by_name() -> Any:
            return app.add_task("child", 3, timeout=10).result()

        with app.worker(threads=1):
            assert parent_by_name.enqueue().result(10) == 3


class TestBeingStopped:
    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_parent_that_is_cancelled_while_it_waits_ends_at_once(self, app: QueueTasks, is_async: bool) -> None:
        over = threading.Event()

        if is_async:

            @app.task(name="waiter")
            async def awaiter() -> None:
                try:
                    await app.tasks["child"].using(run_in=600).enqueue(1).aresult()
                finally:
                    over.set()
        else:

            @app.task(name="waiter")
            def waiter() -> None:
                try:
                    app.tasks["child"].using(run_in=600).enqueue(1).result()
                finally:
                    over.set()

        with app.worker():
            job = app.tasks["waiter"].enqueue()
            wait_until(lambda: app.jobs(task="child"), "the parent waits")
            job.cancel("enough")

            with pytest.raises(JobCancelled):
                job.result(5)

            assert over.wait(5)

    def test_a_parent_that_is_stopped_by_a_drain_is_an_interruption(self, app: QueueTasks) -> None:
        app.configure(app.name, app.broker_url, **{**app.given_settings, "grace": 0.2})

        @app.task
        def waiter() -> None:
            app.tasks["child"].using(run_in=600).enqueue(1).result()

        with app.worker():
            job = waiter.enqueue()
            wait_until(lambda: app.jobs(task="child"), "the parent waits")

        assert (job.refresh().status.value, job.interruptions) == ("ready", 1)

    def test_max_time_ends_a_wait(self, app: QueueTasks) -> None:
        over = threading.Event()

        @app.task(max_time=0.05)
        def waiter() -> None:
            try:
                app.tasks["child"].using(run_in=600).enqueue(1).result()
            finally:
                over.set()

        with app.worker(), pytest.raises(JobFailed, match="max_time"):
            waiter.enqueue().result(5)

        assert over.wait(5)


def fails_with(app: QueueTasks, body: Callable[[], Any]) -> str:
    """What the error of a job says whose function this is, and which must be ``WouldDeadlock``."""
    app.task("body")(body)

    with app.worker(threads=4), pytest.raises(JobFailed) as caught:
        app.tasks["body"].enqueue().result(10)

    assert caught.value.type_name == "cherga.words.errors.WouldDeadlock"
    return caught.value.message


class TestWaitsThatNeverEnd:
    def test_a_job_may_not_wait_for_itself(self, app: QueueTasks) -> None:
        message = fails_with(app, lambda: app.get(ctx.job_id).result())  # type: ignore[union-attr]
        assert message.endswith("(body) would wait for itself")

    async def wait_for_myself(self) -> None:
        await self.app.get(ctx.job_id).aresult()  # type: ignore[union-attr]

    def test_nor_an_async_one(self, app: QueueTasks) -> None:
        self.app = app
        assert "would wait for itself" in fails_with(app, self.wait_for_myself)

    def test_nor_for_the_holder_of_the_unique_key_that_it_holds(self, app: QueueTasks) -> None:
        @app.task(unique="the key")
        def holder() -> None:
            app.tasks["child"].using(unique="the key").enqueue(1).result()

        with app.worker(), pytest.raises(JobFailed, match="it holds the unique key 'the key' itself"):
            holder.enqueue().result(10)

    def test_nor_for_a_job_that_is_blocked_behind_it(self, app: QueueTasks) -> None:
        def body() -> None:
            me = app.get(ctx.job_id)
            assert me is not None
            app.tasks["child"].using(after=[me]).enqueue(1).result()

        assert "(child) is blocked behind this one" in fails_with(app, body)

    def test_nor_for_the_one_that_is_to_run_once_more_after_it(self, app: QueueTasks) -> None:
        @app.task(unique="the key", on_conflict="latest")
        def again(depth: int) -> None:
            if depth:
                again.enqueue(depth - 1).result()

        with app.worker(), pytest.raises(JobFailed, match=r"\(again\) is blocked behind this one"):
            again.enqueue(1).result(10)

    def test_nor_for_one_that_is_blocked_behind_others_behind_it(self, app: QueueTasks) -> None:
        def body() -> None:
            job: Job[Any] | None = app.get(ctx.job_id)

            for number in range(3):
                assert job is not None
                job = app.tasks["child"].using(after=[job]).enqueue(number)

            assert job is not None
            found = app.get(job.id)
            assert found is not None
            found.result()

        assert "(child) is blocked behind this one" in fails_with(app, body)

    def test_a_job_that_is_blocked_behind_another_one_may_be_waited_for(self, app: QueueTasks) -> None:
        @app.task
        def body() -> Any:
            first = app.tasks["child"].enqueue(1)
            return app.tasks["child"].using(after=[first]).enqueue(2).result()

        with app.worker(threads=1):
            assert body.enqueue().result(10) == 2

    @pytest.mark.parametrize("is_async", [False, True])
    def test_two_jobs_may_not_wait_for_each_other(self, app: QueueTasks, is_async: bool) -> None:
        both = threading.Barrier(2, timeout=5)

        def other(of: str) -> Job[Any]:
            (job,) = (job for job in app.jobs(task="waiter") if str(job.id) != of)
            return job

        if is_async:

            @app.task(name="waiter")
            async def awaiter(number: int) -> str:
                await asyncio.to_thread(both.wait)
                await other(str(ctx.job_id)).aresult()
                return "waited"
        else:

            @app.task(name="waiter")
            def waiter(number: int) -> str:
                both.wait()
                other(str(ctx.job_id)).result()
                return "waited"

        with app.worker():
            jobs = app.tasks["waiter"].enqueue_many([(1,), (2,)])
            wait_until(lambda: all(job.is_finished for job in jobs), "both have ended")

        errors = [job.refresh().error for job in jobs]
        assert any(error and "(waiter) waits for this one" in error.message for error in errors)

    @pytest.mark.parametrize("is_async", [False, True])
    def test_nor_for_a_job_that_its_own_limit_keeps_from_starting(self, app: QueueTasks, is_async: bool) -> None:
        if is_async:

            @app.task(name="inner", max_running=1)
            async def inner(depth: int) -> None:
                if depth:
                    await (await app.tasks["inner"].aenqueue(depth - 1)).aresult()
        else:

            @app.task(name="inner", max_running=1)
            def plain(depth: int) -> None:
                if depth:
                    app.tasks["inner"].enqueue(depth - 1).result()

        with app.worker(), pytest.raises(JobFailed, match="task:inner has 1 of 1 running, this one among them"):
            app.tasks["inner"].enqueue(1).result(10)

    def test_nor_for_a_group_with_such_a_job(self, app: QueueTasks) -> None:
        @app.task(max_running=1)
        def inner(depth: int) -> None:
            if depth:
                group(inner.si(0), app.tasks["child"].si(1)).enqueue().results()

        with app.worker(), pytest.raises(JobFailed, match=r"WouldDeadlock.*would wait for ever.*may not start"):
            inner.enqueue(1).result(10)

    def test_the_limit_of_a_queue_is_not_held_against_a_group_whose_members_run_elsewhere(self, app: QueueTasks) -> None:
        app.limit(queue="default", max_running=1)

        @app.task
        def outer() -> list[Any]:
            return group(app.tasks["child"].using(queue="elsewhere").si(number) for number in range(2)).enqueue().results()

        with app.worker():
            assert len(outer.enqueue().result(10)) == 2

    def test_a_limit_with_a_slot_free_is_no_reason_to_refuse(self, app: QueueTasks) -> None:
        @app.task(max_running=2)
        def inner(depth: int) -> int:
            return 1 + int(inner.enqueue(depth - 1).result()) if depth else 1

        with app.worker(threads=1):
            assert inner.enqueue(1).result(10) == 2

    def test_a_coroutine_may_not_hold_up_its_loop(self, app: QueueTasks) -> None:
        async def body() -> None:
            app.tasks["achild"].enqueue(1).result()

        assert "expected it to await job.aresult()" in fails_with(app, body)

    def test_a_job_that_has_ended_may_be_asked_by_anyone(self, app: QueueTasks) -> None:
        @app.task
        async def body(id: str) -> Any:
            job = await app.aget(id)
            assert job is not None
            return job.result()

        with app.worker():
            done = app.tasks["child"].enqueue(5)
            done.result(5)
            assert body.enqueue(str(done.id)).result(5) == 5


class Empty:
    """A runner with no slot left to lend."""

    def lend(self) -> bool:
        return False

    def reclaim(self) -> None:
        raise AssertionError("nothing was lent")

    def is_here(self) -> bool:
        return False


def test_when_every_slot_is_lent_a_wait_is_refused(app: QueueTasks) -> None:
    claimed = _claim(app)
    running = Running()
    task = app.tasks["child"]
    running.add(Assignment(claimed, task, task.policy))
    lending = Lending(lambda: app.broker, running, Empty(), Empty())
    other = task.enqueue(2)

    def wait_inside() -> None:
        set_current(Context(claimed, SystemClock, _Silent()))
        with lending.begin(other) as wait, wait.lend(lambda: None):
            raise AssertionError("it may wait")

    with pytest.raises(WouldDeadlock, match="too many jobs of this worker wait already"):
        contextvars.copy_context().run(wait_inside)


class _Silent:
    def touch(self, context: Context) -> None: ...


def _claim(app: QueueTasks) -> ClaimedJob:
    job = app.tasks["child"].enqueue(1)
    row = job.refresh().row
    return ClaimedJob(job.id, row.sequence, 1, "child", "default", 0, row.payload, None, 1, 1, 0, 0, 0.0, 0.0, None, None, None)
