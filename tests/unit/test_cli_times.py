"""Times as the command line writes and reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cherga.cli.times import read_span, read_time
from cherga.rules.times import DAY, HOUR, MINUTE, exact, from_now, iso, local, rough, span

NOON = datetime(2031, 5, 17, 12, 0, 0, 250_000, UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5 s"),
        (5, "5 s"),
        (90, "90 s"),
        (60, "1 min"),
        (90 * MINUTE, "90 min"),
        (36 * HOUR, "36 h"),
        (DAY, "1 d"),
    ],
)
def test_an_exact_duration_loses_nothing(seconds: float, text: str) -> None:
    assert exact(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0124, "12 ms"),
        (3.24, "3.2 s"),
        (9.99, "10.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (2 * HOUR + 5 * MINUTE, "2 h 5 min"),
        (3 * DAY + 4 * HOUR, "3 d 4 h"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (119, "119 s"), (120, "2 min"), (7199.9, "2 h"), (47 * HOUR, "47 h"), (30 * DAY, "30 d")],
)
def test_a_rough_duration_has_one_unit(seconds: float, text: str) -> None:
    assert rough(seconds) == text


def test_times_near_now_are_told_from_now() -> None:
    assert from_now(NOON - 0.5, NOON) == "just now"
    assert from_now(NOON - 300, NOON) == "5 min ago"
    assert from_now(NOON + 300, NOON) == "in 5 min"


def test_machines_get_utc_with_a_z_and_nothing_for_no_time() -> None:
    assert iso(NOON) == "2031-05-17T12:00:00.250Z"
    assert iso(None) is None


def test_people_get_the_zone_always_and_the_date_only_when_it_is_not_today() -> None:
    now, before = (datetime.fromtimestamp(time, UTC).astimezone() for time in (NOON, NOON - 3 * DAY))
    assert local(NOON, NOON) == f"{now:%H:%M:%S %Z}"
    assert local(NOON - 3 * DAY, NOON) == f"{before:%Y-%m-%d %H:%M:%S %Z}"


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("90s", 90), ("1.5m", 90), ("5 min", 300), ("2H", 7200), ("1h30m", 5400), ("1d", DAY)]
)
def test_spans_are_read_in_seconds_or_with_a_unit(text: str, seconds: float) -> None:
    assert read_span(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5x", "-5", "1h30", "nan"])
def test_a_text_that_is_no_span_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected seconds or a number with s, m, h or d"):
        read_span(text)


def test_a_time_without_a_zone_is_local() -> None:
    assert read_time("2031-05-17T12:00Z") == datetime(2031, 5, 17, 12, tzinfo=UTC)
    assert read_time("2031-05-17T12:00+02:00").utcoffset() == timedelta(hours=2)
    assert read_time("2031-05-17T12:00").astimezone().replace(tzinfo=None) == datetime(2031, 5, 17, 12)  # noqa: DTZ001


def test_a_text_that_is_no_time_is_refused_with_what_was_expected() -> None:
    with pytest.raises(ValueError, match="expected a time such as"):
        read_time("tomorrow")
