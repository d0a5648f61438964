"""Wrong uses are answered at declaration where they can be, with the task, its file and its line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import CodeType
from typing import Any

import pytest

from cherga import ConfigError, InvalidArguments, QueueTasks, Retry, Router, SyncTask, TaskError, chain, group
from cherga.client import foreign


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("wrong", "memory://")


def line_of(function: Callable[..., Any]) -> int:
    code: CodeType = inspect.unwrap(function).__code__
    return code.co_firstlineno


def mail(number: int = 0) -> str:
    return f"mail {number}"


def values() -> Iterator[int]:
    yield 1


class TakesTwo:
    def __init__(self, one: Any, two: Any) -> None: ...
    def __call__(self, call: Any) -> None: ...


class NotCallable:
    """Has no __call__."""


class CallWithNothing:
    def __call__(self) -> None: ...


class NarrowStep:
    def before(self) -> None: ...


class ReplacesMachinery:
    def execute(self, call: Any) -> None: ...


class MistypedStep:
    def on_eror(self, call: Any, error: Exception) -> None: ...


class StepIsNoFunction:
    decode = 7


class NeedsUrl:
    def __init__(self, url: str) -> None: ...


WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (
        mail,
        {"max_time": "10"},
        "expected max_time to be seconds, a timedelta or a text like \"5m\", from 0 to a hundred years, got '10'",
    ),
    (mail, {"max_time": -1}, "expected max_time"),
    (mail, {"max_time": True}, "expected max_time"),
    (mail, {"max_time": float("nan")}, "expected max_time"),
    (mail, {"result_ttl": "a day"}, "expected result_ttl"),
    (mail, {"failure_ttl": timedelta(days=-1)}, "expected failure_ttl"),
    (mail, {"retry": "3"}, "expected retry to be a whole number, 0 or more, got '3'"),
    (mail, {"retry": 2.5}, "expected retry"),
    (mail, {"retry": -1}, "expected retry"),
    (mail, {"retry_on_exc": ["ValueError"]}, "expected retry_on_exc to hold exception classes, got 'ValueError'"),
    (mail, {"retry_on_exc": [ValueError()]}, "expected retry_on_exc to hold exception classes, got ValueError()"),
    (mail, {"retry_on_exc": [int]}, "expected retry_on_exc to hold exception classes, got <class 'int'>"),
    (mail, {"priority": "high"}, "expected priority to be a whole number from -100 to 100, got 'high'"),
    (mail, {"priority": 101}, "expected priority"),
    (mail, {"queue": "two words"}, "expected queue to be 1 to 200 letters"),
    (mail, {"tags": "one"}, "expected tags to be a list of texts, got 'one'"),
    (mail, {"description": 7}, "expected description to be text, got 7"),
    (mail, {"unique": ["no_parameter"]}, "expected unique to name its parameters, got 'no_parameter'"),
    (mail, {"on_crash": "explode"}, "expected on_crash to be 'retry' or 'fail', got 'explode'"),
    (mail, {"aliases": "one"}, "expected aliases to be a list of texts"),
    (mail, {"echo": "yes"}, "expected echo to be True or False, got 'yes'"),
    (lambda: None, {"echo": True, "name": "x"}, "expected a first parameter (self) for echo=True"),
    (lambda *, x: None, {"echo": True, "name": "x"}, "expected a first parameter (self) for echo=True"),
    (mail, {"awaiting": "yes"}, "expected awaiting to be True or False"),
    (mail, {"executor": "MyExec"}, "expected executor to be a class, got 'MyExec'"),
    (mail, {"executor": NarrowStep}, "expected NarrowStep.before to take 1 besides self, got (self)"),
    (mail, {"executor": ReplacesMachinery}, "expected executor ReplacesMachinery to have steps (before, call, exhaust"),
    (mail, {"executor": MistypedStep}, "executor MistypedStep has no step 'on_eror'; did you mean 'on_error'?"),
    (mail, {"executor": StepIsNoFunction}, "expected StepIsNoFunction.decode to be a function, got 7"),
    (mail, {"executor": bool}, "expected executor bool to be a class that can be mixed in"),
    (mail, {"executor": NeedsUrl}, "expected executor NeedsUrl to be made with nothing"),
    (mail, {"middlewares_before": mail}, "expected middlewares_before to be a list, got"),
    (mail, {"middlewares_before": ["mail"]}, "expected an entry of middlewares_before to be a function, got 'mail'"),
    (mail, {"middlewares_before": [lambda: None]}, "expected an entry of middlewares_before to take one argument"),
    (mail, {"middlewares_after": [TakesTwo]}, "expected class TakesTwo in middlewares_after to be made with"),
    (mail, {"middlewares_after": [NotCallable]}, "expected class NotCallable in middlewares_after to have a __call__"),
    (mail, {"middlewares_after": [CallWithNothing]}, "expected class CallWithNothing in middlewares_after to have a __call__"),
    (mail, {"generate_handler": print}, "expected generate_handler on a generator"),
    (values, {"generate_handler": "print"}, "expected generate_handler to be a function, got 'print'"),
    (values, {"generate_handler": lambda a, b: None}, "expected generate_handler to take one argument"),
    (mail, {"decode": lambda: None}, "expected decode to take one argument"),
    (mail, {"decode": 7}, "expected decode to be a function, got 7"),
    (mail, {"retrys": 3}, "unknown option 'retrys'; did you mean 'retry'?"),
    (mail, {"middleware_before": []}, "unknown option 'middleware_before'; did you mean 'middlewares_before'?"),
    (mail, {"max_retries": 3}, "unknown option 'max_retries'; did you mean 'retry'?"),
    (mail, {"timeout": 3}, "unknown option 'timeout'; did you mean 'max_time'?"),
    (mail, {"once": {"keys": ["to"]}}, "unknown option 'once'; did you mean 'unique'?"),
    (mail, {"retry_backoff": True}, "unknown option 'retry_backoff'; did you mean 'retry'?"),
    (mail, {"expires": 60}, "unknown option 'expires'; say it of a job: task.using(expires=…)"),
    (mail, {"countdown": 60}, "unknown option 'countdown'; say it of a job: task.using(run_in=…)"),
    (mail, {"rate": "5/s"}, "unknown option 'rate'; did you mean 'rate_limit'?"),
    (mail, {"max_length": 5}, "unknown option 'max_length'; say it of a queue: app.limit(queue=…, max_length=…)"),
    (mail, {"nam": "x"}, "unknown option 'nam'; did you mean 'name'?"),
]


@pytest.mark.parametrize(
    ("function", "options", "message"), WRONG, ids=[f"{i}-{next(iter(w[1]))}" for i, w in enumerate(WRONG)]
)
def test_a_wrong_option_is_named_with_task_file_and_line(
    app: QueueTasks, function: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    for declarer in (app, Router()):
        with pytest.raises(ConfigError) as caught:
            declarer.task(**options)(function)

        said = str(caught.value)
        name = options.get("name", function.__name__)
        assert said.startswith(f"task {name} ({__file__}:{line_of(function)}): ")
        assert message in said

    assert not {"mail", "values", "x"} & app.tasks.keys()


class TestOtherWrongUses:
    @pytest.mark.parametrize("name", ["two words", "", "a" * 201, 7])
    def test_a_name_that_cannot_be_one(self, app: QueueTasks, name: Any) -> None:
        with pytest.raises(ConfigError, match=rf"expected a task's name to be 1 to 200 letters.*{line_of(mail)}"):
            app.task(name=name)(mail)

    @pytest.mark.parametrize("options", [{"name": "cherga.group"}, {"aliases": ["cherga.group"]}])
    def test_the_name_of_groups_is_not_for_tasks(self, app: QueueTasks, options: Any) -> None:
        with pytest.raises(ConfigError, match=r"other than 'cherga\.group'"):
            app.task(**options)(mail)

    def test_a_lambda_needs_a_name(self, app: QueueTasks) -> None:
        with pytest.raises(ConfigError, match=r"expected a function with a name, got <lambda>; write app\.task\('name'\)"):
            app.task(lambda: None)

    @pytest.mark.parametrize("value", ["mail", 7, None, NotCallable])
    def test_what_is_no_function(self, app: QueueTasks, value: Any) -> None:
        with pytest.raises(TaskError, match="expected a function to declare as a task"):
            app.task()(value)

    def test_two_names(self, app: QueueTasks) -> None:
        with pytest.raises(ConfigError, match=r"expected task\(\) to be given one name, got 'one' and 'two'"):
            app.task("one", name="two")

    def test_parameters_that_cannot_be_stored(self, app: QueueTasks) -> None:
        class Odd:
            __name__ = "odd"
            __signature__ = "not a signature"

            def __call__(self) -> None: ...

        with pytest.raises(TaskError, match=r"task odd \(.*Odd object.*\): expected a function whose parameters can be read"):
            app.task(Odd())

    @pytest.mark.parametrize("option", [{"name": "mail"}, {"aliases": ["post"]}])
    def test_a_router_has_no_name_for_its_tasks(self, option: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=r"on a task, not on a router; .* is prefix"):
            Router(**option)

    def test_a_prefix_brings_no_dot_of_its_own(self) -> None:
        with pytest.raises(ConfigError, match=r"prefix without the dot, which is put behind it; got 'mail\.'"):
            Router("mail.")

    def test_a_retry_that_is_wrong_in_itself(self) -> None:
        with pytest.raises(ConfigError, match="expected give_up_on of Retry to hold exception classes"):
            Retry(max=1, give_up_on=("KeyError",))  # type: ignore[arg-type]

    @pytest.mark.parametrize("method", ["middleware", "around_enqueue"])
    @pytest.mark.parametrize("wrap", ["text", lambda: None])
    def test_a_middleware_that_wraps_nothing(self, app: QueueTasks, method: str, wrap: Any) -> None:
        with pytest.raises(ConfigError, match="to be a function that takes what comes next"):
            getattr(app, method)(wrap)


def test_nothing_is_left_of_a_task_that_was_declared_wrongly(app: QueueTasks) -> None:
    router = Router()
    app.include_router(router)

    with pytest.raises(ConfigError):
        router.task(retry="x")(mail)  # type: ignore[call-overload]

    assert "mail" not in app.tasks
    task = router.task(mail)

    with app.worker():
        assert task.enqueue(1).result(5) == "mail 1"


@pytest.mark.parametrize(("verb", "ours"), [("delay", "enqueue"), ("apply_async", "enqueue"), ("kiq", "aenqueue")])
def test_the_verbs_of_other_systems_are_answered_with_ours(app: QueueTasks, verb: str, ours: str) -> None:
    task = app.task(name="work")(lambda number: number)

    with pytest.raises(AttributeError, match=rf"has no attribute '{verb}'; here it is called .*{ours}"):
        getattr(task, verb)


@pytest.mark.parametrize(
    ("verb", "ours"),
    [("get", "result"), ("ready", "is_finished"), ("state", "status"), ("revoke", "cancel"), ("successful", "is_succeeded")],
)
def test_the_verbs_of_other_systems_for_a_job_are_answered_with_ours(app: QueueTasks, verb: str, ours: str) -> None:
    job = app.task(name="work")(lambda number: number).enqueue(1)

    with pytest.raises(AttributeError, match=rf"'Job' object has no attribute '{verb}'; here it is called {ours}"):
        getattr(job, verb)


@pytest.mark.parametrize(
    ("verb", "ours"), [("request", "self.ctx"), ("update_state", "self.ctx.progress"), ("delay", "self.add_task")]
)
def test_the_verbs_of_other_systems_for_a_bound_task_are_answered_with_ours(app: QueueTasks, verb: str, ours: str) -> None:
    @app.task(echo=True)
    def work(self: SyncTask) -> None:
        getattr(self, verb)

    with app.worker():
        job = work.enqueue()
        job.await_end(10)

    assert job.error is not None
    assert f"'SyncTask' object has no attribute '{verb}'; here it is called {ours}" in job.error.message


def test_the_verbs_of_other_systems_for_flows_and_applications_are_answered_with_ours(app: QueueTasks) -> None:
    step = app.task(name="work")(lambda number: number).s(1)

    for part in (step, chain(step), group(step)):
        with pytest.raises(AttributeError, match="has no attribute 'delay'; here it is called enqueue"):
            getattr(part, "delay")  # noqa: B009

    with pytest.raises(AttributeError, match="has no attribute 'send_task'; here it is called add_task"):
        getattr(app, "send_task")  # noqa: B009

    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        getattr(app, "nothing")  # noqa: B009


def test_every_word_that_is_named_instead_exists(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda number: number)
    step = task.s(1)
    owners = (
        (task, foreign.TASK),
        (step.enqueue(), foreign.JOB),
        (group(step).enqueue(), foreign.JOB),
        (step, foreign.FLOW),
        (app, foreign.APPLICATION),
    )
    called = [(owner, ours) for owner, words in owners for ours in words.values() if ours.isidentifier()]

    assert [ours for owner, ours in called if not hasattr(owner, ours)] == []
    assert [theirs for owner, words in owners for theirs in words if hasattr(owner, theirs)] == []


def test_an_option_among_the_arguments_is_shown_its_place(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda number: number)

    with pytest.raises(InvalidArguments, match=r"options such as priority go into using\(priority=…\)"):
        task.enqueue(1, priority=3)
