"""Options as users write them: what is right becomes a plain number, what is wrong is named."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from cherga import ConfigError
from cherga.rules import options


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0.0),
        (5, 5.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        (timedelta(0), 0.0),
        ("90s", 90.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        (" 1H 30 min ", 5400.0),
        ("2d", 172_800.0),
    ],
)
def test_a_duration_is_seconds_a_timedelta_or_a_text_with_units(value: Any, number: float) -> None:
    seconds = options.seconds(value, "grace")

    assert seconds == number
    assert type(seconds) is float


@pytest.mark.parametrize(
    "value",
    [
        -1,
        timedelta(seconds=-1),
        "5",
        "",
        "m",
        "5x",
        "-5m",
        "5 5m",
        "1e3s",
        "٣m",
        "99999999d",
        None,
        True,
        math.nan,
        math.inf,
        10**30,
        [5],
        5j,
    ],
)
def test_any_other_duration_is_refused_by_name(value: Any) -> None:
    with pytest.raises(
        ConfigError, match='expected grace to be seconds, a timedelta or a text like "5m", from 0 to a hundred years, got'
    ):
        options.seconds(value, "grace")


def test_a_moment_needs_a_time_zone() -> None:
    assert options.timestamp(datetime(1970, 1, 2, tzinfo=UTC), "run_at") == 86_400.0
    assert options.timestamp(datetime(1970, 1, 2, 3, tzinfo=timezone(timedelta(hours=3))), "run_at") == 86_400.0


@pytest.mark.parametrize("value", [datetime(2030, 1, 1), 5.0, "2030-01-01", None])  # noqa: DTZ001
def test_any_other_moment_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match="expected run_at to be a datetime with a time zone, got"):
        options.timestamp(value, "run_at")


@pytest.mark.parametrize("value", [-100, -1, 0, 100])
def test_a_priority_goes_from_minus_to_plus_100(value: int) -> None:
    assert options.priority(value) == value


@pytest.mark.parametrize("value", [-101, 101, 1.0, "1", True, None])
def test_any_other_priority_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="expected priority to be a whole number from -100 to 100, got"):
        options.priority(value)


@pytest.mark.parametrize("value", [-1, 1.0, "1", False, None])
def test_a_count_is_a_whole_number_from_0(value: Any) -> None:
    assert options.count(3, "retry") == 3

    with pytest.raises(ConfigError, match="expected retry to be a whole number, 0 or more, got"):
        options.count(value, "retry")


@pytest.mark.parametrize("value", ["default", "mail.high", "a/b-c:d_9", "черга", "x" * 200])
def test_a_name_is_letters_digits_and_some_signs(value: str) -> None:
    assert options.name(value, "queue") == value


@pytest.mark.parametrize(
    "value", ["", "x" * 201, "two words", "line\nbreak", "a,b", "a=3", "tab\t", "ends\n", "<lambda>", None, 7, b"x"]
)
def test_any_other_name_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="expected queue to be 1 to 200 letters, digits or any of"):
        options.name(value, "queue")


def test_text_is_text_that_every_broker_can_store() -> None:
    assert options.text("user:7 – ☂", "owner") == "user:7 – ☂"

    for value in (7, None, b"user", "half \ud83d"):
        with pytest.raises(ConfigError, match="expected owner to be text"):
            options.text(value, "owner")  # type: ignore[arg-type]


def test_one_text_is_no_list_of_texts() -> None:
    assert options.texts(["a", "b"], "tags") == ("a", "b")
    assert options.texts(iter("ab"), "tags") == ("a", "b")

    for value in ("ab", 7, None):
        with pytest.raises(ConfigError, match="expected tags to be a list of texts, got"):
            options.texts(value, "tags")  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="expected each of tags to be text, got 7"):
        options.texts(["a", 7], "tags")  # type: ignore[list-item]


def test_the_nearest_name_is_offered() -> None:
    assert options.nearest("exprot", ["import", "export"]) == "; did you mean 'export'?"
    assert options.nearest("zzz", ["import", "export"]) == "; known: export, import"
    assert options.nearest("zzz", []) == "; none is declared"
