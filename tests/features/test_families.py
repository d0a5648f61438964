"""What a job enqueues is its child: families, their progress, and flows inside jobs."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cherga import ConfigError, Event, GroupJob, JobFailed, JobState, QueueTasks, chain, ctx, group
from cherga.testing import wait_until
from tests.flow_tasks import LONG, Tasks, Wanted, in_a_loop


@pytest.fixture
def tasks(app: QueueTasks) -> Tasks:
    return Tasks(app)


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

    def test_a_member_that_would_wait_for_its_own_group_is_told_so(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def impatient() -> None:
            own = app.get(ctx.job_id)
            assert own is not None
            assert own.parent is not None
            whole = app.get(own.parent)
            assert whole is not None
            whole.result(LONG)

        with app.worker():
            (member,) = group(impatient.s()).enqueue().members()

            with pytest.raises(JobFailed, match="WouldDeadlock"):
                member.result(LONG)

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


def test_a_flow_that_is_refused_is_told_once_and_nothing_of_it_is_stored(app: QueueTasks, tasks: Tasks) -> None:
    heard: list[Event] = []
    app.on.enqueued(heard.append)
    app.on.refused(heard.append)
    single = tasks.add.using(unique="only one", on_conflict="refuse")

    @app.task(echo=True)
    def parent(self: Any) -> None:
        self.add_task(chain(tasks.double.s(1), single.s(), tasks.double.s()))
        self.add_task(tasks.double.s(2))

    with app.worker(queues=["parents"]):
        single.enqueue(1)
        job = parent.using(queue="parents").enqueue()
        job.result(LONG)
        wait_until(lambda: len(heard) == 4, "the children are told")

    assert [(event.name, event.task_name) for event in heard[2:]] == [("refused", "add"), ("enqueued", "double")]
    assert [child.arguments for child in job.children()] == [{"number": 2}]
