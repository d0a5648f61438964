"""Settings are checked when the application is made, and every fault is named."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from cherga import BrokerSettings, ConfigError, QueueTasks, Settings
from cherga.rules.settings import check, make_settings

NUMBERS = [
    name
    for name in (*Settings.__struct_fields__, *BrokerSettings.__struct_fields__)
    if name not in {"broker", "namespace", "crash_backoff"}
]


def test_the_defaults_are_right() -> None:
    check(Settings())


def test_each_setting_is_a_keyword_of_the_application() -> None:
    app = QueueTasks("shop", "memory://", grace=3, lease=12, crash_backoff=(1.0, 2.0))

    assert app.settings.grace == 3
    assert app.settings.broker.lease == 12
    assert app.settings.broker.crash_backoff == (1.0, 2.0)
    assert app.settings.broker.namespace == "shop"


def test_a_duration_may_be_a_timedelta() -> None:
    assert make_settings("shop", {"grace": timedelta(minutes=1)}).grace == 60.0


def test_no_limit_of_a_run_is_none() -> None:
    assert make_settings("shop", {"max_time": None}).max_time is None


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "5", True])
def test_a_setting_out_of_its_limits_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"setting is wrong|expected {name} ") as caught:
        make_settings("shop", {name: value})

    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["claim_limit", "max_payload", "crash_cap"])
def test_a_limit_that_lets_nothing_through_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"expected {name} to be 1 or more, got 0"):
        make_settings("shop", {name: 0})


@pytest.mark.parametrize("name", ["lease", "heartbeat", "poll_interval", "lookahead", "enqueue_timeout"])
def test_an_interval_works_down_to_a_twentieth_of_a_second(name: str) -> None:
    make_settings("shop", {"lease": 30, "heartbeat": 0.05, name: 0.1})

    with pytest.raises(ConfigError, match=f"expected {name} to be at least 0.05 seconds, got 0.049"):
        make_settings("shop", {name: 0.049})


@pytest.mark.parametrize("value", [(), (-1.0,), (1.0, math.nan)])
def test_the_waits_after_crashes_are_at_least_one(value: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="expected crash_backoff to hold at least one wait"):
        make_settings("shop", {"crash_backoff": value})


def test_a_lease_outlives_a_lost_heartbeat() -> None:
    with pytest.raises(ConfigError, match=r"expected lease to be at least twice heartbeat, got 5\.0 and 3\.0"):
        make_settings("shop", {"lease": 5.0, "heartbeat": 3.0})


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"grace.*; .*sweep"):
        make_settings("shop", {"grace": -1, "sweep": 0})


@pytest.mark.parametrize(("word", "meant"), [("graec", "grace"), ("leas", "lease"), ("max_payloads", "max_payload")])
def test_an_unknown_setting_brings_the_nearest_one(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting {word!r}; did you mean {meant!r}"):
        QueueTasks("shop", "memory://", **{word: 1})


@pytest.mark.parametrize("word", ["broker", "namespace"])
def test_what_the_application_sets_itself_is_no_setting(word: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting {word!r}"):
        QueueTasks("shop", "memory://", **{word: "x"})


@pytest.mark.parametrize("name", ["grace", "lease", "max_time", "result_ttl", "poll_interval", "enqueue_timeout"])
def test_no_time_is_longer_than_a_hundred_years(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"expected {name} to be a hundred years at most, got 1e\+308 seconds"):
        make_settings("shop", {name: 1e308})
