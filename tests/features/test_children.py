"""``self.add_task``: children are stored in the write that completes their parent, never lost with it, never doubled."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cherga import EnqueueRefused, Event, InvalidArguments, Job, JobFailed, JobState, NoCurrentJob, QueueTasks, Snooze
from cherga.client.middleware import EnqueueHandler, Outgoing
from cherga.testing import wait_until
from cherga.words.push import NewJob
from cherga.words.unique import OnConflict, Unique


class ParentFailed(Exception):
    """Wanted."""


@pytest.fixture(autouse=True)
def subtask(app: QueueTasks) -> Any:
    @app.task
    def subtask(number: int) -> int:
        return number

    return subtask


def stored(app: QueueTasks, task: str = "subtask") -> list[Job[Any]]:
    return sorted(app.jobs(task=task), key=lambda job: str(job.arguments))


@pytest.mark.parametrize("is_async", [False, True])
class TestUnawaited:
    def parent(self, app: QueueTasks, is_async: bool, error: BaseException | None = None, **options: Any) -> Any:
        def body(self: Any) -> str:
            self.add_task("subtask", 123)
            self.add_task("subtask", number=5)
            self.add_task("subtask", 123, priority=9)

            if error is not None and self.ctx.attempt == 1:
                raise error

            return "main"

        if is_async:

            @app.task(echo=True, **options)
            async def main(self: Any) -> str:
                return body(self)

            return main

        return app.task("main", echo=True, **options)(body)

    def test_they_are_stored_with_the_parents_success_and_run(self, app: QueueTasks, is_async: bool) -> None:
        main = self.parent(app, is_async)

        with app.worker():
            parent = main.enqueue()
            assert parent.result(5) == "main"
            children = stored(app)
            assert [child.result(5) for child in children] == [123, 123, 5]

        assert {child.parent for child in children} == {child.root for child in children} == {parent.id}
        assert sorted(child.priority for child in children) == [0, 0, 9]

    def test_they_stand_there_at_the_instant_the_parent_has_succeeded(self, app: QueueTasks, is_async: bool) -> None:
        main = self.parent(app, is_async)

        with app.worker(queues=["parents"]):
            parent = main.using(queue="parents").enqueue()
            seen = wait_until(lambda: parent.refresh().status.final and len(stored(app)), "the parent has ended")

        assert seen == 3

    def test_an_attempt_that_fails_drops_them_and_the_retry_makes_them_once(self, app: QueueTasks, is_async: bool) -> None:
        main = self.parent(app, is_async, ParentFailed(), retry=1)

        with app.worker():
            job = main.enqueue()
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
            assert stored(app) == []
            job.retry()
            job.result(5)
            assert [child.result(5) for child in stored(app)] == [123, 123, 5]

    def test_a_snooze_drops_them_and_the_next_run_makes_them_once(self, app: QueueTasks, is_async: bool) -> None:
        ran: list[int] = []

        def body(self: Any) -> None:
            ran.append(1)
            self.add_task("subtask", 1)

            if len(ran) == 1:
                raise Snooze(0)

        if is_async:

            @app.task(echo=True)
            async def main(self: Any) -> None:
                body(self)
        else:
            app.task("main", echo=True)(body)

        with app.worker():
            app.tasks["main"].enqueue().result(5)

        assert (len(ran), len(stored(app))) == (2, 1)

    def test_a_parent_that_fails_for_good_has_none(self, app: QueueTasks, is_async: bool) -> None:
        main = self.parent(app, is_async, ParentFailed())

        with app.worker(), pytest.raises(JobFailed):
            main.enqueue().result(5)

        assert stored(app) == []

    def test_wrong_arguments_are_told_at_once(self, app: QueueTasks, is_async: bool) -> None:
        def body(self: Any) -> None:
            with pytest.raises(InvalidArguments, match="number"):
                self.add_task("subtask", "seven")

        if is_async:

            @app.task(echo=True)
            async def main(self: Any) -> None:
                body(self)
        else:
            app.task("main", echo=True)(body)

        with app.worker():
            app.tasks["main"].enqueue().result(5)


class TestStoredAtOnce:
    def test_awaiting_gives_the_stored_job_under_an_id_that_a_retry_finds_again(self, app: QueueTasks) -> None:
        seen: list[str] = []

        @app.task(echo=True, retry=1)
        async def main(self: Any) -> list[str]:
            first = await self.add_task("subtask", 5)
            twin = await self.add_task("subtask", 5)
            assert await first.aresult(5) == 5
            assert first != twin
            seen.append(f"{first.id} {twin.id}")

            if self.ctx.attempt == 1:
                raise ParentFailed

            return [str(first.id), str(twin.id)]

        with app.worker():
            job = main.enqueue()
            wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "the first attempt has failed")
            job.retry()
            ids = job.result(5)

        assert seen == [" ".join(ids)] * 2
        assert sorted(str(child.id) for child in stored(app)) == sorted(ids)

    def test_a_def_task_stores_with_store(self, app: QueueTasks) -> None:
        @app.task(echo=True)
        def main(self: Any) -> int:
            child = self.add_task("subtask", 5).store()
            assert isinstance(child, Job)
            return int(child.result(5))

        with app.worker():
            assert main.enqueue().result(5) == 5

        assert len(stored(app)) == 1

    def test_awaiting_twice_stores_once(self, app: QueueTasks) -> None:
        @app.task(echo=True)
        async def main(self: Any) -> bool:
            child = self.add_task("subtask", 5)
            return bool(await child == await child)

        with app.worker():
            assert main.enqueue().result(5)

        assert len(stored(app)) == 1

    def test_a_refusal_is_raised_where_it_is_awaited(self, app: QueueTasks) -> None:
        @app.task(unique=Unique("only one", conflict=OnConflict.REFUSE))
        def single(number: int) -> None: ...

        @app.task(echo=True)
        async def main(self: Any) -> str:
            try:
                await self.add_task("single", 2)
            except EnqueueRefused as error:
                return str(error)

            return "stored"

        with app.worker(queues=["parents"]):
            single.enqueue(1)
            assert "only one" in main.using(queue="parents").enqueue().result(5)


def test_a_child_that_is_refused_with_its_parents_success_is_logged(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(unique=Unique("only one", conflict=OnConflict.REFUSE))
    def single(number: int) -> None: ...

    @app.task(echo=True)
    def main(self: Any) -> str:
        self.add_task("single", 2)
        self.add_task("subtask", 3)
        return "done"

    with app.worker(queues=["parents"]):
        single.enqueue(1)
        assert main.using(queue="parents").enqueue().result(5) == "done"
        wait_until(lambda: "was refused" in caplog.text, "the refusal is logged")

    assert len(stored(app)) == 1
    assert "(main) has succeeded, but its child" in caplog.text


def test_a_child_whose_queue_is_full_is_told_too(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []
    app.on.refused(heard.append)
    app.task(name="narrow", queue="narrow")(lambda: None)

    @app.task(echo=True)
    def main(self: Any) -> None:
        self.add_task("narrow")
        self.add_task("narrow")

    app.limits.set(queue="narrow", max_length=1)
    app.pause(queue="narrow")

    with app.worker():
        main.enqueue().result(5)
        wait_until(lambda: heard, "the refusal is told")

    assert [(event.task_name, event.error and event.error.message) for event in heard] == [("narrow", "queue 'narrow' is full")]
    assert "was refused: queue 'narrow' is full" in caplog.text
    assert len(app.jobs(queue="narrow")) == 1


def test_events_tell_which_children_were_stored_and_which_refused(app: QueueTasks) -> None:
    heard: list[Event] = []
    app.on.enqueued(heard.append)
    app.on.refused(heard.append)

    @app.task(unique=Unique("only one", conflict=OnConflict.REFUSE))
    def refusing(number: int) -> None: ...

    @app.task(unique=True)
    def joining(number: int) -> None: ...

    @app.task(echo=True)
    def main(self: Any) -> None:
        self.add_task("refusing", 2)
        self.add_task("joining", 1)
        self.add_task("joining", 2)
        self.add_task("subtask", 3)

    with app.worker(queues=["parents"]):
        refusing.enqueue(1)
        joining.enqueue(1)
        parent = main.using(queue="parents").enqueue()
        parent.result(5)
        wait_until(lambda: len(heard) == 6, "the children are told")

    (refused,) = (event for event in heard if event.name == "refused")
    assert (refused.task_name, refused.details) == ("refusing", {"parent": parent.id, "parent_task": "main"})
    assert refused.error is not None
    assert refused.error.message == "its unique key 'only one' is held by another job"
    assert [event.task_name for event in heard if event.name == "enqueued" and event.worker] == ["joining", "subtask"]


def test_a_child_may_have_parameters_called_as_those_of_add_task(app: QueueTasks) -> None:
    @app.task
    def rename(name: str, number: int = 0) -> str:
        return name

    @app.task(echo=True)
    def main(self: Any) -> None:
        self.add_task("rename", name="new")

    with app.worker():
        main.enqueue().result(5)
        assert [child.result(5) for child in stored(app, "rename")] == ["new"]


def test_children_of_children_know_the_root(app: QueueTasks) -> None:
    @app.task(echo=True)
    def parent(self: Any) -> None:
        self.add_task("subtask", 1)

    @app.task(echo=True)
    def grandparent(self: Any) -> None:
        self.add_task("parent")

    with app.worker():
        root = grandparent.enqueue()
        child = wait_until(lambda: stored(app), "the grandchild is stored")[0]

    assert child.root == root.root == root.id
    assert child.parent == stored(app, "parent")[0].id


def test_a_task_that_nobody_here_has_declared_is_stored_with_what_workers_have_published(app: QueueTasks) -> None:
    elsewhere = QueueTasks(app.name)
    elsewhere.task("far_away", queue="far", priority=3)(lambda number: number)

    with elsewhere.standing_in("memory://"):
        elsewhere.publish()
        app.broker.define(elsewhere.broker.definitions("task"))

    @app.task(echo=True)
    async def main(self: Any) -> None:
        self.add_task("far_away", 1)

    with app.worker():
        main.enqueue().result(5)

    (child,) = stored(app, "far_away")
    assert (child.queue, child.priority) == ("far", 3)


def test_enqueue_middleware_sees_each_child_once(app: QueueTasks) -> None:
    seen: list[str] = []

    @app.around_enqueue
    def tenant(following: EnqueueHandler) -> EnqueueHandler:
        def handle(outgoing: Outgoing) -> NewJob:
            seen.append(outgoing.task_name)
            outgoing.headers["tenant"] = "acme"
            return following(outgoing)

        return handle

    @app.task(echo=True)
    async def main(self: Any) -> None:
        self.add_task("subtask", 1)
        await self.add_task("subtask", 2)

    with app.worker():
        main.enqueue().result(5)

    assert seen == ["main", "subtask", "subtask"]
    assert {child.head.headers["tenant"] for child in stored(app)} == {"acme"}


def test_a_person_who_retries_a_parent_finds_its_children_stored_already(app: QueueTasks) -> None:
    @app.task(echo=True)
    def main(self: Any) -> None:
        self.add_task("subtask", 1)

    with app.worker():
        job = main.enqueue()
        job.result(5)
        job.retry()
        wait_until(lambda: job.refresh().status.final, "the job has run again")

    assert len(stored(app)) == 1


def test_a_child_that_is_asked_for_after_the_end_is_refused_rather_than_lost(app: QueueTasks) -> None:
    bound: list[Any] = []

    @app.task(echo=True)
    def main(self: Any, number: int) -> None:
        bound.append(self)

        if number:
            raise ParentFailed

    with app.worker():
        main.enqueue(0).result(5)

        with pytest.raises(JobFailed):
            main.enqueue(1).result(5)

    for self in bound:
        with pytest.raises(NoCurrentJob, match=r"expected add_task\('subtask'\) before its job has ended"):
            self.add_task("subtask", 1)


def test_threads_of_one_job_may_ask_for_equal_children_and_none_is_lost(app: QueueTasks) -> None:
    @app.task(echo=True)
    def main(self: Any) -> None:
        start = threading.Barrier(4, timeout=10)

        def ask() -> None:
            start.wait()

            for _ in range(50):
                self.add_task("subtask", 1)

        threads = [threading.Thread(target=ask) for _ in range(4)]

        for thread in threads:
            thread.start()

        for thread in threads:
            thread.join(10)

    with app.worker(queues=["parents"]):
        main.using(queue="parents").enqueue().result(5)

    assert len(app.jobs(task="subtask", limit=1000)) == 200
