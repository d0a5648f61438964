"""Chains and groups alike: what is refused where they are made, and how tests run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from cherga import ConfigError, EnqueueRefused, JobFailed, JobState, QueueTasks, Task, chain, group
from cherga.words.push import Edge
from tests.flow_tasks import LONG, Tasks, in_a_loop, states


@pytest.fixture
def tasks(app: QueueTasks) -> Tasks:
    return Tasks(app)


class TestBadInput:
    @pytest.mark.parametrize("wrong", [7, "add", None, {"a": 1}, len])
    def test_what_is_no_step_is_refused(self, tasks: Tasks, wrong: Any) -> None:
        no_callback: Any = wrong or tasks.add
        makers: list[Callable[[], object]] = [
            lambda: chain(tasks.add.s(1), wrong),
            lambda: group(tasks.add.s(1), wrong),
            lambda: group(wrong),
            lambda: group(tasks.add.s(1), then=no_callback),
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
