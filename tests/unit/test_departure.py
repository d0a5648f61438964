"""An application asks its departure where each enqueue belongs; held jobs are the client's own, whatever holds them."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from cherga import HandleState, Job, JobHeld, JobNotFound, JobState, QueueTasks, chain
from cherga.client.departure import Hold
from cherga.client.leaving import Leaving
from cherga.words.departure import When, Wish
from tests.conftest import NewApp


class Desk:
    """A departure with one unit of work, which a test opens, commits and takes back by hand. It knows no database."""

    outbox = False

    def __init__(self, app: QueueTasks) -> None:
        self.holds: list[Hold] = []
        self.wishes: list[Wish | None] = []
        self.is_open = False
        self._leaving = Leaving(app)

    def find_unit(self, wish: Wish | None) -> Desk | None:
        self.wishes.append(wish)
        return self if self.is_open and (wish is None or wish.when is not When.NOW) else None

    def find(self, id: UUID) -> Job[object] | None:
        return next((handle for hold in self.holds if (handle := hold.find(id)) is not None), None)

    def take(self, hold: Hold) -> None:
        self.holds.append(hold)

    def commit(self) -> None:
        self.is_open = False
        self._leaving.send(self.holds)

    def roll_back(self) -> None:
        for hold in self.holds:
            hold.drop("it was taken back")


@pytest.fixture
def app(new_app: NewApp) -> QueueTasks:
    app = new_app()
    app.task(name="work")(lambda n: n)
    app.departure = Desk(app)
    return app


@pytest.fixture
def desk(app: QueueTasks) -> Desk:
    assert isinstance(app.departure, Desk)
    app.departure.is_open = True
    return app.departure


def test_a_departure_may_let_a_job_go_at_once(app: QueueTasks, desk: Desk) -> None:
    desk.is_open = False

    assert app.tasks["work"].enqueue(1).status is JobState.READY


def test_held_jobs_are_pushed_together_and_their_handles_become_those_of_stored_jobs(app: QueueTasks, desk: Desk) -> None:
    jobs = [app.tasks["work"].enqueue(1), *app.tasks["work"].enqueue_many([(2,), (3,)])]

    assert {job.status for job in jobs} == {HandleState.HELD}
    assert app.jobs() == []

    desk.commit()

    assert [job.status for job in jobs] == [JobState.READY] * 3
    assert {job.id for job in app.jobs()} == {job.id for job in jobs}
    assert all(job.refresh().row.sequence for job in jobs)


def test_the_async_verbs_hold_too(app: QueueTasks, desk: Desk) -> None:
    async def main() -> None:
        task = app.tasks["work"]
        jobs = [await task.aenqueue(1), *await task.aenqueue_many([(2,)]), await app.aadd_task("work", 3)]
        jobs += [await app.queue("default").aenqueue("work", 4), await chain(task.s(5), task.s()).aenqueue()]

        assert [await app.aget(job.id) for job in jobs] == jobs
        assert {job.status for job in jobs} == {HandleState.HELD}

        with pytest.raises(JobHeld):
            await jobs[0].aresult(5)

        assert await jobs[0].acancel()
        assert (await jobs[1].arefresh()).status is HandleState.HELD

    asyncio.run(main())
    desk.commit()

    assert len(app.jobs()) == 5


def test_what_was_taken_back_says_so(app: QueueTasks, desk: Desk) -> None:
    job = app.tasks["work"].enqueue(1)
    desk.roll_back()

    assert job.status is HandleState.DROPPED
    assert job.status.final
    assert not job.cancel()

    for ask in (job.result, job.refresh, lambda: list(app.watch(job.id))):
        with pytest.raises(JobNotFound):
            ask()


def test_what_using_says_reaches_the_departure(app: QueueTasks, desk: Desk) -> None:
    session = object()
    app.tasks["work"].using(when="commit", session=session).enqueue(1)
    chain(app.tasks["work"].s(1), app.tasks["work"].s()).using(when="now").enqueue()
    app.tasks["work"].enqueue(1)

    assert desk.wishes == [Wish(When.COMMIT, session), Wish(When.NOW), None]


def test_children_that_wait_for_the_success_of_their_parent_ask_no_departure(app: QueueTasks, desk: Desk) -> None:
    @app.task(echo=True)
    def parent(self: object) -> None:
        self.add_task("work", 1)  # type: ignore[attr-defined]

    job = parent.using(when="now").enqueue()

    with app.worker():
        job.result(20)
        (child,) = job.children()
        assert child.result(20) == 1

    assert len(desk.wishes) == 1


def test_middleware_sees_an_enqueue_when_it_is_made_and_handlers_when_it_is_stored(app: QueueTasks, desk: Desk) -> None:
    seen: list[str] = []
    app.around_enqueue(lambda following: lambda outgoing: seen.append("enqueue") or following(outgoing))  # type: ignore[func-returns-value]
    app.on.enqueued(lambda event: seen.append("stored"))
    app.tasks["work"].enqueue(1)

    assert seen == ["enqueue"]

    desk.commit()

    assert seen == ["enqueue", "stored"]


def test_an_id_that_is_kept_already_is_found_at_the_commit(app: QueueTasks, desk: Desk) -> None:
    kept = app.tasks["work"].using(when="now").enqueue(1)
    again = app.tasks["work"].using(id=kept.id).enqueue(1)
    desk.commit()

    assert (again.id, again.existing, len(app.jobs())) == (kept.id, True, 1)
