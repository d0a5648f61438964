"""``Queue``: RQ's verbs and job options, and the names that it accepts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from cherga import (
    ConfigError,
    InvalidArguments,
    Job,
    JobNotFound,
    JobState,
    NoCurrentJob,
    Queue,
    QueueTasks,
    Router,
    UnknownTask,
)
from cherga.words.push import JobHead, Overrides

MODULE = __name__


def send_mail(user_id: int, subject: str = "hello") -> None:
    """A public function of this module, which the application lists."""


def describe(description: str) -> None:
    """Has a parameter that is an option of enqueue too."""


def collect(*args: int, **kwargs: int) -> None:
    """Takes whatever it is given."""


def _private() -> None:
    """Not public."""


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("queues", "memory://")
    app.tasks_from(MODULE, "elsewhere.jobs")
    yield app
    app.close()


@pytest.fixture
def queue(app: QueueTasks) -> Queue:
    return app.queue("mail")


def head_of(job: Job[Any]) -> JobHead:
    return msgspec.msgpack.decode(job.row.head or b"\x80", type=JobHead)


# --- names


def test_a_dotted_name_needs_no_import_by_the_sender(queue: Queue) -> None:
    job = queue.enqueue("elsewhere.jobs.work", 23, fast=True)

    assert (job.task_name, job.queue, job.arguments) == ("elsewhere.jobs.work", "mail", [[23], {"fast": True}])


def test_a_function_of_a_listed_module_is_checked_against_its_signature(queue: Queue) -> None:
    assert queue.enqueue(send_mail, 7).task_name == f"{MODULE}.send_mail"

    with pytest.raises(InvalidArguments, match="'user_id'"):
        queue.enqueue(send_mail, "seven")


def test_a_declared_task_is_enqueued_by_itself_its_function_or_its_name(app: QueueTasks, queue: Queue) -> None:
    task = app.task(priority=3)(send_mail)

    jobs = [queue.enqueue(target, 7) for target in (task, send_mail, "send_mail")]

    assert [(job.task_name, job.priority, job.queue) for job in jobs] == [("send_mail", 3, "mail")] * 3


def plainly(function: Any) -> Any:
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


def test_the_dotted_name_of_a_declared_task_is_that_task(
    app: QueueTasks, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "priority": 3,
        "unique": True,
        "tags": ["mail"],
        "description": "Mail",
        "retry": 5,
        "max_running": 2,
    }
    here = sys.modules[MODULE]
    monkeypatch.setattr(here, "as_task", app.task("letters", **options)(send_mail), raising=False)
    monkeypatch.setattr(here, "wrapped", app.task("wrapped", **options)(plainly(describe)), raising=False)
    router, outer = Router("post", **options), Router("outer")
    monkeypatch.setattr(here, "routed", router.task("collect")(collect), raising=False)
    outer.include_router(router)
    app.include_router(outer)

    for target, name in {
        f"{MODULE}.as_task": "letters",
        f"{MODULE}.send_mail": "letters",
        f"{MODULE}.wrapped": "wrapped",
        f"{MODULE}.routed": "outer.post.collect",
    }.items():
        jobs = [queue.enqueue(target, 7), app.add_task(target, 8)]
        assert [(job.task_name, job.priority, job.tags, job.description) for job in jobs] == [(name, 3, ("mail",), "Mail")] * 2
        assert app.s(target, 9).task is app.tasks[name]
        assert queue.enqueue(target, 7) == jobs[0]


def test_a_module_that_may_not_be_imported_has_no_tasks(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "forbidden", None)

    with pytest.raises(UnknownTask):
        queue.enqueue("forbidden.work")


def test_a_module_that_is_listed_gives_its_declared_tasks_no_second_name(app: QueueTasks, queue: Queue) -> None:
    app.task("letters", priority=3)(send_mail)
    app.dotted.modules.remove("elsewhere.jobs")
    app.dotted.load()

    assert f"{MODULE}.send_mail" not in app.tasks
    assert queue.enqueue(f"{MODULE}.send_mail", 7).task_name == "letters"


def test_names_of_tasks_that_stand_elsewhere_are_told_by_workers(tmp_path: Path) -> None:
    worker, sender = (QueueTasks("queues", f"sqlite:///{tmp_path}/queue.db") for _ in range(2))
    worker.task("letters", aliases=["old_letters"], priority=3, tags=["mail"])(send_mail)
    worker.tasks_from(MODULE)
    worker.dotted.load()
    worker.publish()

    for name in ("letters", "old_letters", f"{MODULE}.send_mail"):
        for job in (sender.queue().enqueue(name, 7), sender.add_task(name, 7)):
            assert (job.task_name, job.priority, job.tags) == ("letters", 3, ("mail",))

    later = QueueTasks("queues", f"sqlite:///{tmp_path}/queue.db")
    later.task("letters")(send_mail)
    later.publish()

    with pytest.raises(UnknownTask):
        sender.queue().enqueue("old_letters", 7)

    for app in (worker, sender, later):
        app.close()


def test_how_long_a_task_says_its_results_are_kept_is_kept(app: QueueTasks, queue: Queue) -> None:
    app.task("letters", result_ttl=60)(send_mail)
    app.task("others", failure_ttl=60)(describe)

    assert head_of(queue.enqueue("letters", 7)).overrides is None
    assert head_of(queue.enqueue("letters", 7, result_ttl=5)).overrides == Overrides(result_ttl=5.0)
    assert head_of(queue.enqueue("others", args=("x",))).overrides == Overrides(result_ttl=500.0)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "elsewhere.system",
        "elsewhere.jobs",
        "elsewhere.jobs.",
        "elsewhere.jobs._private",
        "elsewhere.jobs.inner.work",
        "work",
        "",
        os.system,
        _private,
        lambda: None,
    ],
)
def test_anything_else_is_refused(queue: Queue, target: Any) -> None:
    with pytest.raises(UnknownTask, match=rf"unknown task .*expected a declared task.*\(listed: {MODULE}, elsewhere\.jobs\)"):
        queue.enqueue(target, "ls")

    assert queue.count == 0


def test_a_class_is_no_function(queue: Queue) -> None:
    with pytest.raises(ConfigError, match="expected a function, a task or the name of one, got <class 'int'>"):
        queue.enqueue(int, "7")


def test_a_name_that_a_worker_published_is_known_too(tmp_path: Path) -> None:
    worker, sender = (QueueTasks("queues", f"sqlite:///{tmp_path}/queue.db") for _ in range(2))
    worker.task(name="letters.write")(send_mail)
    worker.publish()

    assert sender.queue().enqueue("letters.write", 7).task_name == "letters.write"

    with pytest.raises(UnknownTask, match=r"\(listed: none\)"):
        sender.queue().enqueue("letters.burn", 7)

    worker.close()
    sender.close()


def test_once_a_module_is_loaded_its_names_are_known_for_good(app: QueueTasks, queue: Queue) -> None:
    app.dotted.modules.remove("elsewhere.jobs")
    app.dotted.load()

    assert {f"{MODULE}.{name}" for name in ("send_mail", "describe", "collect")} <= set(app.tasks)
    assert not any("_private" in name or "pytest" in name or "uuid4" in name for name in app.tasks)

    with pytest.raises(UnknownTask, match=rf"did you mean '{MODULE}\.send_mail'\?"):
        queue.enqueue(f"{MODULE}.send_mial", 7)


@pytest.mark.parametrize("module", ["app/tasks.py", "", "app..tasks", 7])
def test_what_is_no_name_of_a_module_is_refused(app: QueueTasks, module: Any) -> None:
    with pytest.raises(ConfigError, match="expected the dotted name of a module"):
        app.tasks_from(module)


# --- options


@pytest.mark.parametrize(
    ("options", "overrides"),
    [
        ({}, Overrides(result_ttl=500.0)),
        ({"result_ttl": 0}, Overrides(result_ttl=0.0)),
        ({"result_ttl": None}, Overrides(result_ttl=500.0)),
        ({"result_ttl": -1}, Overrides(result_ttl=100 * 365 * 86400.0)),
        ({"failure_ttl": timedelta(hours=1)}, Overrides(result_ttl=500.0, failure_ttl=3600.0)),
        ({"job_timeout": 30}, Overrides(result_ttl=500.0, max_time=30.0)),
        ({"job_timeout": "5m"}, Overrides(result_ttl=500.0, max_time=300.0)),
        ({"job_timeout": "90"}, Overrides(result_ttl=500.0, max_time=90.0)),
        ({"job_timeout": -1}, Overrides(result_ttl=500.0, max_time=0.0)),
        ({"retry": 3}, Overrides(result_ttl=500.0, retry=3)),
    ],
)
def test_an_option_that_rules_the_end_is_stored_with_the_job(
    queue: Queue, options: dict[str, Any], overrides: Overrides
) -> None:
    assert head_of(queue.enqueue(send_mail, 7, **options)).overrides == overrides


def test_options_stand_among_the_arguments_and_do_not_reach_the_function(queue: Queue) -> None:
    id = uuid4()
    job = queue.enqueue(send_mail, 7, subject="hi", description="Writing…", job_id=str(id), at_front=True, meta={"step": 0})

    assert job.arguments == {"user_id": 7, "subject": "hi"}
    assert (job.id, job.get_id(), job.description, job.priority, job.meta) == (id, str(id), "Writing…", 100, {"step": 0})


def test_arguments_may_be_given_apart_from_the_options(queue: Queue) -> None:
    job = queue.enqueue(describe, kwargs={"description": "for the function"}, description="for people")

    assert (job.arguments, job.description) == ({"description": "for the function"}, "for people")
    assert queue.enqueue(collect, args=(1, 2), kwargs={"ttl": 3}).arguments == {"args": [1, 2], "kwargs": {"ttl": 3}}


def test_a_job_may_wait_for_others_and_for_a_time(queue: Queue) -> None:
    first, second = queue.enqueue(send_mail, 1), queue.enqueue(send_mail, 2)
    moment = datetime(2040, 1, 1, tzinfo=UTC)

    assert queue.enqueue(send_mail, 3, depends_on=[first, second.get_id()]).status is JobState.BLOCKED
    assert queue.enqueue(send_mail, 3, depends_on=first).status is JobState.BLOCKED
    assert queue.enqueue_in(timedelta(minutes=1), send_mail, 4).refresh().status is JobState.SCHEDULED
    assert queue.enqueue_at(moment, send_mail, 5).refresh().run_at == moment
    assert queue.enqueue(send_mail, 6, ttl=60).refresh().expires_at is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"job_timeout": "soon"}, 'expected job_timeout to be seconds or a text as "90", "30s", "5m" or "1h", got \'soon\''),
        ({"job_timeout": -5}, "expected job_timeout to be seconds"),
        ({"result_ttl": "500"}, "expected result_ttl to be seconds"),
        ({"ttl": -1}, "expected ttl to be seconds"),
        ({"job_id": "export"}, "expected job_id to be a UUID or its text"),
        ({"depends_on": "export"}, "expected depends_on to be a job, its id, or a list of them"),
        ({"retry": "often"}, "expected retry to be a whole number"),
        ({"meta": [1]}, "expected meta to be a dictionary"),
        ({"description": 7}, "expected description to be text"),
        ({"repeat": 3}, "the option 'repeat' does not exist here; let the task enqueue itself again"),
        ({"on_stopped": print}, "the option 'on_stopped' does not exist here; connect a handler with app.on.cancelled"),
        ({"args": (1,), "queue": "x"}, "expected all arguments in args=.* got the keyword 'queue'"),
    ],
)
def test_a_wrong_option_is_named_with_its_task(queue: Queue, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^task {MODULE}\.send_mail: {message}"):
        queue.enqueue(send_mail, **options)


def test_arguments_by_position_and_as_args_do_not_mix(queue: Queue) -> None:
    with pytest.raises(ConfigError, match=r"expected all arguments in args=.* got arguments by position"):
        queue.enqueue(send_mail, 7, kwargs={"subject": "hi"})


def test_a_parameter_that_is_an_option_too_is_refused_instead_of_swallowed(queue: Queue) -> None:
    with pytest.raises(ConfigError, match="'description' is a parameter of the task and an option of enqueue"):
        queue.enqueue(describe, description="which one?")


def test_metadata_that_cannot_be_stored_is_named(queue: Queue) -> None:
    with pytest.raises(InvalidArguments, match=r"task .*send_mail: meta cannot be encoded: a object"):
        queue.enqueue(send_mail, 7, meta={"what": object()})


@pytest.mark.parametrize("option", ["on_success", "on_failure"])
def test_a_callback_is_stored_by_name_and_has_to_be_known(queue: Queue, option: str) -> None:
    assert getattr(head_of(queue.enqueue(send_mail, 7, **{option: collect})), option) == f"{MODULE}.collect"
    assert getattr(head_of(queue.enqueue(send_mail, 7, **{option: "elsewhere.jobs.tell"})), option) == "elsewhere.jobs.tell"

    with pytest.raises(UnknownTask, match=r"unknown task 'builtins\.print'"):
        queue.enqueue(send_mail, 7, **{option: print})


# --- the queue itself


def test_a_queue_counts_and_lists_what_is_ready(queue: Queue) -> None:
    jobs = [queue.enqueue(send_mail, n) for n in range(3)]
    queue.enqueue_in(60, send_mail, 3)

    assert (queue.count, len(queue), queue.jobs) == (3, 3, jobs)
    assert bool(queue.connection.queue("empty"))  # type: ignore[attr-defined]


def test_a_queue_fetches_its_own_jobs(app: QueueTasks, queue: Queue) -> None:
    job = queue.enqueue(send_mail, 7)

    assert queue.fetch_job(job.get_id()) == job
    assert app.queue("other").fetch_job(job.id) is None
    assert queue.fetch_job("no id") is None


def test_a_queue_may_be_made_with_or_without_naming_the_application(app: QueueTasks) -> None:
    assert Queue("mail", connection=app).connection is app
    assert Queue("mail").connection is app


def test_the_async_twins_store_the_same(queue: Queue) -> None:
    async def use() -> list[Job[Any]]:
        moment = datetime(2040, 1, 1, tzinfo=UTC)
        return [
            await queue.aenqueue("elsewhere.jobs.work", 1, description="one"),
            await queue.aenqueue_in(60, send_mail, 2),
            await queue.aenqueue_at(moment, send_mail, 3),
        ]

    first, second, third = asyncio.run(use())

    assert (first.description, first.status) == ("one", JobState.READY)
    assert second.refresh().status is JobState.SCHEDULED
    assert third.refresh().run_at == datetime(2040, 1, 1, tzinfo=UTC)


# --- the handle under RQ's names


def test_fetch_finds_a_job_through_the_application_given_or_the_current_one(app: QueueTasks, queue: Queue) -> None:
    job = queue.enqueue(send_mail, 7)

    assert Job.fetch(job.get_id(), connection=app) == Job.fetch(job.id) == job


@pytest.mark.parametrize("id", [str(UUID(int=7)), "export", "", None, 7])
def test_fetch_says_that_there_is_no_such_job(app: QueueTasks, id: Any) -> None:
    with pytest.raises(JobNotFound, match=rf"no job '?{id}'? is kept"):
        Job.fetch(id, connection=app)


def test_metadata_cannot_be_saved_from_outside(queue: Queue) -> None:
    job = queue.enqueue(send_mail, 7)
    job.meta["progress"] = 5

    with pytest.raises(NoCurrentJob, match=f"expected save_meta to be called inside job {job.id}"):
        job.save_meta()

    assert job.refresh().meta == {}


def test_the_return_value_is_none_until_there_is_one() -> None:
    app = QueueTasks("queues", "memory://")

    @app.task
    def double(number: int) -> int:
        return 2 * number

    job = app.queue("mail").enqueue(double, 4)

    assert (job.return_value(), job.get_status()) == (None, "ready")

    with app.worker():
        job.result(5)

    assert (job.return_value(), job.get_status()) == (8, "succeeded")
