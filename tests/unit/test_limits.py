"""Rules in force, and what they allow in one claim."""

from __future__ import annotations

import msgspec
import pytest

from cherga.rules.limits import NO_LIMIT, Allowances, effective_rules, limit_names, queue_limit, rule_for, task_limit
from cherga.rules.rates import Starts
from cherga.words.limits import LIMIT, OVERRIDE, LimitRule, Rate
from cherga.words.shared import Definition

NOW = 1_700_000_000.0


def _definition(name: str, max_running: int, kind: str = LIMIT) -> Definition:
    return Definition(kind, name, msgspec.msgpack.encode(LimitRule(max_running)))


def _allowances(rules: dict[str, LimitRule], running: int = 0, starts: Starts = ()) -> Allowances:
    return Allowances(rules, lambda _: running, lambda _: starts, NOW)


def test_a_job_counts_for_its_queue_its_task_and_its_keys_each_once() -> None:
    assert limit_names("q", "mail", ()) == ("queue:q", "task:mail")
    assert limit_names("q", "mail", ("key:a", "key:b", "key:a", "queue:q")) == ("queue:q", "task:mail", "key:a", "key:b")
    assert (queue_limit("q"), task_limit("mail")) == ("queue:q", "task:mail")


@pytest.mark.parametrize("turned", [False, True])
def test_an_override_goes_before_the_code_in_whatever_order_they_come(turned: bool) -> None:
    definitions = [_definition("task:a", 1), _definition("task:a", 2, OVERRIDE), _definition("task:b", 3)]
    rules = effective_rules(definitions[::-1] if turned else definitions)
    assert rules == {"task:a": LimitRule(2), "task:b": LimitRule(3)}


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x81\xabmax_running\xa1x"])
def test_what_is_taken_back_or_cannot_be_read_leaves_the_other(data: bytes) -> None:
    assert effective_rules([_definition("task:a", 1), Definition(OVERRIDE, "task:a", data)]) == {"task:a": LimitRule(1)}
    assert effective_rules([_definition("task:a", 2, OVERRIDE), Definition(LIMIT, "task:a", data)]) == {"task:a": LimitRule(2)}
    assert effective_rules([Definition(LIMIT, "task:a", data)]) == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("key:user|7", 7),
        ("key:user|8", 1),
        ("key:user|8|9", 1),
        ("key:user", 1),
        ("key:other|7", None),
        ("queue:mail", 2),
        ("queue:mail|x", None),
        ("task:export|x", None),
    ],
)
def test_a_value_goes_by_its_own_rule_or_by_that_of_its_key(name: str, expected: int | None) -> None:
    numbers = {"key:user": 1, "key:user|7": 7, "queue:mail": 2, "task:export": 3}
    rule = rule_for({each: LimitRule(number) for each, number in numbers.items()}, name)
    assert (rule.max_running if rule else None) == expected


@pytest.mark.parametrize(
    ("rule", "running", "starts", "expected"),
    [
        (LimitRule(), 9, (), NO_LIMIT),
        (LimitRule(5), 0, (), 5),
        (LimitRule(5), 3, (), 2),
        (LimitRule(5), 9, (), 0),
        (LimitRule(0), 0, (), 0),
        (LimitRule(None, Rate(4, 60)), 9, ((NOW - 30, 1),), 3),
        (LimitRule(2, Rate(4, 60)), 1, ((NOW - 30, 1),), 1),
        (LimitRule(9, Rate(4, 60)), 1, ((NOW - 30, 4),), 0),
        (LimitRule(max_length=1), 9, (), NO_LIMIT),
    ],
)
def test_the_room_is_the_least_that_the_rule_leaves(rule: LimitRule, running: int, starts: Starts, expected: int) -> None:
    assert _allowances({"task:a": rule}, running, starts).room(("queue:q", "task:a")) == expected


def test_no_names_mean_no_limit() -> None:
    assert _allowances({}).room(()) == NO_LIMIT
    assert _allowances({}).room(("task:a",)) == NO_LIMIT


def test_what_is_taken_leaves_less_room_for_all_that_count_for_the_same() -> None:
    allowances = _allowances({"task:a": LimitRule(5), "key:k": LimitRule(2)})
    allowances.take(("task:a", "key:k|1"))
    allowances.take(("task:a", "key:k|1"))
    assert [allowances.room(names) for names in (("key:k|1",), ("task:a",), ("task:a", "key:k|2"))] == [0, 3, 2]


def test_starts_are_logged_under_every_rate_and_no_other_limit() -> None:
    rules = {"task:a": LimitRule(None, Rate(5, 60)), "key:k": LimitRule(2)}
    allowances = _allowances(rules, starts=((NOW - 10, 1),))
    assert allowances.logs() == {}
    allowances.take(("task:a", "key:k"))
    allowances.take(("task:a", "key:k"))
    assert allowances.logs() == {"task:a": ((NOW - 10, 1), (NOW, 2))}


@pytest.mark.parametrize(
    ("rules", "names", "expected"),
    [
        ({"task:a": LimitRule(None, Rate(1, 60))}, ["task:a"], 30.0),
        ({"task:a": LimitRule(None, Rate(1, 60)), "key:k": LimitRule(None, Rate(1, 90))}, ["task:a", "key:k"], 60.0),
        ({"task:a": LimitRule(0, Rate(1, 60))}, ["task:a"], None),
        ({"task:a": LimitRule(None, Rate(1, 60)), "key:k": LimitRule(0)}, ["task:a", "key:k"], None),
        ({"task:a": LimitRule(None, Rate(0, 60))}, ["task:a"], None),
        ({"task:a": LimitRule(5, Rate(1, 60)), "key:k": LimitRule(None, Rate(9, 60))}, ["task:a", "key:k"], 30.0),
    ],
)
def test_a_hindered_job_waits_for_the_last_of_its_rates(
    rules: dict[str, LimitRule], names: list[str], expected: float | None
) -> None:
    allowances = _allowances(rules, starts=((NOW - 30, 1),))
    allowances.hinder(names)
    assert allowances.again_in == expected


def test_of_several_hindered_jobs_the_first_is_told() -> None:
    rules = {"task:a": LimitRule(None, Rate(1, 90)), "task:b": LimitRule(None, Rate(1, 60)), "task:c": LimitRule(0)}
    allowances = _allowances(rules, starts=((NOW - 30, 1),))

    for name in rules:
        allowances.hinder([name])

    assert allowances.again_in == 30.0


def test_a_job_hindered_by_what_this_claim_took_waits_for_that() -> None:
    allowances = _allowances({"task:a": LimitRule(None, Rate(1, 60))})
    allowances.take(["task:a"])
    allowances.hinder(["task:a"])
    assert allowances.again_in == 60.0
