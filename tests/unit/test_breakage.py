"""When a broker counts as broken, and not only as away."""

from __future__ import annotations

import pytest

from cherga import BrokerUnavailable, BrokerUnusable
from cherga.testing import FakeClock
from cherga.words.errors import BrokerError
from cherga.worker.breakage import PATIENCE, Breakage

GONE = BrokerUnusable("the queue file is gone")


@pytest.fixture
def told() -> list[BrokerError]:
    return []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breakage(clock: FakeClock, told: list[BrokerError]) -> Breakage:
    return Breakage(clock, told.append)


def tries(breakage: Breakage, clock: FakeClock, *errors: BrokerError | None) -> None:
    for error in errors:
        breakage.heal() if error is None else breakage.note(error)
        clock.advance(PATIENCE / 3)


def test_what_needs_a_person_at_every_try_is_told_once(breakage: Breakage, clock: FakeClock, told: list[BrokerError]) -> None:
    tries(breakage, clock, *[GONE] * 4)
    assert told == []
    tries(breakage, clock, *[GONE] * 9)
    assert told == [GONE]


@pytest.mark.parametrize("other", [None, BrokerUnavailable("busy")])
def test_a_try_that_goes_otherwise_begins_anew(
    breakage: Breakage, clock: FakeClock, told: list[BrokerError], other: BrokerError | None
) -> None:
    tries(breakage, clock, *[GONE, GONE, GONE, other] * 5)
    assert told == []


def test_a_broker_that_is_only_away_is_never_broken(breakage: Breakage, clock: FakeClock, told: list[BrokerError]) -> None:
    tries(breakage, clock, *[BrokerUnavailable("busy")] * 50)
    assert told == []


def test_nobody_needs_to_be_told(clock: FakeClock) -> None:
    tries(Breakage(clock), clock, *[GONE] * 9)
