"""How many jobs are claimed ahead: short ones stream, long ones are never hoarded."""

from __future__ import annotations

import pytest

from cherga.testing import FakeClock
from cherga.worker.pace import Pace

LOOKAHEAD = 0.05


class Stand:
    """A runner's pace on a clock of its own."""

    def __init__(self, slots: int = 8, most: int = 1000) -> None:
        self.clock = FakeClock()
        self.pace = Pace(slots, LOOKAHEAD, most, self.clock)
        self.pace.resume()

    def work(self, interval: float, jobs: int = 500) -> None:
        for _ in range(jobs):
            self.clock.advance(interval)
            self.pace.ended()

    @property
    def ahead(self) -> int:
        return self.pace.ahead(busy=True)


@pytest.fixture
def stand() -> Stand:
    return Stand()


def test_nothing_is_claimed_ahead_before_a_job_has_ended(stand: Stand) -> None:
    assert stand.ahead == 0


@pytest.mark.parametrize(("interval", "ahead"), [(0.000125, 400), (0.00625, 8), (0.0125, 4), (0.05, 1), (0.06, 0), (60.0, 0)])
def test_what_starts_within_the_lookahead_is_claimed_ahead(stand: Stand, interval: float, ahead: int) -> None:
    stand.work(interval)
    assert stand.ahead == pytest.approx(ahead, abs=1)


def test_there_is_a_hard_cap_even_for_jobs_that_take_no_time_at_all(stand: Stand) -> None:
    stand.work(0.0)
    assert stand.ahead == 1000


def test_idle_time_does_not_count(stand: Stand) -> None:
    stand.work(0.001)
    usual = stand.ahead
    stand.clock.advance(3600)
    assert stand.pace.ahead(busy=False) == usual

    stand.pace.resume()
    stand.work(0.001, jobs=1)
    assert stand.ahead == pytest.approx(usual, abs=1)


def test_nothing_is_claimed_ahead_while_none_of_those_that_run_ends(stand: Stand) -> None:
    stand.work(0.001)
    stand.clock.advance(LOOKAHEAD + 0.001)
    assert stand.ahead == 0

    stand.work(0.001, jobs=1)
    assert stand.ahead > 0


def test_one_odd_job_changes_little_and_a_new_habit_all(stand: Stand) -> None:
    stand.work(0.001)
    usual = stand.ahead
    stand.work(0.01, jobs=1)
    assert usual / 2 < stand.ahead < usual

    stand.work(0.1, jobs=300)
    assert stand.ahead == 0


def test_jobs_that_end_in_bursts_are_not_taken_for_quick_ones() -> None:
    """A hundred coroutines that wait a second each end at nearly the same moment."""
    stand = Stand(slots=100)

    for _ in range(20):
        stand.work(1.0, jobs=1)
        stand.work(0.00001, jobs=99)
        assert stand.ahead <= 2 * 100 * LOOKAHEAD


def test_after_forgetting_nothing_is_claimed_ahead_until_a_job_has_ended(stand: Stand) -> None:
    stand.work(0.001)
    stand.pace.forget()
    assert stand.ahead == 0
    stand.work(0.001, jobs=1)
    assert stand.ahead > 0
