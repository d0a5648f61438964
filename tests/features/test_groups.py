"""Groups: jobs side by side, one handle on them, and what runs when they have ended."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from uuid import uuid4

import pytest

from cherga import ConfigError, Event, GroupJob, Job, JobCancelled, JobState, QueueTasks, chain, ctx, group
from cherga.testing import wait_until
from tests.flow_tasks import LONG, Tasks, Wanted, in_a_loop, states


@pytest.fixture
def tasks(app: QueueTasks) -> Tasks:
    return Tasks(app)


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

    def test_one_id_for_two_members_is_refused(self, app: QueueTasks, tasks: Tasks) -> None:
        step = tasks.add.using(id=uuid4()).s(1)

        with pytest.raises(ConfigError, match="an id of its own"):
            group(step, step).enqueue()

        with pytest.raises(ConfigError, match="an id of its own"):
            asyncio.run(chain(step, group(tasks.add.s(), step)).aenqueue())

        assert app.jobs() == []

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

    @pytest.mark.parametrize("is_async", [False, True])
    @in_a_loop
    async def test_members_that_outlive_their_group_can_still_be_cancelled(
        self, app: QueueTasks, tasks: Tasks, is_async: bool
    ) -> None:
        with app.worker():
            job = group(tasks.fail.s(), tasks.add.using(run_in=LONG).s(1)).enqueue()
            await job.aawait_end(LONG)
            late = job.members()[1]
            assert (job.status, late.status) == (JobState.CANCELLED, JobState.SCHEDULED)

            assert await job.acancel() if is_async else job.cancel()
            assert late.refresh().status is JobState.CANCELLED
            assert not (await job.acancel() if is_async else job.cancel())

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
