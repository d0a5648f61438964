"""Words of other systems, slips of the pen, and our own words in the wrong place: each is answered with what is meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from cherga import ConfigError, InvalidArguments, QueueTasks, Router, shared_task
from cherga.client.declare import Declaring, TaskOptions
from cherga.client.limits import rule_with
from cherga.client.order import UsingOptions
from cherga.client.schedules import Timing
from cherga.rules import elsewhere
from cherga.rules.settings import BrokerSettings, Settings

FOREIGN_TO_TASKS = {
    "abort_on": "retry",
    "acks_late": "on_crash",
    "at_front": "priority",
    "attempts": "retry",
    "autoretry_for": "retry_on_exc",
    "backoff": "retry",
    "base": "executor",
    "batch_size": "batch",
    "bind": "echo",
    "concurrency": "max_running",
    "countdown": "run_in",
    "cron_string": "cron",
    "debounce": "unique_for",
    "dedupe": "unique",
    "defer_until": "run_at",
    "delay": "run_in",
    "depends_on": "after",
    "eta": "run_at",
    "ignore_result": "result_ttl",
    "idempotency_key": "unique",
    "interval": "every",
    "jitter": "retry",
    "job_timeout": "max_time",
    "lock": "unique",
    "max_age": "expires",
    "max_instances": "max_running",
    "max_retries": "retry",
    "max_retry": "retry",
    "max_tries": "retry",
    "min_backoff": "retry",
    "misfire_grace_time": "catch_up",
    "middleware": "middlewares_before",
    "on_complete": "app.on.succeeded",
    "on_error": "app.on.failed",
    "on_failure": "app.on.failed",
    "on_start": "app.on.started",
    "on_retry": "app.on.retried",
    "on_success": "app.on.succeeded",
    "pass_context": "echo",
    "prio": "priority",
    "queue_name": "queue",
    "queueing_lock": "unique",
    "rate": "rate_limit",
    "retry_delay": "retry",
    "schedule": "cron",
    "singleton": "unique",
    "soft_time_limit": "max_time",
    "throws": "retry",
    "time_limit": "max_time",
    "timeout": "max_time",
    "ttl": "result_ttl",
}
SLIPS = {
    "retrys": "retry",
    "rety": "retry",
    "max_tiem": "max_time",
    "maxTime": "max_time",
    "max-time": "max_time",
    "MAX_TIME": "max_time",
    "kye": "key",
    "tag": "tags",
    "evrey": "every",
    "uniqe": "unique",
    "maxRetries": "retry",
    "max_retires": "retry",
    "time_limt": "max_time",
    "batchSize": "batch",
}
ELSEWHERE = {
    "owner": r"using\(owner=…\)",
    "run_in": r"using\(run_in=…\)",
    "after": r"using\(after=…\)",
    "max_length": r"app.limit\(queue=…, max_length=…\)",
    "grace": r"QueueTasks\(…, grace=…\)",
    "threads": "cherga worker --threads",
}
FREE = [
    "colour",
    "weight",
    "note",
    "team",
    "kind",
    "version",
    "group",
    "label",
    "level",
    "mean",
    "hours",
    "backend",
    "connection",
]


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("shop", "memory://")


def mail(number: int = 0) -> None: ...


def options(word: str) -> dict[str, Any]:
    return {word: 5}


def declare(where: Declaring, word: str | None = None) -> Any:
    return where.task("mail", **options(word) if word else {})(mail)


def on_application(word: str) -> Any:
    return declare(QueueTasks("shop", "memory://"), word)


def on_router(word: str) -> Any:
    return declare(Router("", **{word: 5}))


def on_task_of_router(word: str) -> Any:
    return declare(Router(), word)


def shared(word: str) -> Any:
    return shared_task("never_declared", **options(word))(mail)


DECLARING = [on_application, on_router, on_task_of_router, shared]


class TestTasks:
    @pytest.mark.parametrize("declare", DECLARING)
    @pytest.mark.parametrize(("word", "meant"), [*(FOREIGN_TO_TASKS | SLIPS | ELSEWHERE).items()])
    def test_a_word_that_means_something_is_answered_with_ours(
        self, declare: Callable[[str], Any], word: str, meant: str
    ) -> None:
        with pytest.raises(ConfigError, match=rf"unknown option '{re.escape(word)}'; .*\b{meant}(\W|$)"):
            declare(word)

    @pytest.mark.parametrize("word", FREE)
    def test_any_other_word_is_kept(self, app: QueueTasks, word: str) -> None:
        assert declare(app, word).extra == {word: 5}

    def test_where_a_value_is_meant_it_is_shown(self, app: QueueTasks) -> None:
        with pytest.raises(ConfigError, match=r"did you mean 'retry'\? As in retry=Retry\(backoff=…\)"):
            app.task(retry_backoff=True)(mail)  # type: ignore[call-overload]


class TestJobs:
    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("countdown", "did you mean 'run_in'"),
            ("delay", "did you mean 'run_in'"),
            ("eta", "did you mean 'run_at'"),
            ("prio", "did you mean 'priority'"),
            ("priorty", "did you mean 'priority'"),
            ("depends_on", "did you mean 'after'"),
            ("job_id", "did you mean 'id'"),
            ("ttl", "did you mean 'expires'"),
            ("timeout", "did you mean 'max_time'"),
            ("max_retries", "did you mean 'retry'"),
            ("lock", "did you mean 'unique'"),
            ("backoff", r"say it of a task: @app.task\(retry=Retry\(backoff=…\)\)"),
            ("retry_on_exc", r"say it of a task: @app.task\(retry_on_exc=…\)"),
            ("link", r"make a chain: chain\(task.s\(…\), other.s\(\)\)"),
            ("colour", "known: after, after_policy"),
        ],
    )
    def test_using(self, app: QueueTasks, word: str, meant: str) -> None:
        with pytest.raises(ConfigError, match=f"task mail: unknown option '{word}'; {meant}"):
            app.task(mail).using(**options(word))

    def test_an_option_among_the_arguments(self, app: QueueTasks) -> None:
        with pytest.raises(InvalidArguments, match=r"options such as run_in go into using\(run_in=…\)"):
            app.task(mail).enqueue(countdown=5)  # type: ignore[call-arg]

    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("timeout", "did you mean 'job_timeout'"),
            ("job_timout", "did you mean 'job_timeout'"),
            ("max_time", "did you mean 'job_timeout'"),
            ("id", "did you mean 'job_id'"),
            ("countdown", r"use enqueue_in\(delay, …\)"),
            ("priority", r"say it of a job: task.using\(priority=…\)"),
            ("unique", r"say it of a job: task.using\(unique=…\)"),
        ],
    )
    def test_a_queue_of_rqs_kind(self, app: QueueTasks, word: str, meant: str) -> None:
        task = app.task(mail)

        for options in ({word: 5}, {"args": (1,), word: 5}):
            with pytest.raises(ConfigError, match=f"task mail: .*unknown option '{word}'; {meant}"):
                app.queue().enqueue(task, **options)

    def test_a_parameter_of_that_name_is_no_option(self, app: QueueTasks) -> None:
        @app.task
        def wait(timeout: int) -> None: ...

        @app.task
        def anything(**options: int) -> None: ...

        with app.testing() as kit:
            app.queue().enqueue(wait, timeout=5)
            app.queue().enqueue(anything, timeout=5, countdown=3)

            kit.assert_enqueued(wait, timeout=5)
            kit.assert_enqueued(anything, timeout=5, countdown=3)


class TestElsewhere:
    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("evry", "did you mean 'every'"),
            ("interval", "did you mean 'every'"),
            ("minutes", "did you mean 'every'"),
            ("hour", "did you mean 'cron'"),
            ("crontab", "did you mean 'cron'"),
            ("tz", "did you mean 'timezone'"),
            ("coalesce", "did you mean 'catch_up'"),
            ("priority", r"say it of a job: task.using\(priority=…\)"),
            ("colour", "known: catch_up, catch_up_cap"),
        ],
    )
    def test_schedules(self, app: QueueTasks, word: str, meant: str) -> None:
        with pytest.raises(ConfigError, match=f"unknown option '{word}'; {meant}"):
            app.schedule("nightly", app.task(mail), **options(word))

    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("rate_limit", "did you mean 'rate'"),
            ("concurrency", "did you mean 'max_running'"),
            ("max_runing", "did you mean 'max_running'"),
            ("priority", r"say it of a task: @app.task\(priority=…\)"),
            ("colour", "known: max_length, max_running"),
        ],
    )
    def test_limits_of_queues(self, app: QueueTasks, word: str, meant: str) -> None:
        with pytest.raises(ConfigError, match=f"unknown option '{word}'; {meant}"):
            app.limit(queue="mail", **{word: 5})

    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("broker", "did you mean 'broker_url'"),
            ("redis_url", "did you mean 'broker_url'"),
            ("timeout", "did you mean 'max_time'"),
            ("result_expires", "did you mean 'result_ttl'"),
            ("shutdown_timeout", "did you mean 'grace'"),
            ("visibility_timeout", "did you mean 'lease'"),
            ("leese", "did you mean 'lease'"),
            ("concurrency", "say it of a worker: cherga worker --concurrency"),
            ("retry", r"say it of a task: @app.task\(retry=…\)"),
            ("task_always_eager", r"use app.testing\(inline=True\)"),
            ("namespace", "give the application's name first"),
            ("colour", "known: broker_url, busy_timeout"),
        ],
    )
    def test_settings(self, word: str, meant: str) -> None:
        with pytest.raises(ConfigError, match=f"unknown setting '{word}'; {meant}"):
            QueueTasks("shop", "memory://", **{word: 5})


class TestTheTables:
    def test_places_have_our_words(self) -> None:
        settings = {*Settings.__struct_fields__, *BrokerSettings.__struct_fields__, "broker_url"} - {"broker", "namespace"}

        assert elsewhere.TASK.words == {*TaskOptions.__annotations__, "name"}
        assert elsewhere.JOB.words == UsingOptions.__annotations__.keys()
        assert elsewhere.SCHEDULE.words == Timing.__annotations__.keys()
        assert elsewhere.QUEUE.words == rule_with.__annotations__.keys() - {"rule", "return"}
        assert elsewhere.APPLICATION.words == settings

    @pytest.mark.parametrize("here", [*elsewhere.PLACES, elsewhere.RQ_JOB], ids=lambda place: place.said)
    def test_every_word_that_is_answered_anywhere_has_an_answer_everywhere(self, here: elsewhere.Place) -> None:
        for word in (word for answers in here.answers for word in answers if word not in here.words):
            assert "; " in str(elsewhere.refusal(word, here))
