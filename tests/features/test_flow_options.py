"""``using`` of chains and groups: one word for all their jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cherga import ConfigError, Job, JobState, QueueTasks, chain, group
from cherga.client.flow import Part


@pytest.fixture
def app() -> QueueTasks:
    app = QueueTasks("flows", "memory://")

    @app.task
    def fetch(n: int) -> int:
        return n

    @app.task(queue="exports", priority=3, description="Adding…")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    return app


def stored(app: QueueTasks, flow: Part[Any]) -> dict[str, list[Job[Any]]]:
    """The jobs of the flow by their tasks, oldest first."""
    flow.enqueue()
    found: dict[str, list[Job[Any]]] = {}

    for job in reversed(app.jobs(limit=100)):
        found.setdefault(job.task_name, []).append(job)

    return found


def test_what_is_said_of_a_group_holds_for_it_and_all_its_jobs(app: QueueTasks) -> None:
    fetch, total = app.tasks["fetch"], app.tasks["total"]
    flow = group([fetch.s(1), fetch.s(2)], then=total.s())
    jobs = stored(app, flow.using(owner="user:7", queue="slow", priority=9, tags=["nightly"], headers={"locale": "uk"}))
    every = [job for some in jobs.values() for job in some]

    assert len(every) == 4
    assert {job.owner for job in every} == {"user:7"}
    assert {job.queue for job in every} == {"slow"}
    assert {job.priority for job in every} == {9}
    assert {job.tags for job in every} == {("nightly",)}
    assert {job.head.headers["locale"] for job in every} == {"uk"}
    assert [job.id for job in app.jobs(owner="user:7", task="total")] == [jobs["total"][0].id]


def test_the_description_is_that_of_the_job_which_stands_for_the_whole(app: QueueTasks) -> None:
    fetch, total, double = (app.tasks[name] for name in ("fetch", "total", "double"))

    plain = stored(app, group([fetch.s(1), fetch.s(2)]).using(description="Fetching…"))
    assert [job.description for job in plain["fetch"]] == [None, None]
    assert plain["cherga.group"][0].description == "Fetching…"

    chained = stored(app, chain(double.s(1), total.using(queue="q").s()).using(description="Both…"))
    assert (chained["double"][0].description, chained["total"][0].description) == (None, "Both…")


def test_a_group_with_a_callback_is_described_by_it(app: QueueTasks) -> None:
    fetch, total = app.tasks["fetch"], app.tasks["total"]
    jobs = stored(app, group([fetch.s(1)], then=total.s()).using(description="Reports…"))

    assert jobs["total"][0].description == "Reports…"
    assert jobs["fetch"][0].description is None


def test_what_a_step_or_an_inner_flow_says_goes_before(app: QueueTasks) -> None:
    fetch = app.tasks["fetch"]
    inner = group([fetch.s(1), fetch.using(queue="own").s(2)]).using(queue="inner", owner="user:1")
    jobs = stored(app, group([inner, fetch.s(3)]).using(queue="outer", owner="user:2", priority=5))
    by_number = {job.arguments["n"]: job for job in jobs["fetch"]}

    assert {n: job.queue for n, job in by_number.items()} == {1: "inner", 2: "own", 3: "outer"}
    assert {n: job.owner for n, job in by_number.items()} == {1: "user:1", 2: "user:1", 3: "user:2"}
    assert {job.priority for job in jobs["fetch"]} == {5}


def test_a_later_time_is_about_the_first_jobs_alone(app: QueueTasks) -> None:
    fetch, total, double = (app.tasks[name] for name in ("fetch", "total", "double"))
    flow = chain(group([fetch.s(1), fetch.s(2)]), total.s(), double.s())
    jobs = stored(app, flow.using(run_in=timedelta(hours=1)))

    assert {job.status for job in jobs["fetch"]} == {JobState.SCHEDULED}
    assert {jobs[name][0].status for name in ("total", "double", "cherga.group")} == {JobState.BLOCKED}
    assert jobs["total"][0].row.run_at is None


def test_a_flow_stays_as_it_was_and_using_adds_up(app: QueueTasks) -> None:
    fetch = app.tasks["fetch"]
    plain = chain(fetch.s(1))
    both = plain.using(owner="user:7").using(queue="slow")
    (job,) = stored(app, both)["fetch"]

    assert (job.owner, job.queue) == ("user:7", "slow")
    assert plain.enqueue().owner is None


def test_a_step_by_name_keeps_what_the_flow_says(app: QueueTasks) -> None:
    app.publish()
    sender = QueueTasks("flows", "memory://")
    (job,) = stored(sender, chain(sender.s("elsewhere", 1)).using(owner="user:7", queue="slow", priority=2))["elsewhere"]

    assert (job.owner, job.queue, job.priority) == ("user:7", "slow", 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unique": True}, "expected options of a whole flow, got unique, which is about one job"),
        ({"id": "x"}, r"say it of a step, as in task.using\(id=…\).s\(…\)"),
        ({"countdown": 5}, "run_in"),
        ({"prio": 5}, "priority"),
        ({"queue": 5}, "queue"),
        ({"run_in": -1}, "run_in"),
    ],
)
def test_what_cannot_be_said_of_a_flow_is_refused_where_it_is_written(
    app: QueueTasks, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        chain(app.tasks["fetch"].s(1)).using(**options)


def test_a_job_adds_a_task_as_well_as_its_name() -> None:
    app = QueueTasks("adding", "memory://")

    @app.task
    def child(n: int) -> int:
        return n

    @app.task(echo=True)
    def parent(self: Any) -> None:
        self.add_task(child, 7)
        self.add_task("child", n=8)

    with app.worker():
        parent.enqueue().result(timeout=20)
        children = sorted(app.jobs(task="child"), key=lambda job: job.arguments["n"])
        assert [job.result(timeout=20) for job in children] == [7, 8]


def test_what_is_no_task_is_not_added() -> None:
    app = QueueTasks("nothing", "memory://")

    @app.task(echo=True)
    def parent(self: Any) -> None:
        self.add_task(len, [7])

    with app.worker():
        job = parent.enqueue()
        job.await_end(20)

    assert job.error is not None
    assert (
        "expected add_task to be given a task, its name, a step, chain or group, got <built-in function len>"
        in job.error.message
    )
