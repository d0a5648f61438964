"""Mistakes of the first hour: each is answered in one line that says what to do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask

import cherga
from cherga import ChergaError, Depends, Job, Queue, QueueTasks, chain, ctx, get_current_job, group
from cherga.testing import wait_until
from tests.cli_shop import finish, start


class User:
    id = 7


def needless() -> None: ...


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
    [
        ("delay", "here it is called enqueue"),
        ("apply_async", "using(…).enqueue"),
        ("send", "enqueue"),
        ("kiq", "aenqueue"),
        ("apply", "task(…), which calls the function here and now"),
        ("map", "enqueue_many"),
        ("retry", "raise RetryLater(seconds), inside the task"),
        ("request", "ctx, as in ctx.job_id"),
    ],
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
        ("conf", "QueueTasks('name', …), which takes the settings"),
        ("autodiscover_tasks", "here it is called tasks_from"),
        ("control", "app.get(id).cancel()"),
        ("on_after_configure", "app.task(cron=…)"),
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
    assert "here it is called cancel" in answer(lambda: job.terminate())
    assert "here it is called arguments" in answer(lambda: job.kwargs)


def test_waiting_where_no_worker_is(app: QueueTasks) -> None:
    assert "no worker is alive; with app.worker():" in answer(lambda: app.tasks["mail"].enqueue(1).result(timeout=0))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Celery", "here it is called QueueTasks"),
        ("chord", "group(…, then=callback.s())"),
        ("crontab", "cron='30 7 * * MON', a text"),
        ("current_task", "here it is called ctx"),
        ("Worker", "cherga worker -A module:app"),
    ],
)
def test_names_that_other_libraries_have(name: str, words: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(f"from cherga import {name}")

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_means_nothing_is_missed_as_in_every_module() -> None:
    assert not hasattr(cherga, "nothing_of_the_kind")

    with pytest.raises(ImportError, match="cannot import name 'nothing_of_the_kind'"):
        exec("from cherga import nothing_of_the_kind")


def test_flows_written_as_in_celery(app: QueueTasks) -> None:
    mail: Any = app.tasks["mail"]

    assert answer(lambda: mail.s(1) | mail.s()) == (
        "expected chain(mail.s(…), mail.s(…)) for one after the other, got <Step mail> | <Step mail>"
    )
    assert "| <Chain of 1>" in answer(lambda: mail.s(1) | chain(mail.s()))
    calls: list[Any] = [chain(mail.s(1)), group(mail.s(1)), mail.s(1), mail.using(run_in=5)]

    for called in calls:
        assert answer(called) == f"{called!r} cannot be called; store it with its enqueue(…)"


def test_a_job_in_place_of_its_id(app: QueueTasks) -> None:
    job: Any = app.tasks["mail"].enqueue(1)

    with pytest.raises(ValueError, match=r"got <Job .* mail ready>; a job's own id is job\.id"):
        app.get(job)


def test_a_signal_with_empty_brackets(app: QueueTasks) -> None:
    signal: Any = app.on.failed
    assert answer(lambda: signal()) == "expected @app.on.failed without brackets, or with a handler in them, got nothing"


def test_a_step_in_place_of_a_task(app: QueueTasks) -> None:
    step: Any = app.tasks["mail"].s(1)
    assert answer(lambda: app.add_task(step)) == (
        "expected a task or its name, got <Step mail>; store it with its own enqueue(…)"
    )


def test_arguments_packed_as_for_apply_async(app: QueueTasks) -> None:
    said = "give the arguments as they are, as in enqueue(1, name=2)"
    mail: Any = app.tasks["mail"]

    assert said in answer(lambda: mail.enqueue(args=(1,)))
    assert said in answer(lambda: mail.enqueue(kwargs={"user_id": 1}))
    assert said in answer(lambda: app.add_task("mail", args=(1,)))


@pytest.mark.parametrize("call", [1, "one", {"user_id": 1}, None])
def test_many_calls_that_are_no_tuples(app: QueueTasks, call: Any) -> None:
    words = answer(lambda: app.tasks["mail"].enqueue_many([call]))
    assert words == f"task mail: expected a tuple of arguments for each job, as in enqueue_many([(1,), (2,)]), got {call!r}"


def test_many_calls_may_be_lists(app: QueueTasks) -> None:
    (job,) = app.tasks["mail"].enqueue_many([[7, "x"]])  # type: ignore[list-item]
    assert job.arguments == {"user_id": 7, "text": "x"}


def test_self_without_echo(app: QueueTasks) -> None:
    @app.task
    def note(self: Any, x: int) -> None: ...

    assert answer(lambda: note.enqueue(1)).endswith(  # type: ignore[call-arg]
        "@app.task(echo=True) has the worker fill it in"
    )


def test_a_queue_as_rq_has_it(app: QueueTasks) -> None:
    queue: Any = app.queue("letters")

    assert "here it is called enqueue" in answer(lambda: queue.enqueue_call("mail", (1,)))
    assert "cherga queues empty NAME" in answer(lambda: queue.empty())
    assert "expected connection to be the application, a QueueTasks, got <" in answer(lambda: Queue("x", connection=object()))  # type: ignore[arg-type]
    assert "expected connection to be the application" in answer(lambda: Job.fetch("7", connection=object()))  # type: ignore[arg-type]


def test_the_kit_of_tests_has_other_words(app: QueueTasks) -> None:
    with app.testing() as kit:
        unknown: Any = kit
        assert "here it is called drain" in answer(lambda: unknown.run())


# --- inside a job


def test_words_of_other_systems_inside_a_job(app: QueueTasks) -> None:
    said: list[str] = []

    @app.task(echo=True)
    def bound(self: Any) -> None:
        said.extend(map(answer, (lambda: self.retry(countdown=5), lambda: self.request, lambda: ctx.update_state())))  # type: ignore[attr-defined]

    with app.worker():
        bound.enqueue().result(5)

    assert said[0] == "self.retry is the number of retries; here it is raise RetryLater(seconds)"
    assert "self.ctx, as in self.ctx.job_id" in said[1]
    assert "ctx.progress(done, total, note)" in said[2]


def test_meta_may_be_set_as_a_whole(app: QueueTasks) -> None:
    @app.task
    def count() -> str:
        ctx.meta = {"seen": 1}
        job = get_current_job()
        assert job is not None
        job.meta = {**job.meta, "known": 2}  # type: ignore[misc]
        ctx.save_meta()
        return answer(lambda: setattr(ctx, "meta", 7))

    with app.worker():
        job = count.enqueue()
        assert job.result(5) == "expected meta to be a dictionary, got 7"

    assert job.refresh().meta == {"seen": 1, "known": 2}


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


def test_a_function_without_a_name(app: QueueTasks) -> None:
    words = answer(lambda: app.task(lambda: None))
    assert words.startswith("expected a function with a name, got <lambda>; write app.task('name')(…) (")


def test_a_time_zone_without_times(app: QueueTasks) -> None:
    words = answer(lambda: app.task(timezone="Europe/Kyiv")(needless))
    assert words.endswith("expected cron or every, for the times at which it runs, got neither")


def test_errors_to_retry_without_retries(app: QueueTasks) -> None:
    words = answer(lambda: app.task(retry_on_exc=[ConnectionError])(undeclared))
    assert words.endswith("expected retry beside retry_on_exc, for without it nothing is tried again, as in retry=5")
    assert app.task(retry=0, retry_on_exc=[ConnectionError])(undeclared).policy.retry.max == 0


def test_depends_that_is_given_nothing(app: QueueTasks) -> None:
    def view(db: Any = Depends) -> None: ...

    assert answer(lambda: app.task(view)).endswith("expected db=Depends(function) for the parameter 'db', got Depends alone")


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
    assert "with FastAPI write cherga.contrib.fastapi.Cherga(app)" in answer(lambda: QueueTasks(FastAPI()))  # type: ignore[arg-type]


def test_a_url_in_place_of_a_name() -> None:
    assert answer(lambda: QueueTasks("sqlite:///jobs.db")) == (
        "expected a name for the application first, got 'sqlite:///jobs.db'; write QueueTasks('shop', 'sqlite:///jobs.db')"
    )
    assert "secret" not in answer(lambda: QueueTasks("redis://me:secret@localhost"))


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
    assert answer(lambda: app.worker(queues="default")) == "expected queues to be a list of texts, got 'default'"


def test_an_embedded_worker_that_is_not_entered(app: QueueTasks) -> None:
    worker: Any = app.worker()

    async def enter() -> None:
        async with worker:
            pass

    assert "with app.worker():, which runs jobs until the block ends" in answer(lambda: worker.start())
    assert answer(lambda: asyncio.run(enter())) == "expected with app.worker():, in async def code too, got async with"


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
        (
            ("worker", "jobs:app"),
            2,
            "got unexpected extra argument (jobs:app); the application is named with -A, its queues with -q",
        ),
        (("worker", "-A", "jobs:app", "--threads", "x"), 2, "invalid value for '--threads': 'x' is not a valid whole number"),
        (("worker", "-A", "jobs:app", "--with-scheduler"), 2, "leave it out: every worker enqueues what is due"),
        (("worker", "-A", "jobs:app", "--autoscale", "8"), 2, "did you mean --processes?"),
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


HEAD = """
from cherga import QueueTasks

