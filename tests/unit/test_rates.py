"""Rates: never more than so many starts in any window, whatever comes and however many."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from random import Random

import pytest

from cherga.rules.rates import AHEAD, EXACT, PARTS, Starts, again_in, allowance, started, taken_back
from cherga.words.limits import Rate

NOW = 1_700_000_000.0
TWO = Rate(2, 60)


@pytest.mark.parametrize(
    ("starts", "seconds", "expected"),
    [
        ((), 0, 2),
        (((0, 1),), 0, 1),
        (((0, 2),), 0, 0),
        (((0, 3),), 0, 0),
        (((0, 1), (30, 1)), 59, 0),
        (((0, 1), (30, 1)), 60, 1),
        (((0, 1), (30, 1)), 90, 2),
        (((30, 1),), 0, 1),
        (((30, 2),), 0, 0),
        (((AHEAD + 1, 2),), 0, 2),
    ],
)
def test_what_has_started_within_the_period_counts(starts: Starts, seconds: float, expected: int) -> None:
    assert allowance(_moved(starts), TWO, NOW + seconds) == expected


@pytest.mark.parametrize(
    ("starts", "seconds", "expected"),
    [
        ((), 0, 0.0),
        (((0, 1),), 0, 0.0),
        (((0, 2),), 0, 60.0),
        (((0, 2),), 45, 15.0),
        (((0, 1), (30, 1)), 45, 15.0),
        (((0, 1), (30, 1)), 60, 0.0),
        (((0, 1), (10, 1), (30, 1)), 45, 25.0),
        (((0, 1), (10, 3)), 45, 25.0),
        (((0, 2), (10, 2)), 45, 25.0),
    ],
)
def test_the_wait_ends_when_one_more_may_start(starts: Starts, seconds: float, expected: float) -> None:
    assert again_in(_moved(starts), TWO, NOW + seconds) == expected


def test_a_rate_of_zero_never_opens() -> None:
    assert allowance((), Rate(0, 60), NOW) == 0
    assert again_in((), Rate(0, 60), NOW) is None


def test_old_starts_leave_the_log() -> None:
    log = started(_moved(((0, 1), (30, 1))), TWO, NOW + 60, 1)
    assert log == _moved(((30, 1), (60, 1)))


def test_a_clock_that_lags_behind_notes_no_start_before_another() -> None:
    log = started(_moved(((10, 1),)), TWO, NOW, 1)
    assert log == _moved(((10, 1), (10, 1)))
    assert allowance(log, TWO, NOW + 69) == 0


def test_a_clock_that_was_set_back_far_starts_afresh() -> None:
    log = started(_moved(((5000, 2),)), TWO, NOW, 2)
    assert log == _moved(((0, 2),))


@pytest.mark.parametrize(
    ("starts", "number", "at", "expected"),
    [
        ((), 1, 0, ()),
        (((0, 2), (30, 1)), 1, 0, ((0, 1), (30, 1))),
        (((0, 2), (30, 1)), 1, 30, ((0, 2),)),
        (((0, 2), (30, 1)), 1, 20, ((0, 2),)),
        (((0, 2), (30, 1)), 1, 31, ((0, 2), (30, 1))),
        (((0, 2), (30, 1)), 3, 0, ()),
        (((0, 2), (30, 1)), 2, None, ((30, 1),)),
    ],
)
def test_starts_are_taken_back_where_they_were_noted(starts: Starts, number: int, at: float | None, expected: Starts) -> None:
    assert taken_back(_moved(starts), number, None if at is None else NOW + at) == _moved(expected)


@pytest.mark.parametrize("seed", range(12))
def test_no_window_ever_holds_more_starts_than_the_rate_says(seed: int) -> None:
    random = Random(seed)
    rate = Rate(random.choice([1, 3, 50, 700]), random.choice([0.5, 60.0, 3600.0]))
    instants = _run(random, rate, steps=1500)
    assert len(instants) > rate.count
    assert all(late - early >= rate.period for early, late in zip(instants, instants[rate.count :], strict=False))


@pytest.mark.parametrize("count", [1000, 5000])
def test_thousands_of_starts_are_kept_short_and_exact_to_a_part(count: int) -> None:
    rate, random = Rate(count, 64.0), Random(count)
    log: Starts = ()
    instants: list[float] = []
    now = NOW

    for _ in range(3000):
        now += random.randrange(64) / 1024 * random.choice([1, 1, 8])
        exact = rate.count - _since(instants, now - rate.period)
        late = rate.count - _since(instants, now - rate.period * (1 + 1 / PARTS))
        room = allowance(log, rate, now)
        assert late <= room <= exact
        number = min(room, random.choice([0, 1, count // 100]))
        log = started(log, rate, now, number) if number else log
        instants += [now] * number
        assert len(log) <= EXACT


@pytest.mark.parametrize("seed", range(6))
def test_the_wait_is_never_too_short_nor_longer_than_needed(seed: int) -> None:
    random, rate = Random(seed), Rate(5, 64.0)
    log: Starts = ()
    now = NOW

    for _ in range(300):
        now += random.randrange(2048) / 64
        log = started(log, rate, now, number) if (number := min(allowance(log, rate, now), random.randrange(4))) else log
        wait = again_in(log, rate, now)
        assert wait is not None
        assert allowance(log, rate, now + wait) > 0
        assert wait == 0.0 or allowance(log, rate, now + wait - 1 / 64) == 0


@pytest.mark.parametrize("seed", range(6))
def test_what_is_taken_back_never_lets_too_many_start(seed: int) -> None:
    random, rate = Random(seed), Rate(6, 64.0)
    log: Starts = ()
    instants: list[float] = []
    now = NOW

    for _ in range(1000):
        now += random.randrange(512) / 64

        if instants and random.random() < 0.3:
            back = random.choice(instants[-4:])
            instants.remove(back)
            log = taken_back(log, 1, back)

        number = min(allowance(log, rate, now), random.randrange(4))
        log = started(log, rate, now, number) if number else log
        instants += [now] * number

    assert all(late - early >= rate.period for early, late in zip(instants, instants[rate.count :], strict=False))


def test_the_log_stays_in_order() -> None:
    random, rate = Random(1), Rate(900, 64.0)
    log: Starts = ()

    for step in range(2000):
        log = started(log, rate, NOW + step / 16 - random.randrange(3), 1)
        assert all(early <= late for (early, _), (late, _) in pairwise(log))


def _run(random: Random, rate: Rate, steps: int) -> list[float]:
    """The instants at which a greedy and impatient crowd starts."""
    log: Starts = ()
    instants: list[float] = []
    now = NOW

    for _ in range(steps):
        now += random.randrange(1024) / 1024 * rate.period / random.choice([4, 64, 512])
        number = min(allowance(log, rate, now), random.randrange(1, rate.count + 2))

        if number:
            log = started(log, rate, now, number)
            instants += [now] * number

    return instants


def _since(instants: list[float], time: float) -> int:
    """How many came after this time."""
    return len(instants) - bisect_right(instants, time)


def _moved(starts: Starts) -> Starts:
    return tuple((NOW + at, number) for at, number in starts)
