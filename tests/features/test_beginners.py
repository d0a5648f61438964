"""Mistakes of the first hour: each is answered in one line that says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cherga import ChergaError, QueueTasks, chain, ctx, group
from cherga.testing import wait_until
from tests.cli_shop import finish, start


class User:
    id = 7


def undeclared(x: int) -> int:
    return x


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    with closing(QueueTasks("first", "memory://")) as app:

        @app.task
        def mail(user_id: int, text: str = "") -> int:
            return user_id

        yield app


def answer(mistake: Callable[[], Any]) -> str:
    """The one line that the mistake is answered with."""
    with pytest.raises((ChergaError, AttributeError, TypeError)) as caught:
        mistake()

    words = str(caught.value)
    assert "\n" not in words
    return words


# --- calling


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        (
            ("seven",),
            {},
            "task mail(user_id: int, text: str = '') -> int: argument 'user_id': Expected `int`, got `str`; got 'seven'",
        ),
        ((), {}, "missing a required argument: 'user_id'"),
        ((1,), {"tekst": "x"}, "got an unexpected keyword argument 'tekst'"),
        ((User(),), {}, "a User cannot be stored in a job; pass its id or plain data instead"),
    ],
)
def test_arguments_that_do_not_fit(app: QueueTasks, args: Any, kwargs: Any, words: str) -> None:
    assert words in answer(lambda: app.tasks["mail"].enqueue(*args, **kwargs))


@pytest.mark.parametrize(
    ("verb", "words"),
    [("delay", "here it is called enqueue"), ("apply_async", "using(…).enqueue"), ("send", "enqueue"), ("kiq", "aenqueue")],
)
def test_verbs_of_other_systems(app: QueueTasks, verb: str, words: str) -> None:
    assert words in answer(lambda: getattr(app.tasks["mail"], verb)(1))


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("enqueue", "here it is called task.enqueue(…), or add_task(name, …)"),
        ("run", "here it is called cherga worker -A module:app, or with app.worker():"),
        ("start", "cherga worker -A module:app"),
        ("mail", "the task is app.tasks['mail']"),
        ("send_task", "here it is called add_task"),
    ],
)
def test_what_an_application_has_not(app: QueueTasks, attribute: str, words: str) -> None:
    assert words in answer(lambda: getattr(app, attribute))


def test_awaiting_a_call_that_does_not_wait(app: QueueTasks) -> None:
    async def view() -> None:
        await app.tasks["mail"].enqueue(1)  # type: ignore[misc]

    assert "object Job can't be used in 'await' expression" in answer(lambda: asyncio.run(view()))


def test_a_function_that_is_no_task(app: QueueTasks) -> None:
    assert "declare it with @app.task, then call its enqueue(…)" in answer(lambda: app.add_task(undeclared, 1))  # type: ignore[arg-type]
    assert "expected a declared task" in answer(lambda: app.queue("default").enqueue(undeclared, 1))


def test_a_task_in_place_of_its_name_is_no_mistake(app: QueueTasks) -> None:
    assert app.add_task(app.tasks["mail"], 7).arguments == {"user_id": 7, "text": ""}


def test_a_time_without_a_zone(app: QueueTasks) -> None:
    words = answer(lambda: app.tasks["mail"].using(run_at=datetime(2031, 5, 17)))  # noqa: DTZ001
    assert "expected run_at to be a datetime with a time zone" in words


@pytest.mark.parametrize(
    ("option", "meant"), [("delay", "run_in"), ("countdown", "run_in"), ("eta", "run_at"), ("prio", "priority")]
)
def test_options_of_other_systems(app: QueueTasks, option: str, meant: str) -> None:
    options: Any = {option: 5}
    assert meant in answer(lambda: app.tasks["mail"].using(**options))


def test_jobs_and_tasks_in_place_of_steps(app: QueueTasks) -> None:
    mail = app.tasks["mail"]

    assert "expected chain to be given steps such as task.s(1)" in answer(lambda: chain(mail, mail))  # type: ignore[call-overload]
    assert "expected group to be given steps such as task.s(1)" in answer(lambda: group(mail.enqueue(1)))  # type: ignore[call-overload]


def test_ctx_outside_of_a_job() -> None:
    assert "expected to be called inside a job, but none runs here" in answer(lambda: ctx.progress(1, 2))


def test_words_of_handles_elsewhere(app: QueueTasks) -> None:
    job: Any = app.tasks["mail"].enqueue(1)

    assert "here it is called result" in answer(lambda: job.get())
    assert "here it is called status" in answer(lambda: job.state)


def test_waiting_where_no_worker_is(app: QueueTasks) -> None:
    assert "no worker is alive; cherga worker -A module:app" in answer(lambda: app.tasks["mail"].enqueue(1).result(timeout=0))


# --- declaring


def test_declaring_what_is_no_function(app: QueueTasks) -> None:
    assert "expected a function to declare as a task" in answer(lambda: app.task(User))
    assert "expected task() to be given a function or a name, got 5" in answer(lambda: app.task(5))  # type: ignore[call-overload]


def test_two_tasks_of_one_name(app: QueueTasks) -> None:
    words = answer(lambda: app.task(name="mail")(undeclared))
    assert words.startswith("the task name 'mail' is taken")
    assert words.count(".py:") == 2


def test_an_option_that_is_misspelt(app: QueueTasks) -> None:
    assert "did you mean 'retry'?" in answer(lambda: app.task(retrys=3)(undeclared))  # type: ignore[call-overload]


def test_depends_of_another_library(app: QueueTasks) -> None:
    foreign = type("Depends", (), {"__module__": "fastapi.params"})

    def view(db: Any = foreign()) -> None: ...  # noqa: B008 (as their users write it)

    assert "from cherga import Depends" in answer(lambda: app.task(view))


# --- applications and brokers


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://jobs.db", "expected a broker URL like sqlite:///relative.db or sqlite:////absolute/path.db"),
        ("sqllite:///jobs.db", "did you mean sqlite://?"),
        ("jobs.db", "expected a broker URL such as 'sqlite:///jobs.db', or a Path"),
        (
            "sqlite:////no/such/folder/jobs.db",
            "expected the folder /no/such/folder for the queue file jobs.db; there is none, create it",
        ),
    ],
)
def test_a_broker_url_that_is_none(url: str, words: str) -> None:
    assert words in answer(lambda: QueueTasks("first", url).broker)


def test_a_flask_application_in_place_of_a_name() -> None:
    assert "with Flask write cherga.contrib.flask.Cherga(app)" in answer(lambda: QueueTasks(Flask("site")))  # type: ignore[arg-type]


def test_two_applications_on_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"

    with closing(QueueTasks("one", url)) as one, closing(QueueTasks("two", url)) as two:
        one.add_task("work")
        words = answer(lambda: two.add_task("work"))

    assert "one" in words
    assert "two" in words


def test_options_that_an_embedded_worker_has_not(app: QueueTasks) -> None:
    assert "several processes are those of cherga worker --processes N" in answer(lambda: app.worker(processes=2))
    assert "did you mean 'threads'?" in answer(lambda: app.worker(thread=2))


def test_a_task_that_the_worker_does_not_know(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    with app.worker():
        job = app.add_task("mial", 7)
        wait_until(lambda: "no task of that name" in caplog.text, "the worker says so")

        assert "no worker that listens to queue default knows task mial (did you mean 'mail'?)" in str(job.explain())


# --- the command line


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("worker", "-A", "no_such_module"), 3, "expected a module named 'no_such_module'"),
        (("worker", "-A", "jobs.py"), 3, "expected a file jobs.py"),
        (("worker",), 2, "expected an application: -A module:app, or CHERGA_APP in the environment"),
        (("jobs", "list"), 2, "expected an application (-A module:app or CHERGA_APP) or a broker"),
        (("job", "list"), 2, "unknown command 'job'; did you mean 'jobs'?"),
        (("jobs", "show", "7"), 2, "expected the id of a job"),
    ],
)
def test_calls_of_the_command_line(tmp_path: Path, args: tuple[str, ...], code: int, words: str) -> None:
    ran = finish(start(tmp_path, *args))

    assert ran.code == code
    assert words in ran.err
    assert ran.err.count("\n") == 1
