"""An id that is kept is not stored again: whichever way it is enqueued, the handle shows the job that is kept, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from cherga import Job, QueueTasks, chain, group

Again = Callable[[QueueTasks, UUID], "Job[Any]"]


@pytest.fixture(params=["memory://", "sqlite:///{}/shop.db"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> QueueTasks:
    app = QueueTasks("shop", str(request.param).format(tmp_path))

    @app.task(unique=["n"])
    def order(n: int) -> int:
        return n

    @app.task
    def plain(n: int) -> int:
        return n

    return app


def later(app: QueueTasks, task: str, id: UUID) -> Any:
    return app.tasks[task].using(id=id, run_in=3600, owner="user:2")


WAYS: dict[str, Again] = {
    "enqueue": lambda app, id: later(app, "plain", id).enqueue(2),
    "with a unique key": lambda app, id: later(app, "order", id).enqueue(2),
    "aenqueue": lambda app, id: asyncio.run(later(app, "plain", id).aenqueue(2)),
    "a chain": lambda app, id: chain(app.tasks["plain"].s(7), later(app, "plain", id).s()).enqueue(),
    "a member of a group": lambda app, id: group(later(app, "plain", id).s(2)).enqueue().members()[0],
    "a queue": lambda app, id: app.queue("mail").enqueue("plain", 2, job_id=id),
}


@pytest.mark.parametrize("again", WAYS.values(), ids=WAYS)
def test_the_second_handle_shows_the_job_that_is_kept(app: QueueTasks, again: Again) -> None:
    told: list[UUID | None] = []
    app.on.enqueued(lambda event: told.append(event.job_id))
    id = uuid4()
    first = app.tasks["plain"].using(id=id, owner="user:1").enqueue(1)
    second = again(app, id)
    assert (second.id, second.arguments, second.owner, second.run_at) == (id, {"n": 1}, "user:1", None)
    assert told.count(id) == 1
    assert not first.existing
    app.close()


@pytest.mark.parametrize("again", [way for name, way in WAYS.items() if "group" not in name], ids=lambda way: "")
def test_the_second_handle_says_so(app: QueueTasks, again: Again) -> None:
    id = uuid4()
    app.tasks["plain"].using(id=id).enqueue(1)
    assert again(app, id).existing
    app.close()


def test_a_job_that_has_ended_is_shown_as_it_ended(app: QueueTasks) -> None:
    id = uuid4()

    with app.worker(threads=1):
        app.tasks["plain"].using(id=id).enqueue(1).result(10)

    again = app.tasks["plain"].using(id=id).enqueue(2)
    assert (again.existing, again.result(0.1)) == (True, 1)
    app.close()


def test_a_job_of_another_task_is_shown_as_what_it_is(app: QueueTasks) -> None:
    id = uuid4()
    app.tasks["order"].using(id=id).enqueue(1)
    again = app.tasks["plain"].using(id=id).enqueue(2)
    assert (again.task_name, again.existing) == ("order", True)
    app.close()
