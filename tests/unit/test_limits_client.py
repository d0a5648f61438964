"""Limits as users see them: read from options, changed at run time, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cherga import ConfigError, QueueTasks
from cherga.client.limits import NO_RULE, limit_name, rule_with
from cherga.words.limits import LimitRule, Overflow, Rate


def send(user_id: int) -> None:
    pass


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    with closing(QueueTasks("shop", "memory://")) as app:
        app.task(key="user_id", max_running=2)(send)
        app.limit(queue="mail", max_running=9, max_length=100)
        app.publish()
        yield app


@pytest.mark.parametrize(
    ("which", "name"),
    [
        ({"queue": "mail"}, "queue:mail"),
        ({"task": "send"}, "task:send"),
        ({"task": "send", "key": "7"}, "key:send|7"),
        ({"task": "send", "key": "*"}, "key:send"),
    ],
)
def test_a_limit_is_named_by_queue_task_or_key(which: dict[str, str], name: str) -> None:
    assert limit_name(**which) == name


@pytest.mark.parametrize(
    "which",
    [
        {},
        {"queue": "mail", "task": "send"},
        {"queue": "mail", "key": "7"},
        {"key": "7"},
        {"queue": "a b"},
        {"task": "a|b", "key": "7"},
    ],
)
def test_a_name_that_makes_no_sense_is_refused(which: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        limit_name(**which)


def test_a_long_key_is_named_as_its_jobs_name_it(app: QueueTasks) -> None:
    @app.task(key="words", max_running=1)
    def speak(words: str) -> None: ...

    job = speak.enqueue("x" * 500)

    assert limit_name(task="speak", key="x" * 500) in job.row.limit_keys


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_running": -1}, "max_running to be a whole number, 0 or more, got -1"),
        ({"max_length": True}, "max_length to be a whole number"),
        ({"rate": "many"}, "expected a rate like '100/m'"),
        ({"overflow": "burst"}, "'reject' or 'drop_oldest', got 'burst'"),
        ({"max_running": 1 << 70}, "max_running to be 1,000,000,000 at most, got 1180591620717411303424"),
        ({"rate": f"{'9' * 5000}/s"}, "expected a rate like '100/m'"),
        ({"rate": f"1/{'9' * 20}d"}, "expected a rate like '100/m'"),
    ],
)
def test_a_wrong_limit_is_refused_with_what_was_expected(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rule_with(NO_RULE, **change)


def test_what_is_set_goes_before_the_code_until_it_is_reset(app: QueueTasks) -> None:
    made = app.limits.set(queue="mail", max_running=1, rate="5/s")

    assert made == LimitRule(max_running=1, rate=Rate(5, 1.0), max_length=100)
    assert app.limits.get(queue="mail").rule == made

    app.publish()
    assert app.limits.get(queue="mail").rule == made

    app.limits.reset(queue="mail")
    assert app.limits.get(queue="mail").rule == LimitRule(max_running=9, max_length=100)


def test_none_lifts_a_part_of_a_limit(app: QueueTasks) -> None:
    app.limits.set(queue="mail", max_running=None, overflow="drop_oldest")

    assert app.limits.get(queue="mail").rule == LimitRule(max_length=100, overflow=Overflow.DROP_OLDEST)


def test_one_value_of_a_key_starts_from_the_rule_for_all_values(app: QueueTasks) -> None:
    assert app.limits.set(task="send", key="7", rate="1/s") == LimitRule(max_running=2, rate=Rate(1, 1.0))
    assert app.limits.get(task="send", key="8").rule == LimitRule(max_running=2)


def test_all_limits_with_a_rule_are_listed_by_name(app: QueueTasks) -> None:
    app.limits.set(task="send", max_running=5)

    assert [use.name for use in app.limits.all()] == ["key:send", "queue:mail", "task:send"]
    assert app.limits.get(task="other").rule == NO_RULE


def test_a_length_is_for_queues_alone(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected max_length for a queue, got it for task:send"):
        app.limits.set(task="send", max_length=5)


def test_an_overflow_is_for_queues_alone(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected overflow for a queue, got it for task:send"):
        app.limits.set(task="send", overflow="drop_oldest")


def test_what_no_worker_has_told_yet_is_not_lost_when_another_part_is_set() -> None:
    app = QueueTasks("fresh", "memory://")
    app.task(name="send", max_running=3)(lambda: None)
    app.limit(queue="mail", max_length=100)

    assert app.limits.set(task="send", rate="1/s") == LimitRule(max_running=3, rate=Rate(1, 1.0))
    assert app.limits.set(queue="mail", max_running=1) == LimitRule(max_running=1, max_length=100)


def test_the_async_twins_do_the_same(app: QueueTasks) -> None:
    async def use() -> list[int | None]:
        await app.limits.aset(queue="mail", max_running=3)
        before = await app.limits.aget(queue="mail")
        await app.limits.areset(queue="mail")
        return [before.rule.max_running, *(use.rule.max_running for use in await app.limits.aall())]

    assert asyncio.run(use()) == [3, 2, 9]
