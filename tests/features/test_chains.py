"""Chains: one job after the other, each fed the result of the one before."""

from __future__ import annotations

from typing import Any

import pytest

from cherga import (
    ConfigError,
    InvalidArguments,
    JobCancelled,
    JobFailed,
    JobState,
    QueueTasks,
    Reason,
    Router,
    chain,
    ctx,
    group,
    shared_task,
)
from cherga.testing import wait_until
from tests.flow_tasks import LONG, Tasks, Wanted, in_a_loop


@pytest.fixture
def tasks(app: QueueTasks) -> Tasks:
    return Tasks(app)


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

    @pytest.mark.parametrize("given", [{"b": "x"}, {"b": object()}])
    def test_given_arguments_are_checked_beside_the_one_that_is_to_come(
        self, app: QueueTasks, tasks: Tasks, given: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidArguments, match=r"add.*argument 'b'"):
            chain(tasks.add.s(1), tasks.add.s(**given)).enqueue()

        assert app.jobs() == []

    def test_further_values_of_a_fed_list_of_arguments_are_checked(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def largest(*numbers: int) -> int:
            return max(numbers)

        with pytest.raises(InvalidArguments, match=r"largest.*argument 'numbers'"):
            chain(tasks.add.s(1), largest.s("x")).enqueue()  # type: ignore[call-overload]

        with app.worker():
            assert chain(tasks.add.s(1), largest.s(-5, 7)).enqueue().result(LONG) == 7

    def test_a_task_without_parameters_cannot_be_fed(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task
        def nothing() -> None: ...

        with pytest.raises(InvalidArguments, match="nothing"):
            chain(tasks.add.s(1), nothing.s()).enqueue()

        with app.worker():
            assert chain(tasks.add.s(1), nothing.si()).enqueue().result(LONG) is None

    def test_nothing_of_a_chain_is_stored_when_a_step_is_refused(self, app: QueueTasks, tasks: Tasks) -> None:
        with pytest.raises(InvalidArguments):
            chain(tasks.add.s(1), tasks.add.s("two", "three", "four")).enqueue()  # type: ignore[call-overload]

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

    def test_steps_that_a_person_retries_one_by_one_go_on_where_they_stopped(self, app: QueueTasks, tasks: Tasks) -> None:
        broken = [True]

        @app.task
        def repaired(number: int) -> int:
            if broken:
                raise Wanted

            return number + 1

        with app.worker():
            last = chain(tasks.add.s(1), repaired.s(), tasks.double.s()).enqueue()

            with pytest.raises(JobCancelled):
                last.result(LONG)

            assert last.retry()

            with pytest.raises(JobFailed, match="no result to hand on"):
                last.result(LONG)

            broken.clear()
            (failed,) = app.jobs(task="repaired")
            assert failed.retry()
            assert failed.result(LONG) == 2
            assert last.retry()
            assert last.result(LONG) == 4

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

    def test_a_limit_key_of_a_fed_step_is_made_of_what_is_given_by_name(self, app: QueueTasks, tasks: Tasks) -> None:
        @app.task(max_running=1, key="tenant")
        def save(number: int, tenant: str) -> str:
            return f"{tenant} {number}"

        saved = chain(tasks.add.s(1, 2), save.s(tenant="ann")).enqueue()
        lifted = chain(tasks.add.s(1, 2), save.using(key=None).s("bob")).enqueue()
        assert (saved.row.limit_keys, lifted.row.limit_keys) == (("key:save|ann",), ())

        with app.worker():
            assert (saved.result(LONG), lifted.result(LONG)) == ("ann 3", "bob 3")

        with pytest.raises(ConfigError, match="given the arguments of its key by name"):
            chain(tasks.add.s(1, 2), save.s("ann")).enqueue()

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
