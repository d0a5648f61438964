"""When schedules fire: the changes of clocks, what was missed, and what is refused."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cherga import ConfigError
from cherga.rules.schedule import GRACE, Firing, check_timing, following, moment_of, plan, upcoming
from cherga.words.push import NewJob
from cherga.words.schedule import CatchUp, Schedule

KYIV = ZoneInfo("Europe/Kyiv")
"""In 2026 its clocks are put from 3 to 4 on 29 March, and from 4 to 3 on 25 October."""
PLACES = ["Europe/Kyiv", "Australia/Lord_Howe", "America/New_York", "Antarctica/Troll", "Asia/Kathmandu", "UTC"]
TEXTS = [
    "30 3 * * *",
    "0 2,3,4 * * *",
    "10,50 1-4 * * *",
    "0 * * * *",
    "*/20 * * * *",
    "*/20 3 * * *",
    "15 */2 * * *",
    "0 30 2,3 * * *",
    "*/15 59 * * * *",
    "0 9 * * 1-5",
    "30 2 * * 0",
]
DAY = 86_400.0
CHANGES = [datetime(2026, month, day, tzinfo=UTC).timestamp() for month, day in ((3, 28), (4, 4), (10, 3), (10, 24), (3, 7))]
"""A day before clocks are changed somewhere."""


def schedule(**fields: Any) -> Schedule:
    return Schedule(job=NewJob(id=UUID(int=0), task="mail", payload=b"\x90"), **fields)


def daily(catch_up: CatchUp = CatchUp.LAST, cap: int = 100) -> Schedule:
    return schedule(cron="0 9 * * *", catch_up=catch_up, cap=cap)


def ticks_until(one: Schedule, start: float, end: float) -> list[float]:
    """A chain of ticks, each found from the one before it."""
    return list(takewhile(lambda tick: tick <= end, _endless(one, start)))


def _endless(one: Schedule, start: float) -> Iterator[float]:
    tick = following(one, start)

    while tick is not None:
        yield tick
        tick = following(one, tick)


def local(tick: float) -> str:
    return f"{datetime.fromtimestamp(tick, KYIV):%d %H:%M %z}"


# --- clocks that are changed


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["28 02:30 +0200", "29 02:30 +0200", "30 02:30 +0300"]),
        ("30 3 * * *", ["28 03:30 +0200", "29 04:00 +0300", "30 03:30 +0300"]),
        ("0 3,4 * * *", ["28 03:00 +0200", "28 04:00 +0200", "29 04:00 +0300", "30 03:00 +0300"]),
        ("15,45 3 * * *", ["28 03:15 +0200", "28 03:45 +0200", "29 04:00 +0300", "30 03:15 +0300"]),
        ("0 9 * * *", ["28 09:00 +0200", "29 09:00 +0300", "30 09:00 +0300"]),
        ("*/30 3 * * *", ["28 03:00 +0200", "28 03:30 +0200", "30 03:00 +0300"]),
        ("0 30 3 * * *", ["28 03:30 +0200", "30 03:30 +0300"]),
    ],
)
def test_a_time_of_day_that_is_left_out_fires_after_the_gap(cron: str, expected: list[str]) -> None:
    start = datetime(2026, 3, 28, tzinfo=KYIV).timestamp()

    ticks = upcoming(schedule(cron=cron, timezone="Europe/Kyiv"), start, len(expected))

    assert [local(tick) for tick in ticks] == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 3 * * *", ["25 03:30 +0300", "26 03:30 +0200"]),
        ("0 3,4 * * *", ["25 03:00 +0300", "25 04:00 +0200", "26 03:00 +0200"]),
        ("0 4 * * *", ["25 04:00 +0200", "26 04:00 +0200"]),
        ("*/30 3 * * *", ["25 03:00 +0300", "25 03:30 +0300", "25 03:00 +0200", "25 03:30 +0200", "26 03:00 +0200"]),
        ("0 30 3 * * *", ["25 03:30 +0300", "25 03:30 +0200", "26 03:30 +0200"]),
    ],
)
def test_a_time_of_day_that_comes_twice_fires_the_first_time(cron: str, expected: list[str]) -> None:
    start = datetime(2026, 10, 25, tzinfo=KYIV).timestamp()

    ticks = upcoming(schedule(cron=cron, timezone="Europe/Kyiv"), start, len(expected))

    assert [local(tick) for tick in ticks] == expected


@pytest.mark.parametrize(("cron", "seconds"), [("0 * * * *", 3600.0), ("*/30 * * * *", 1800.0), ("0 */10 * * * *", 600.0)])
@pytest.mark.parametrize(("month", "day"), [(3, 29), (10, 25)])
def test_hourly_schedules_follow_the_passing_time(cron: str, seconds: float, month: int, day: int) -> None:
    start = datetime(2026, month, day, tzinfo=KYIV).timestamp()

    ticks = upcoming(schedule(cron=cron, timezone="Europe/Kyiv"), start, int(8 * 3600 / seconds))

    assert {later - earlier for earlier, later in pairwise(ticks)} == {seconds}


@settings(max_examples=150, deadline=None)
@given(
    cron=st.sampled_from(TEXTS),
    timezone=st.sampled_from(PLACES),
    start=st.sampled_from(CHANGES),
    after=st.floats(0, 2 * DAY),
)
def test_the_next_tick_does_not_depend_on_where_one_looks(cron: str, timezone: str, start: float, after: float) -> None:
    one = schedule(cron=cron, timezone=timezone)
    ticks = ticks_until(one, start, start + 9 * DAY)

    assert ticks == upcoming(one, start, len(ticks)) == sorted(set(ticks))
    assert following(one, start + after) == next(tick for tick in ticks if tick > start + after)


@settings(max_examples=40, deadline=None)
@given(start=st.sampled_from(CHANGES), timezone=st.sampled_from(PLACES), step=st.integers(1, 59))
def test_a_tick_comes_whenever_the_clock_shows_the_minute(start: float, timezone: str, step: int) -> None:
    """Looked for minute by minute, knowing nothing of cron."""
    minutes = [start + 60 * number for number in range(1, 2 * 24 * 60)]
    expected = [at for at in minutes if datetime.fromtimestamp(at, ZoneInfo(timezone)).minute % step == 0]

    assert upcoming(schedule(cron=f"*/{step} * * * *", timezone=timezone), start, len(expected)) == expected


def test_every_counts_from_1970_whatever_the_clocks_do() -> None:
    start = datetime(2026, 3, 29, tzinfo=KYIV).timestamp()

    assert upcoming(schedule(every=7.0, timezone="Europe/Kyiv"), start, 3) == [
        7.0 * (start // 7 + 1),
        7.0 * (start // 7 + 2),
        7.0 * (start // 7 + 3),
    ]


@settings(max_examples=200, deadline=None)
@given(every=st.floats(0.1, 1e6), number=st.integers(1, 10**10), where=st.sampled_from([-math.inf, 0, math.inf]))
def test_intervals_leave_nothing_out_next_to_a_tick(every: float, number: int, where: float) -> None:
    tick = number * every
    after = math.nextafter(tick, where) if where else tick

    assert following(schedule(every=every), after) == (tick if after < tick else (number + 1) * every)


def test_a_tick_is_told_on_the_clock_of_its_zone() -> None:
    tick = datetime(2026, 7, 1, 6, tzinfo=UTC).timestamp()

    assert moment_of(tick, "Europe/Kyiv").isoformat() == "2026-07-01T09:00:00+03:00"
    assert moment_of(tick, "UTC").isoformat() == "2026-07-01T06:00:00+00:00"


def test_zones_are_known_on_a_machine_without_zone_files() -> None:
    program = "from cherga.rules.schedule import moment_of; print(moment_of(1782885600.0, 'Europe/Kyiv'))"
    environment = {**os.environ, "PYTHONTZPATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=30, env=environment)

    assert done.stdout == "2026-07-01 09:00:00+03:00\n", done.stderr


# --- what was missed

NINE = datetime(2026, 5, 1, 9, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("catch_up", CatchUp)
def test_nothing_fires_before_its_time(catch_up: CatchUp) -> None:
    assert plan(daily(catch_up), NINE, NINE - 0.001) == []


@pytest.mark.parametrize("catch_up", CatchUp)
@pytest.mark.parametrize("late", [0.0, 5.0, GRACE])
def test_a_tick_in_time_fires_under_every_policy(catch_up: CatchUp, late: float) -> None:
    assert plan(daily(catch_up), NINE, NINE + late) == [Firing(NINE, NINE + DAY, NINE)]


def test_skip_passes_over_what_was_missed() -> None:
    assert plan(daily(CatchUp.SKIP), NINE, NINE + 2.5 * DAY) == [Firing(NINE, NINE + 3 * DAY, None)]


def test_skip_fires_the_tick_that_is_due_now_and_none_of_those_before() -> None:
    assert plan(daily(CatchUp.SKIP), NINE, NINE + 2 * DAY + 1) == [Firing(NINE, NINE + 3 * DAY, NINE + 2 * DAY)]


def test_last_fires_the_latest_of_those_missed() -> None:
    assert plan(daily(CatchUp.LAST), NINE, NINE + 2.5 * DAY) == [Firing(NINE, NINE + 3 * DAY, NINE + 2 * DAY)]


def test_all_fires_each_of_those_missed() -> None:
    assert plan(daily(CatchUp.ALL), NINE, NINE + 2.5 * DAY) == [
        Firing(NINE, NINE + DAY, NINE),
        Firing(NINE + DAY, NINE + 2 * DAY, NINE + DAY),
        Firing(NINE + 2 * DAY, NINE + 3 * DAY, NINE + 2 * DAY),
    ]


def test_all_fires_the_latest_up_to_its_cap() -> None:
    fired = plan(daily(CatchUp.ALL, cap=2), NINE, NINE + 5.5 * DAY)

    assert [firing.tick for firing in fired] == [NINE + 4 * DAY, NINE + 5 * DAY]


@settings(max_examples=150, deadline=None)
@given(
    timing=st.sampled_from(
        [{"every": 97.3}, {"every": 900.0}, *({"cron": cron, "timezone": place} for cron in TEXTS for place in PLACES)]
    ),
    start=st.sampled_from(CHANGES),
    looks=st.lists(st.floats(0, 2 * DAY), min_size=1, max_size=8),
)
def test_looks_at_any_moments_fire_each_tick_once_and_leave_none_out(
    timing: dict[str, Any], start: float, looks: list[float]
) -> None:
    one = schedule(catch_up=CatchUp.ALL, cap=100_000, **timing)
    first = following(one, start)
    assert first is not None
    due: float | None = first
    fired: list[float | None] = []

    for now in sorted(start + look for look in looks):
        assert due is not None

        for firing in plan(one, due, now):
            assert firing.due == due
            fired.append(firing.tick)
            due = firing.following

    assert fired == ticks_until(one, start, start + max(looks))


@settings(max_examples=100, deadline=None)
@given(
    cron=st.sampled_from(TEXTS),
    timezone=st.sampled_from(PLACES),
    start=st.sampled_from(CHANGES),
    after=st.floats(0, 3 * DAY),
    cap=st.integers(1, 6),
)
def test_going_backwards_finds_the_same_ticks(cron: str, timezone: str, start: float, after: float, cap: int) -> None:
    one = schedule(cron=cron, timezone=timezone, catch_up=CatchUp.ALL, cap=cap)
    ticks = ticks_until(one, start, start + 9 * DAY)
    missed = [tick for tick in ticks if tick <= start + after]

    assert [firing.tick for firing in plan(one, ticks[0], start + after)] == missed[-cap:]


@pytest.mark.parametrize("timing", [{"every": 0.1}, {"cron": "* * * * * *", "timezone": "Europe/Kyiv"}, {"cron": "0 0 1 1 *"}])
@pytest.mark.parametrize("catch_up", CatchUp)
def test_years_without_a_worker_are_not_gone_through(timing: dict[str, Any], catch_up: CatchUp) -> None:
    """There were hundreds of millions of ticks; going through them would take longer than a test may."""
    one = schedule(catch_up=catch_up, cap=50, **timing)

    fired = plan(one, 0.0, NINE)

    assert 1 <= len(fired) <= 50
    assert fired[0].due == 0.0
    assert (fired[-1].following or 0.0) > NINE


def test_a_clock_that_was_set_back_fires_nothing_twice() -> None:
    (firing,) = plan(daily(), NINE, NINE + 1)
    assert firing.following is not None

    assert plan(daily(), firing.following, NINE - 3600) == []
    assert plan(daily(), firing.following, firing.following) != []


def test_a_rare_date_is_found() -> None:
    assert following(schedule(cron="0 0 29 2 *"), NINE) == datetime(2028, 2, 29, tzinfo=UTC).timestamp()


# --- what is refused


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 31 4,6 *", "Bad day-of-month"),
        ("61 * * * *", "Bad minute"),
        ("0 24 * * *", "Bad hour"),
        ("0 0 * 13 *", "Bad month"),
        ("0 0 * * 8", "Bad day-of-week"),
        ("60 0 0 * * *", "Bad second"),
        ("*/0 * * * *", "Bad minute"),
        ("5-1 * * * *", "Bad minute"),
        ("0 -1 * * *", "Bad hour"),
        ("x", "Wrong number of fields"),
        ("", "Wrong number of fields"),
        ("* * * * * * *", "Wrong number of fields"),
        ("@reboot", "Wrong number of fields"),
        ("٣ * * * *", "Bad minute"),
    ],
)
def test_an_impossible_cron_text_is_refused_with_the_reason(cron: str, words: str) -> None:
    with pytest.raises(ConfigError, match="expected cron to be five fields") as caught:
        check_timing(cron, None, "UTC")

    assert str(caught.value).endswith(f"got {cron!r}: {words}")


@pytest.mark.parametrize(
    "cron", ["0 9 * * 1-5", "*/5 * * * *", "0 0 L * *", "0 0 LW * *", "0 9 * * MON#1", "0 0 29 2 *", "30 0 9 * * *"]
)
def test_possible_cron_texts_are_taken(cron: str) -> None:
    check_timing(cron, None, "Europe/Kyiv")


@pytest.mark.parametrize("timezone", ["Europe/Kiyv", "", "europe", "../etc/passwd", "/etc/localtime", "a\0b", "x" * 300])
def test_an_unknown_zone_is_refused(timezone: str) -> None:
    for cron, every in (("0 9 * * *", None), (None, 60.0)):
        with pytest.raises(ConfigError, match="expected timezone to be a name like 'Europe/Kyiv', got"):
            check_timing(cron, every, timezone)


@pytest.mark.parametrize(
    ("given", "meant"), [("Europe/Kiyv", "Europe/Kyiv"), ("Kyiv", "Europe/Kyiv"), ("New York", "America/New_York")]
)
def test_a_misspelt_zone_is_answered_by_the_nearest(given: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"got '{given}'; did you mean '{meant}'"):
        check_timing("0 9 * * *", None, given)


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        (" @Weekly ", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_a_word_of_crontab_files_means_its_fields(word: str, fields: str) -> None:
    check_timing(word, None, "Europe/Kyiv")
    ticks = [upcoming(schedule(cron=cron, timezone="Europe/Kyiv"), 1.0e9, 50) for cron in (word, fields)]

    assert ticks[0] == ticks[1]


def test_a_zone_that_is_like_none_is_not_answered_with_all_of_them() -> None:
    with pytest.raises(ConfigError, match=r"got 'qqqqqq'$"):
        check_timing("0 9 * * *", None, "qqqqqq")


@pytest.mark.parametrize("every", [0.0, 0.05, -1.0, math.nan, math.inf, -math.inf, True])
def test_an_interval_that_cannot_be_kept_is_refused(every: float) -> None:
    with pytest.raises(ConfigError, match=r"expected every to be 0\.1 seconds or more"):
        check_timing(None, every, "UTC")


@pytest.mark.parametrize("timing", [(None, None), ("0 9 * * *", 60.0)])
def test_one_of_cron_and_every_is_needed(timing: tuple[str | None, float | None]) -> None:
    with pytest.raises(ConfigError, match="expected cron or every, "):
        check_timing(*timing, "UTC")


def test_an_interval_may_be_a_tenth_of_a_second() -> None:
    check_timing(None, timedelta(seconds=0.1).total_seconds(), "UTC")