app = QueueTasks("first")


@app.task
def work() -> int:
    return 7


"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("work.enqueue().result()", "it waits for a job meanwhile; put that under if __name__ == '__main__':"),
        ("list(app.watch(work.enqueue().id))", "it waits for a job meanwhile"),
        ("with app.worker():\n    pass", "it starts a worker with app.worker() meanwhile"),
    ],
)
def test_a_module_that_does_more_than_declare_is_refused_where_a_worker_would_never_begin(
    tmp_path: Path, code: str, words: str
) -> None:
    (tmp_path / "jobs.py").write_text(HEAD + code)

    for command in (("worker", "-A", "jobs:app"), ("jobs", "list", "-A", "jobs:app")):
        ran = finish(start(tmp_path, *command))
        assert ran.code == 3
        assert "importing 'jobs' failed" in ran.err
        assert words in ran.err.splitlines()[-1]


def test_a_module_that_enqueues_when_it_is_imported_is_warned_about_once(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(HEAD + "work.enqueue()\nwork.enqueue()\n")
    ran = finish(start(tmp_path, "worker", "-A", "jobs:app", "--burst"))

    assert ran.code == 0
    assert ran.err.count("importing the application enqueued a job of task work, as every start of a worker") == 1


def test_a_dot_in_place_of_the_colon(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(HEAD)
    assert "did you mean 'jobs:app'?" in finish(start(tmp_path, "worker", "-A", "jobs.app")).err


def test_a_task_in_place_of_the_application(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(HEAD)
    ran = finish(start(tmp_path, "worker", "-A", "jobs:work"))

    assert ran.code == 3
    assert "expected 'jobs:work' to be an application, got <Task work>; name the QueueTasks it belongs to" in ran.err


def test_files_that_are_called_like_modules_of_python_are_in_nobodys_way(tmp_path: Path) -> None:
    for name in ("queue", "signal", "select", "socket"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is not the module of Python')\n")

    (tmp_path / "jobs.py").write_text(HEAD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    script = [sys.executable, "-P", "-m", "cherga", "worker", "-A", "jobs:app", "--burst"]
    ran = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr


def test_a_file_that_is_called_like_the_library(tmp_path: Path) -> None:
    (tmp_path / "cherga.py").write_text(HEAD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    script = [sys.executable, "-P", "-m", "cherga", "worker", "-A", "cherga:app"]
    ran = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 3
    assert f"(from 'cherga:app'); rename {tmp_path}/cherga.py" in ran.stderr
