"""``@app.task``: what it takes, what it keeps, and what it refuses with the place in the code."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from cherga import ConfigError, Context, DuplicateTask, QueueTasks, ResultTimeout, Retry, Router, Task, TaskError
from cherga.words.push import JobHead, Overrides


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("shop", "memory://")


def test_a_task_is_still_the_plain_function(app: QueueTasks) -> None:
    @app.task
    def add(a: int, b: int = 2) -> int:
        """Add up."""
        return a + b

    assert add(1) == 3
    assert (add.name, add.__name__, add.__doc__, add.__module__) == ("add", "add", "Add up.", __name__)
    assert isinstance(add, Task)
    assert app.tasks == {"add": add}


def test_an_async_task_is_still_the_plain_coroutine_function(app: QueueTasks) -> None:
    @app.task
    async def add(a: int) -> int:
        return a + 1

    assert asyncio.run(add(1)) == 2
    assert add.is_async


def test_a_task_may_be_named_in_three_ways(app: QueueTasks) -> None:
    app.task(lambda: None, name="one")  # type: ignore[call-overload]
    app.task("two")(lambda: None)
    app.task(name="three", queue="mail")(lambda: None)

    assert list(app.tasks) == ["one", "two", "three"]


def test_options_of_a_task_become_its_policy_and_its_order(app: QueueTasks) -> None:
    @app.task(queue="mail", priority=5, retry=3, retry_on_exc=[OSError], max_time=60, result_ttl=1, failure_ttl=2, tags=["a"])
    def send() -> None: ...

    assert (send.queue, send.priority, send.tags, send.description) == ("mail", 5, ("a",), None)
    assert send.policy.retry == Retry(max=3, on=(OSError,))
    assert (send.policy.max_time, send.policy.result_ttl, send.policy.failure_ttl) == (60.0, 1.0, 2.0)


def test_a_whole_retry_may_be_given(app: QueueTasks) -> None:
    retry = Retry(max=3, backoff=1, give_up_on=(KeyError,))

    assert app.task(name="a", retry=retry)(lambda: None).policy.retry == retry
    assert app.task(name="b", retry=retry, retry_on_exc=[OSError])(lambda: None).policy.retry.on == (OSError,)


def test_defaults_come_from_the_applications_settings() -> None:
    app = QueueTasks("shop", "memory://", max_time=5, result_ttl=6, failure_ttl=7)
    task = app.task(name="work")(lambda: None)

    assert (task.policy.max_time, task.policy.result_ttl, task.policy.failure_ttl) == (5.0, 6.0, 7.0)


def test_a_task_may_run_without_a_limit(app: QueueTasks) -> None:
    assert app.task(name="work", max_time=None)(lambda: None).policy.max_time is None


NO_LIMITS = [0, 0.0, -0.0, timedelta(), -1, timedelta(seconds=-1), math.nan, math.inf, -math.inf, True, False, "60", 10**400]


@pytest.mark.parametrize("limit", NO_LIMITS)
def test_what_is_no_limit_of_a_run_is_refused_wherever_it_is_said(app: QueueTasks, limit: Any) -> None:
    task = app.task(name="work")(lambda: None)
    said: list[Callable[[], Any]] = [
        lambda: app.task(name="other", max_time=limit)(lambda: None),
        lambda: Router("mail", max_time=limit).task(name="other")(lambda: None),
        lambda: task.using(max_time=limit),
        lambda: app.schedule("nightly", task.using(max_time=limit), every=60),
        lambda: QueueTasks("shop", "memory://", max_time=limit),
        lambda: app.queue().enqueue("work", job_timeout=limit) if limit not in (-1, "60") else task.using(max_time=limit),
    ]

    for say in said:
        with pytest.raises(ConfigError, match=r"max_time|job_timeout"):
            say()

    with app.testing() as kit:
        assert kit.enqueued() == []


@pytest.mark.parametrize("limit", [0, "0", "0m", timedelta()])
def test_a_limit_of_nothing_is_told_what_no_limit_is(app: QueueTasks, limit: Any) -> None:
    app.task(name="work")(lambda: None)

    with pytest.raises(ConfigError, match=r"expected job_timeout to be more than 0 seconds, or -1 for no limit, got"):
        app.queue().enqueue("work", job_timeout=limit)

    if not isinstance(limit, str):
        with pytest.raises(ConfigError, match="expected max_time to be more than 0 seconds, or None for no limit, got"):
            app.task(name="other", max_time=limit)(lambda: None)


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf, True, "5"])
def test_a_wait_that_is_none_stores_nothing(app: QueueTasks, timeout: Any) -> None:
    app.task(name="work")(lambda: None)

    with app.testing() as kit:
        with pytest.raises(ConfigError, match="expected timeout to be seconds, a timedelta or"):
            app.add_task("work", timeout=timeout)

        with pytest.raises(ConfigError, match="expected timeout to be seconds, a timedelta or"):
            asyncio.run(app.aadd_task("work", timeout=timeout))

        assert kit.enqueued() == []

        with pytest.raises(ResultTimeout):
            app.add_task("work", timeout=0)


@pytest.mark.parametrize("option", ["threads", "concurrency"])
@pytest.mark.parametrize("number", [0, -1, True, 1.5, "4"])
def test_a_worker_of_nothing_is_refused(app: QueueTasks, option: str, number: Any) -> None:
    with pytest.raises(ConfigError, match=f"expected {option} to be a whole number, 1 or more, got"):
        app.worker(**{option: number})


@pytest.mark.parametrize("steps", [0, "", False, {}])
def test_what_is_no_list_of_middlewares_is_refused(app: QueueTasks, steps: Any) -> None:
    with pytest.raises(ConfigError, match="expected middlewares_before to be a list"):
        app.task(name="work", middlewares_before=steps)(lambda: None)


def test_nothing_is_an_answer_too(app: QueueTasks) -> None:
    @app.task(priority=7, retry=3, result_ttl=60, failure_ttl=60)
    def work() -> None: ...

    @app.task(priority=0, retry=0, result_ttl=0, failure_ttl=0, batch=1, batch_wait=0)
    def little(numbers: list[int]) -> None: ...

    with app.testing():
        job = work.using(priority=0, retry=0, result_ttl=0, failure_ttl=0, run_in=0).enqueue()

    overrides = msgspec.msgpack.decode(job.row.head or b"", type=JobHead).overrides
    assert (job.priority, overrides) == (0, Overrides(retry=0, result_ttl=0.0, failure_ttl=0.0))
    assert (little.priority, little.policy.retry.max, little.policy.result_ttl, little.policy.failure_ttl) == (0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queeu": "mail"}, "unknown option 'queeu'; did you mean 'queue'?"),
        ({"queue": "two words"}, "expected queue to be 1 to 200 letters"),
        ({"priority": 101}, "expected priority to be a whole number from -100 to 100, got 101"),
        ({"retry": -1}, "expected retry to be a whole number, 0 or more, got -1"),
        ({"retry_on_exc": ["OSError"]}, "expected retry_on_exc to hold exception classes, got 'OSError'"),
        ({"max_time": -1}, "expected max_time to be seconds, a timedelta or"),
        ({"result_ttl": None}, "expected result_ttl to be seconds, a timedelta or"),
        ({"on_crash": "explode"}, "expected on_crash to be 'retry' or 'fail', got 'explode'"),
        ({"tags": "mail"}, "expected tags to be a list of texts, got 'mail'"),
        ({"tags": [1]}, "expected each of tags to be text, got 1"),
        ({"aliases": "old"}, "expected aliases to be a list of texts, got 'old'"),
        ({"aliases": ["old name"]}, "expected an alias to be 1 to 200 letters"),
        ({"description": 7}, "expected description to be text, got 7"),
        ({"unique": 7}, "expected unique to be"),
    ],
)
def test_a_wrong_option_is_named_with_its_place(app: QueueTasks, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        app.task(name="work", **options)(lambda: None)

    assert words in str(caught.value)
    assert f"task work ({__file__}:" in str(caught.value)
    assert app.tasks == {}


def test_a_unique_key_of_parameters_that_do_not_exist_is_refused(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected unique to name its parameters, got 'usr'; did you mean 'user'"):

        @app.task(unique=["usr"])
        def work(user: int) -> None: ...


def test_two_functions_of_one_name_are_refused_with_both_places(app: QueueTasks) -> None:
    app.task(name="work")(lambda: None)

    with pytest.raises(DuplicateTask, match=rf"the task name 'work' is taken: {__file__}:\d+ and {__file__}:\d+"):
        app.task(name="work")(lambda: 1)


def test_an_alias_takes_a_name_too(app: QueueTasks) -> None:
    app.task(name="work", aliases=["old_work"])(lambda: None)

    with pytest.raises(DuplicateTask, match="'old_work' is taken"):
        app.task(name="old_work")(lambda: 1)

    with pytest.raises(DuplicateTask, match="'work' is taken"):
        app.task(name="other", aliases=["work"])(lambda: 1)

    assert list(app.tasks) == ["work"]


def test_a_factory_that_is_called_twice_declares_the_same_task_again(app: QueueTasks) -> None:
    def declare() -> Task[[], int]:
        @app.task
        def work() -> int:
            return 1

        return work

    declare()
    second = declare()

    assert app.tasks["work"] is second


@pytest.mark.parametrize("function", [lambda: None, functools.partial(print, 1)])
def test_a_function_without_a_proper_name_needs_one(app: QueueTasks, function: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected a function with a name, got .*; write app\.task\('name'\)"):
        app.task(function)

    app.task(name="work")(function)


def test_what_is_no_function_is_refused(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match=r"expected task\(\) to be given a function or a name, got 5"):
        app.task(5)(lambda: None)  # type: ignore[call-overload]

    with pytest.raises(TaskError, match="expected a function to declare as a task, got 'not one'"):
        app.task(name="work")("not one")  # type: ignore[call-overload]


def test_parameters_annotated_context_are_filled_in_by_the_worker(app: QueueTasks) -> None:
    @app.task
    def work(a: int, context: Context, *, maybe: Context | None = None) -> None: ...

    assert work.injected == ("context", "maybe")
    assert work.signature.names == ("a",)


@pytest.mark.parametrize(
    "hint", [Context, Context | None, "Context", "cherga.Context", "Context | None", "cherga.Context|None"]
)
def test_a_context_parameter_is_known_however_it_is_written(app: QueueTasks, hint: Any) -> None:
    def work(a: Any) -> None: ...

    work.__annotations__["a"] = hint

    assert app.task(work).injected == ("a",)


def test_annotations_that_cannot_be_hashed_are_no_trouble(app: QueueTasks) -> None:
    def work(a: Any) -> None: ...

    work.__annotations__["a"] = Annotated[int, []]

    assert app.task(work).injected == ()


def test_settings_may_come_after_the_tasks(app: QueueTasks) -> None:
    task = app.task(name="work", retry=2)(lambda: None)
    limited = app.task(name="limited", max_time=9)(lambda: None)
    app.configure("store", "memory://", max_time=5, max_payload=100)

    assert (task.policy.max_time, task.policy.retry.max, limited.policy.max_time) == (5.0, 2, 9.0)
    assert (app.name, app.max_payload) == ("store", 100)


def test_what_is_not_configured_stays_as_it_was(tmp_path: Path) -> None:
    app = QueueTasks("shop", f"sqlite:///{tmp_path}/queue.db", max_time=7, lease=60)
    app.configure(lookahead=5)
    app.configure("store", lease=90)

    assert (app.name, app.broker_url) == ("store", f"sqlite:///{tmp_path}/queue.db")
    assert (app.settings.max_time, app.settings.lookahead, app.settings.broker.lease) == (7, 5, 90)
    assert app.given_settings == {"max_time": 7, "lookahead": 5, "lease": 90}


@pytest.mark.parametrize("wrong", [{"name": "two words"}, {"broker_url": 7}, {"max_time": -1}, {"max_tiem": 1}], ids=str)
def test_a_configuration_that_is_refused_changes_nothing(app: QueueTasks, wrong: dict[str, Any]) -> None:
    before = (app.name, app.broker_url, app.settings, app.given_settings)

    with pytest.raises(ConfigError):
        app.configure(**{"name": "store", "broker_url": "memory://other", "max_time": 5, **wrong})

    assert (app.name, app.broker_url, app.settings, app.given_settings) == before


def test_nothing_is_configured_once_the_broker_is_open(app: QueueTasks) -> None:
    app.task(name="work")(lambda: None).enqueue()

    with pytest.raises(ConfigError, match="expected shop to be configured before its broker was opened"):
        app.configure(max_time=5)


@pytest.mark.parametrize("name", ["two words", "", "x" * 201])
def test_the_applications_name_is_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match="expected the application's name to be 1 to 200 letters"):
        QueueTasks(name, "memory://")


def test_an_application_says_what_it_is(app: QueueTasks) -> None:
    task = app.task(name="work")(lambda: None)

    assert repr(app) == "<QueueTasks shop: 1 task>"
    assert repr(task) == "<Task work>"
    assert task.place.startswith(__file__)


def test_a_parameter_with_two_underscores_in_front_is_refused(app: QueueTasks) -> None:
    def work(__number: int) -> int:
        return __number

    with pytest.raises(TaskError, match="parameter '__number': expected a name with one underscore at most in front"):
        app.task(work)


def test_an_argument_may_be_called_self(app: QueueTasks) -> None:
    @app.task
    def work(**named: int) -> dict[str, int]:
        return named

    assert work.enqueue(self=1, args=2, name=3).row.task == "work"
    assert work(self=1) == {"self": 1}

    with app.worker():
        assert work.enqueue(self=1, name=3).result(10) == {"self": 1, "name": 3}
