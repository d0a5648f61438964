"""How many jobs are claimed ahead: short ones stream, long ones are never hoarded."""

from __future__ import annotations

import pytest

from cherga.worker.pace import Pace


def pace_of(seconds: float, slots: int = 8, lookahead: float = 0.05) -> Pace:
    pace = Pace(slots, lookahead)

    for _ in range(200):
        pace.took(seconds)

    return pace


def test_nothing_is_claimed_ahead_before_a_job_has_run() -> None:
    assert Pace(8, 0.05).ahead() == 0


@pytest.mark.parametrize(("seconds", "ahead"), [(0.001, 400), (0.05, 8), (0.1, 4), (0.4, 1), (0.5, 0), (60.0, 0)])
def test_what_starts_within_the_lookahead_is_claimed_ahead(seconds: float, ahead: int) -> None:
    assert pace_of(seconds).ahead() == pytest.approx(ahead, abs=1)


def test_jobs_that_take_no_time_at_all_are_no_division_by_zero() -> None:
    assert pace_of(0.0).ahead() > 1000


def test_one_odd_job_changes_little_and_a_new_habit_all() -> None:
    pace = pace_of(0.001)
    usual = pace.ahead()
    pace.took(0.01)

    assert usual / 2 < pace.ahead() < usual

    for _ in range(100):
        pace.took(1.0)

    assert pace.ahead() == 0
