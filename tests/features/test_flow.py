"""Chains and groups: jobs that wait for jobs, fed with the results of those before them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import uuid4

import pytest

from cherga import (
    ConfigError,
    EnqueueRefused,
    Event,
    GroupJob,
    InvalidArguments,
    Job,
    JobCancelled,
    JobFailed,
    JobState,
    QueueTasks,
    Reason,
    Router,
    Task,
    chain,
    ctx,
    group,
    shared_task,
)
from cherga.testing import wait_until
from cherga.words.job import Edge

LONG = 10.0


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine function as a test."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def live() -> None:
            await test(*args, **kwargs)

        asyncio.run(live())

    return run


class Wanted(Exception):
    """Raised by tasks that are to fail."""


class Tasks:
    """The tasks of most tests."""

    def __init__(self, app: QueueTasks) -> None:
        self.ran: list[Any] = []
        self.add = app.task("add")(self._add)
        self.total = app.task("total")(self._total)
        self.fail = app.task("fail")(self._fail)

        @app.task
        async def double(number: int) -> int:
            return number * 2

        @app.task
        def count(upto: int) -> Iterator[int]:
            yield from range(upto)

        @app.task
        async def acount(upto: int) -> AsyncIterator[int]:
            for number in range(upto):
                yield number

        self.double, self.count, self.acount = double, count, acount

    def _add(self, a: int, b: int = 0) -> int:
        self.ran.append(a)
        return a + b

    def _total(self, numbers: list[int | None]) -> int:
        return sum(number or 0 for number in numbers)

    def _fail(self, number: int = 0) -> int:
        raise Wanted("no")


@pytest.fixture
def tasks(app: QueueTasks) -> Tasks:
    return Tasks(app)


def states(jobs: list[Job[Any]]) -> list[JobState]:
    return [job.refresh().status for job in jobs]


class TestChains:
    def test_each_step_is_given_the_result_before_it_whatever_kind_of_task_it_is(self, app: QueueTasks, tasks: Tasks) -> None:
        steps = chain(tasks.add.s(1, 2), tasks.double.s(), tasks.count.s(), tasks.total.s(), tasks.acount.s(), tasks.total.s())

        with app.worker():
            assert steps.enqueue().result(LONG) == sum(range(sum(range(6))))

    def test_a_step_of_si_waits_and_takes_nothing(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            assert chain(tasks.add.s(1, 2), tasks.add.si(10, 20), tasks.add.s(5)).enqueue().result(LONG) == 35

        assert tasks.ran == [1, 10, 30]

    def test_a_step_may_take_further_arguments_by_name(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            assert chain(tasks.add.s(1), tasks.add.s(b=5)).enqueue().result(LONG) == 6

    @in_a_loop
    async def test_it_can_be_enqueued_and_awaited(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            job = await chain(tasks.add.s(1, 1), tasks.double.s()).aenqueue()
            assert await job.aresult(LONG) == 4

    def test_chains_in_chains_are_one_chain(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            inner = chain(tasks.add.s(10), tasks.double.s())
            assert chain(tasks.add.s(1), inner, tasks.add.s(3)).enqueue().result(LONG) == 25

    @pytest.mark.parametrize("given", [(1, 2), (1, 2, 3)])
    def test_arguments_that_would_not_fit_are_refused_where_the_chain_is_enqueued(
        self, tasks: Tasks, given: tuple[int, ...]
    ) -> None:
        with pytest.raises(InvalidArguments, match=r"add.*fed with a result first"):
            chain(tasks.add.s(1), tasks.add.s(*given)).enqueue()

    def test_a_task_without_parameters_cannot_be_fed(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def nothing() -> None: ...

        with pytest.raises(InvalidArguments, match="nothing"):
            chain(tasks.add.s(1), nothing.s()).enqueue()

        with app.worker():
            assert chain(tasks.add.s(1), nothing.si()).enqueue().result(LONG) is None

    def test_nothing_of_a_chain_is_stored_when_a_step_is_refused(self, app: QueueTasks, tasks: Tasks) -> None:
        with pytest.raises(InvalidArguments):
            chain(tasks.add.s(1), tasks.add.s("two", "three", "four")).enqueue()

        assert app.jobs() == []

    def test_a_result_of_the_wrong_type_fails_the_step_and_cancels_those_behind_it(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def text(number: int) -> str:
            return "no number"

        with app.worker():
            last = chain(text.s(1), tasks.add.s(), tasks.double.s()).enqueue()

            with pytest.raises(JobCancelled) as caught:
                last.result(LONG)

        (misfit,) = app.jobs(task="add")
        assert caught.value.reason is Reason.UPSTREAM
        assert (misfit.status, misfit.reason) == (JobState.FAILED, Reason.INVALID_ARGUMENTS)
        assert misfit.error is not None
        assert "'a'" in misfit.error.message

    def test_a_failure_cancels_all_that_stands_behind_it(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            last = chain(tasks.fail.s(), *[tasks.add.s(1)] * 5).enqueue()

            with pytest.raises(JobCancelled, match="upstream"):
                last.result(LONG)

            wait_until(lambda: {job.status for job in app.jobs(task="add")} == {JobState.CANCELLED}, "all are cancelled")

        assert tasks.ran == []

    def test_a_retried_step_is_fed_again(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task(retry=1)
        def once_more(number: int) -> int:
            if ctx.attempt == 1:
                raise Wanted

            return number + 1

        with app.worker():
            job = chain(tasks.add.s(1), once_more.s()).enqueue()
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
            job.retry()
            assert job.result(LONG) == 2

    def test_results_that_are_not_kept_are_delivered_all_the_same(self, app: QueueTasks, tasks: Tasks) -> None:
        fleeting = tasks.add.using(result_ttl=0)

        with app.worker():
            assert chain(fleeting.s(1, 1), fleeting.s(2), tasks.double.s()).enqueue().result(LONG) == 8

    def test_steps_keep_their_options(self, app: QueueTasks, tasks: Tasks) -> None:
        last = chain(tasks.add.s(1), tasks.double.using(queue="far", owner="user:7", description="Doubling").s()).enqueue()

        assert (last.queue, last.owner, last.description) == ("far", "user:7", "Doubling")

    def test_a_unique_key_made_of_arguments_is_refused_for_a_step_that_is_fed(self, tasks: Tasks) -> None:
        with pytest.raises(ConfigError, match="si"):
            chain(tasks.add.s(1), tasks.add.using(unique=True).s()).enqueue()

    def test_who_holds_the_unique_key_of_a_step_stands_in_for_it(self, app: QueueTasks, tasks: Tasks) -> None:
        unique = tasks.add.using(unique=True)
        holder = unique.enqueue(1, 2)
        last = chain(unique.s(1, 2), tasks.double.s()).enqueue()

        with app.worker():
            assert last.result(LONG) == 6

        assert [job.id for job in app.jobs(task="add")] == [holder.id]

    def test_a_chain_of_which_another_holds_the_last_key_gives_that_job(self, app: QueueTasks, tasks: Tasks) -> None:
        holder = tasks.add.using(unique="one").enqueue(5)
        assert chain(tasks.double.s(1), tasks.add.using(unique="one").s()).enqueue() == holder


class TestGroups:
    def test_results_stand_in_the_order_of_the_members(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            job = group(tasks.add.s(number, number) for number in range(20)).enqueue()
            assert job.results(LONG) == job.result(LONG) == [2 * number for number in range(20)]
            assert [member.result() for member in job.members()] == job.results()

        assert (job.progress.done, job.progress.total) == (20, 20)

    @in_a_loop
    async def test_it_can_be_enqueued_and_awaited(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            job = await group(tasks.add.s(1), tasks.double.s(1)).aenqueue()
            assert await job.aresults(LONG) == await job.aresult(LONG) == [1, 2]
            assert [member.task_name for member in await job.amembers()] == ["add", "double"]
            assert (await job.aprogress()).percent == 100.0

    def test_results_are_of_the_types_that_the_tasks_return(self, app: QueueTasks) -> None:
        @app.task
        def wait(seconds: int) -> timedelta:
            return timedelta(seconds=seconds)

        with app.worker():
            assert group(wait.s(1), group(wait.s(2))).enqueue().results(LONG) == [timedelta(seconds=1), [timedelta(seconds=2)]]

    def test_then_is_given_the_list_of_results(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            job = group((tasks.add.s(number) for number in range(5)), then=tasks.total.s()).enqueue()
            assert job.callback is not None
            assert job.callback.result(LONG) == 10
            assert job.results() == [0, 1, 2, 3, 4]

    def test_groups_and_chains_stand_in_each_other(self, app: QueueTasks, tasks: Tasks) -> None:
        inner = group(tasks.add.s(1), chain(tasks.add.s(2), tasks.double.s()))

        with app.worker():
            assert group(inner, tasks.add.s(3), chain(tasks.add.s(4))).enqueue().results(LONG) == [[1, 4], 3, 4]
            assert chain(tasks.add.s(5), group(tasks.add.s(1), tasks.double.s()), tasks.total.s()).enqueue().result(LONG) == 16
            assert chain(group(tasks.add.s(1)), tasks.total.s(), group(tasks.double.s())).enqueue().result(LONG) == [2]

    def test_a_member_with_a_callback_of_its_own_is_its_callback(self, app: QueueTasks, tasks: Tasks) -> None:
        inner = group(tasks.add.s(1), tasks.add.s(2), then=tasks.total.s())

        with app.worker():
            assert group(inner, tasks.add.s(4)).enqueue().results(LONG) == [3, 4]
            assert chain(inner, tasks.double.s()).enqueue().result(LONG) == 6

    def test_an_empty_group_has_succeeded_with_nothing(self, app: QueueTasks, tasks: Tasks) -> None:
        job: GroupJob[int] = group([], then=tasks.total.s()).enqueue()

        assert job.status is JobState.SUCCEEDED
        assert job.results() == []

        with app.worker():
            assert job.callback is not None
            assert job.callback.result(LONG) == 0
            assert chain(tasks.add.s(1), group(), tasks.total.s()).enqueue().result(LONG) == 0
            assert group(group(), tasks.add.s(1)).enqueue().results(LONG) == [[], 1]

    def test_a_failed_member_cancels_group_and_callback_and_leaves_the_others_alone(
        self, app: QueueTasks, tasks: Tasks
    ) -> None:
        with app.worker():
            job = group(tasks.fail.s(), tasks.add.using(run_in=0.2).s(1), then=tasks.total.s()).enqueue()
            failed, other = job.members()

            with pytest.raises(JobCancelled, match="upstream"):
                job.results(LONG)

            assert job.callback is not None
            assert wait_until(lambda: job.callback.is_cancelled, "the callback is cancelled")  # type: ignore[union-attr]
            assert other.result(LONG) == 1

        assert states([failed]) == [JobState.FAILED]

    def test_with_the_policy_ended_everybody_counts(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            job = group(tasks.add.s(1), tasks.fail.s(), tasks.add.s(2), then=tasks.total.s(), policy="ended").enqueue()
            assert job.results(LONG) == [1, None, 2]
            assert job.callback is not None
            assert job.callback.result(LONG) == 3

    def test_with_the_policy_together_the_first_failure_cancels_the_others(self, app: QueueTasks, tasks: Tasks) -> None:
        began, stopped = threading.Event(), threading.Event()

        @app.task
        async def endless() -> None:
            began.set()

            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        @app.task
        def fails_then() -> None:
            assert began.wait(LONG)
            raise Wanted

        with app.worker():
            parts = (endless.s(), fails_then.s(), tasks.add.using(run_in=3600).s(1))
            job = group(*parts, then=tasks.total.si([]), policy="together").enqueue()
            wait_until(lambda: {member.refresh().status.final for member in job.members()} == {True}, "all have ended")
            assert stopped.wait(LONG)
            assert states(job.members()) == [JobState.CANCELLED, JobState.FAILED, JobState.CANCELLED]
            assert job.callback is not None
            assert states([job, job.callback]) == [JobState.CANCELLED] * 2

        assert tasks.ran == []

    @pytest.mark.parametrize("is_async", [False, True])
    @in_a_loop
    async def test_cancel_reaches_what_waits_and_what_runs(self, app: QueueTasks, tasks: Tasks, is_async: bool) -> None:
        began = threading.Event()
        heard: list[Event] = []
        app.on.cancelled(heard.append)

        @app.task
        async def endless() -> None:
            began.set()
            await asyncio.Event().wait()

        with app.worker():
            job = group(endless.s(), tasks.add.using(run_in=3600).s(1), group(tasks.add.using(run_in=3600).s(2))).enqueue()
            assert await asyncio.to_thread(began.wait, LONG)
            assert await job.acancel("enough") if is_async else job.cancel("enough")
            members = await job.amembers()
            await asyncio.to_thread(wait_until, lambda: set(states(members)) == {JobState.CANCELLED}, "all are cancelled")
            assert not job.cancel()

        assert {member.message for member in members} == {"enough"}
        assert states([job, *members[2].members()]) == [JobState.CANCELLED] * 2  # type: ignore[attr-defined]
        assert job.id in {event.job_id for event in heard}

    def test_a_message_of_a_cancellation_has_to_be_text(self, tasks: Tasks) -> None:
        job = group(tasks.add.s(1)).enqueue()

        with pytest.raises(ConfigError, match="message"):
            job.cancel(7)  # type: ignore[arg-type]

    def test_a_failed_member_that_is_retried_does_not_bring_its_group_back(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task(retry=1)
        def second_time() -> int:
            if ctx.attempt == 1:
                raise Wanted

            return 7

        with app.worker():
            job = group(second_time.s(), tasks.add.s(1)).enqueue()
            member = job.members()[0]
            wait_until(lambda: member.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
            member.retry()
            assert job.results(LONG) == [7, 1]

            lost = group(tasks.fail.s(), tasks.add.s(1)).enqueue()
            wait_until(lambda: lost.is_cancelled, "the group is lost")
            assert lost.members()[0].retry()
            assert not lost.retry()

    def test_who_holds_the_unique_key_of_a_member_stands_in_for_it(self, app: QueueTasks, tasks: Tasks) -> None:
        unique = tasks.add.using(unique=True)
        holder = unique.enqueue(10)
        job = group(tasks.add.s(1), unique.s(10), tasks.add.s(2), unique.s(3), unique.s(3), then=tasks.total.s()).enqueue()

        assert job.members()[1] == holder

        with app.worker():
            assert job.results(LONG) == [1, 10, 2, 3, 3]
            assert job.callback is not None
            assert job.callback.result(LONG) == 19

        assert len(app.jobs(task="add")) == 4

    def test_who_has_ended_and_still_holds_the_key_stands_in_too(self, app: QueueTasks, tasks: Tasks) -> None:
        once = tasks.add.using(unique="today", unique_for=3600)

        with app.worker():
            once.enqueue(10).result(LONG)
            assert group(once.s(10), tasks.add.s(1)).enqueue().results(LONG) == [10, 1]
            assert chain(once.s(10), tasks.add.s(1)).enqueue().result(LONG) == 11

    def test_results_of_members_that_are_not_kept_are_delivered(self, app: QueueTasks, tasks: Tasks) -> None:
        fleeting = tasks.add.using(result_ttl=0)

        with app.worker():
            job = group((fleeting.s(number) for number in range(3)), then=tasks.total.using(result_ttl=60).s()).enqueue()
            assert job.callback is not None
            assert job.callback.result(LONG) == 3
            assert job.results() == [0, 1, 2]

    def test_members_are_kept_as_long_as_their_group(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.worker():
            job = group(tasks.add.using(result_ttl=0).s(1), tasks.add.using(result_ttl=5).s(2)).enqueue()
            assert job.results(LONG) == [1, 2]

        app.broker.time_offset = 3600
        app.broker.prune()
        assert job.results() == [1, 2]

        app.broker.time_offset = 90_000
        wait_until(lambda: not app.broker.prune(), "everything old is deleted")
        assert app.jobs() == []

    def test_the_handle_is_found_again_by_its_id(self, app: QueueTasks, tasks: Tasks) -> None:
        job = group(tasks.add.s(1), tasks.add.s(2)).enqueue()
        found = app.get(job.id)

        assert isinstance(found, GroupJob)
        assert found == job == Job.fetch(job.id, app)
        assert [type(each) for each in (Job.fetch(job.id, app), app.jobs()[0])] == [GroupJob, GroupJob]

    def test_the_progress_is_the_sum_of_what_has_ended_and_what_runs(self, app: QueueTasks, tasks: Tasks) -> None:
        half, go_on = threading.Event(), threading.Event()

        @app.task
        def by_halves() -> None:
            ctx.progress(1, 2)
            half.set()
            assert go_on.wait(LONG)

        later = tasks.add.using(queue="never")

        with app.worker(queues=["default"]):
            job = group(tasks.add.s(1), by_halves.s(), later.s(1), group(tasks.add.s(1), later.s(1))).enqueue()
            wait_until(lambda: job.progress.done == 2.0, "one has ended, one half, of the inner group one half")
            assert job.progress.total == 4
            assert job.total_progress == job.progress
            go_on.set()
            wait_until(lambda: job.progress.done == 2.5, "the one that ran has ended")


class TestBadInput:
    @pytest.mark.parametrize("wrong", [7, "add", None, {"a": 1}, len])
    def test_what_is_no_step_is_refused(self, tasks: Tasks, wrong: Any) -> None:
        makers: list[Callable[[], object]] = [
            lambda: chain(tasks.add.s(1), wrong),
            lambda: group(tasks.add.s(1), wrong),
            lambda: group(wrong),
            lambda: group(tasks.add.s(1), then=wrong or tasks.add),
        ]

        for make in makers:
            with pytest.raises(ConfigError, match="steps such as task"):
                make()

    def test_a_task_in_place_of_a_step_is_refused(self, tasks: Tasks) -> None:
        with pytest.raises(ConfigError, match="steps such as task"):
            chain(tasks.add, tasks.add.s())  # type: ignore[call-overload]

    def test_an_empty_chain_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="at least one"):
            chain()

    @pytest.mark.parametrize("policy", ["all", "", None, 3])
    def test_an_unknown_policy_is_refused(self, tasks: Tasks, policy: Any) -> None:
        with pytest.raises(ConfigError, match="'succeeded', 'ended', 'together'"):
            group(tasks.add.s(1), policy=policy)

    def test_jobs_that_wait_for_each_other_are_refused_with_the_reason(self, app: QueueTasks, tasks: Tasks) -> None:
        one, two = uuid4(), uuid4()
        steps = [tasks.add.using(id=a, after=[Edge(b)]).s(1) for a, b in ((one, two), (two, one))]

        with pytest.raises(EnqueueRefused, match="circle"):
            group(*steps).enqueue()

        assert app.jobs() == []

    def test_tasks_of_two_applications_are_refused(self, tasks: Tasks) -> None:
        other = Tasks(QueueTasks("other", "memory://"))

        with pytest.raises(ConfigError, match="one application"):
            group(tasks.add.s(1), other.add.s(2)).enqueue()


def test_steps_of_routers_shared_and_echo_tasks(app: QueueTasks) -> None:
    router = Router()

    @router.task
    def of_router(number: int) -> int:
        return number + 1

    @shared_task(name="flow_of_shared")
    def of_shared(number: int) -> int:
        return number + 10

    @app.task(echo=True)
    def of_echo(self: Any, number: int) -> int:
        return number + 100 * int(self.ctx.attempt)

    app.include_router(router)

    with app.worker():
        steps = chain(of_router.s(0), of_shared.s(), of_echo.s(), of_router.using(priority=3).s())
        assert steps.enqueue().result(LONG) == 112
        assert group(of_router.s(0), of_echo.s(0)).enqueue().results(LONG) == [1, 100]


def test_steps_by_name_need_no_declaration(app: QueueTasks) -> None:
    app.tasks_from("tests.features.dotted_steps")  # which only a worker loads
    step = "tests.features.dotted_steps.increase"
    job = chain(app.s(step, 1), app.s(step, by=10), app.s(step, by=100)).enqueue()
    wrong = chain(app.s(step, 1), app.s(step, nobody_knows=1)).enqueue()

    with app.worker():
        assert job.result(LONG) == 112
        assert app.s(step, 1).enqueue().result(LONG) == 2

        with pytest.raises(JobFailed, match="nobody_knows"):
            wrong.result(LONG)


class TestInsideJobs:
    def test_what_a_job_enqueues_is_its_child(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def inner() -> None:
            tasks.add.enqueue(5)

        @app.task
        def parent() -> None:
            tasks.add.enqueue(1)
            app.add_task("add", 2)
            tasks.add.enqueue_many([(3,), (4,)])
            inner.enqueue().result(LONG)

        with app.worker():
            job = parent.enqueue()
            job.result(LONG)
            wait_until(lambda: job.family.done == 5, "all children have ended")

        assert [child.task_name for child in job.children()] == ["add"] * 4 + ["inner"]
        assert {child.parent for child in job.children()} == {job.id}
        assert (job.parent, job.root) == (None, job.id)
        (grandchild,) = job.children()[-1].children()
        assert grandchild.root == job.id
        assert job.total_progress is not None
        assert (job.total_progress.done, job.total_progress.total) == (6, 6)

    @in_a_loop
    async def test_what_an_async_job_enqueues_is_its_child(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        async def parent() -> None:
            await tasks.add.aenqueue(1)
            await app.aadd_task("add", 2)
            await group(tasks.add.s(3), tasks.add.s(4)).aenqueue()

        with app.worker():
            job = await parent.aenqueue()
            await job.aresult(LONG)

        assert [child.task_name for child in await job.achildren()] == ["add", "add", "cherga.group"]
        assert (await job.afamily()).total == 3
        assert await job.atotal_progress() == job.total_progress

    def test_what_is_enqueued_elsewhere_is_nobodys_child(self, app: QueueTasks, tasks: Tasks) -> None:
        other = QueueTasks("other", "memory://")
        far = Tasks(other)

        @app.task
        def parent() -> None:
            far.add.enqueue(1)
            alone = threading.Thread(target=tasks.add.enqueue, args=(1,))
            alone.start()
            alone.join()

        with app.worker():
            job = parent.enqueue()
            job.result(LONG)

        assert job.children() == []
        assert [each.parent for each in (*app.jobs(task="add"), *other.jobs())] == [None, None]
        other.close()

    def test_a_job_may_wait_for_its_group_and_sees_its_progress_in_the_sum(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def parent() -> list[int]:
            ctx.progress(1, 2, "half")
            return group(tasks.add.s(number) for number in range(10)).enqueue().results(LONG)

        with app.worker(threads=1):
            job = parent.enqueue()
            assert job.result(LONG) == list(range(10))

        members = job.children()[0]
        assert isinstance(members, GroupJob)
        assert {member.root for member in members.members()} == {job.id}
        assert job.total_progress is not None
        assert (job.total_progress.percent, job.total_progress.note) == (100.0, "half")

    def test_the_sum_counts_an_open_group_by_its_members(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def parent() -> None:
            group(tasks.add.s(1), tasks.add.using(queue="never").s(2)).enqueue()

        with app.worker(queues=["default"]):
            job = parent.enqueue()
            job.result(LONG)
            wait_until(lambda: job.total_progress and job.total_progress.done == 1.5, "the job, and half of its group")

    def test_a_job_without_children_has_its_own_progress(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def alone() -> None:
            ctx.progress(3, 4)

        with app.worker():
            silent, job = tasks.add.enqueue(1), alone.enqueue()
            job.result(LONG)

        assert silent.total_progress is None
        assert job.total_progress == job.progress

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_flow_can_be_added_to_be_stored_with_the_success(self, app: QueueTasks, tasks: Tasks, is_async: bool) -> None:
        def body(self: Any) -> None:
            self.add_task(chain(tasks.add.s(1), tasks.double.s()))
            self.add_task(group(tasks.add.s(1), tasks.add.s(2), then=tasks.total.s()))

            if self.ctx.attempt == 1:
                raise Wanted

        if is_async:

            @app.task(echo=True, retry=1)
            async def parent(self: Any) -> None:
                body(self)
        else:
            app.task("parent", echo=True, retry=1)(body)

        with app.worker():
            job = app.tasks["parent"].enqueue()
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
            assert job.children() == []
            job.retry()
            job.result(LONG)
            wait_until(lambda: (job.family.done, job.family.total) == (4, 4), "the flows have ended")
            results = {child.task_name: child.result(LONG) for child in job.children()}

        assert results == {"add": 1, "double": 2, "cherga.group": [1, 2], "total": 3}

    def test_a_flow_that_is_stored_at_once_is_found_again_by_the_retry(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task(echo=True, retry=1)
        async def parent(self: Any) -> list[list[int]]:
            first = await self.add_task(group(tasks.add.s(1), tasks.add.s(2)))
            second = await self.add_task(group(tasks.add.s(1), tasks.add.s(2)))
            found = [await first.aresults(LONG), await second.aresults(LONG)]

            if self.ctx.attempt == 1:
                raise Wanted

            return found

        with app.worker():
            job = parent.enqueue()
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
            job.retry()
            assert job.result(LONG) == [[1, 2], [1, 2]]

        assert len(app.jobs(task="add")) == 4

    def test_options_beside_a_flow_are_refused(self, app: QueueTasks, tasks: Tasks) -> None:
        far = Tasks(QueueTasks("other", "memory://"))

        @app.task(echo=True)
        def parent(self: Any) -> None:
            with pytest.raises(ConfigError, match="steps"):
                self.add_task(chain(tasks.add.s(1)), priority=3)

            with pytest.raises(ConfigError, match="application"):
                self.add_task(far.add.s(1))

        with app.worker():
            parent.enqueue().result(LONG)


class TestInTests:
    def flow(self, tasks: Tasks) -> Any:
        return chain(group(tasks.add.s(1), chain(tasks.add.s(2), tasks.double.s())), tasks.total.s(), tasks.double.s())

    def test_a_drain_runs_flows(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.testing() as kit:
            job = self.flow(tasks).enqueue()
            drained = kit.drain()
            assert job.result(0) == 10

        assert (drained.succeeded, drained.failed, drained.cancelled) == (5, 0, 0)

    def test_a_drain_counts_what_a_failure_cancels(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.testing() as kit:
            job = group(tasks.fail.s(), tasks.add.s(1), then=tasks.total.s()).enqueue()
            drained = kit.drain()
            assert job.callback is not None
            assert states([job, job.callback]) == [JobState.CANCELLED] * 2

        assert (drained.succeeded, drained.failed, drained.cancelled) == (1, 1, 2)

    def test_inline_flows_have_ended_when_their_enqueue_returns(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.testing(inline=True):
            assert self.flow(tasks).enqueue().status is JobState.SUCCEEDED
            job = group(tasks.add.s(1), tasks.add.s(2), then=tasks.total.s()).enqueue()
            assert job.status is JobState.SUCCEEDED
            assert job.results(0) == [1, 2]
            assert job.callback is not None
            assert job.callback.result(0) == 3

    @in_a_loop
    async def test_inline_flows_in_async_tests(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.testing(inline=True):
            assert await (await self.flow(tasks).aenqueue()).aresult(0) == 10
            assert await (await group(tasks.double.s(1), tasks.add.s(2)).aenqueue()).aresults(0) == [2, 2]

    def test_inline_failures_are_raised(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.testing(inline="raise"):
            with pytest.raises(JobFailed, match="no"):
                chain(tasks.add.s(1), tasks.fail.s(), tasks.add.s(2)).enqueue()

            with pytest.raises(JobFailed, match="no"):
                group(tasks.add.s(1), tasks.fail.s()).enqueue()

    def test_inline_jobs_may_enqueue_flows_and_wait(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def parent() -> list[int]:
            return group(tasks.add.s(1), tasks.add.s(2)).enqueue().results(LONG)

        with app.testing(inline=True):
            job = parent.enqueue()
            assert job.result(0) == [1, 2]
            assert len(job.children()) == 1

    def test_an_assertion_finds_the_steps(self, app: QueueTasks, tasks: Tasks) -> None:
        with app.testing() as kit:
            chain(tasks.add.s(1, 2), tasks.double.s()).enqueue()
            kit.assert_enqueued("add", 1, 2)
            kit.assert_enqueued(tasks.double, count=1)


def test_a_task_is_no_step_by_itself(tasks: Tasks) -> None:
    assert isinstance(tasks.add, Task)
    assert repr(tasks.add.s(1)) == "<Step add>"
    assert repr(chain(tasks.add.s(1), tasks.add.s())) == "<Chain of 2>"
    assert repr(group(tasks.add.s(1))) == "<Group of 1>"
