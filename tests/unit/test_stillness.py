"""When an engine counts as standing still."""

from __future__ import annotations

import pytest

from cherga.testing import FakeClock
from cherga.worker.child import Stillness
from cherga.worker.slots import Pulse

LIMIT = 8.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def looks(clock: FakeClock, stillness: Stillness, *ticks: int | None, every: float = 1.0) -> list[bool]:
    """What each look finds, when all threads show the same; None: the engine is not up."""
    found = []

    for tick in ticks:
        clock.advance(every)
        found.append(stillness.found(() if tick is None else (tick,) * len(Pulse), LIMIT) is not None)

    return found


def test_an_engine_that_shows_nothing_longer_than_the_limit_stands_still(clock: FakeClock) -> None:
    assert looks(clock, Stillness(clock), *[7] * 10) == [False] * 9 + [True]


def test_every_sign_of_life_begins_anew(clock: FakeClock) -> None:
    assert looks(clock, Stillness(clock), *[7] * 9, *[8] * 9, *[9] * 10) == [False] * 27 + [True]


def test_the_time_that_a_process_takes_to_start_does_not_count(clock: FakeClock) -> None:
    """However long it took, and though nothing has turned yet at the first look after it is up."""
    assert looks(clock, Stillness(clock), *[None] * 100, *[0] * 10) == [False] * 109 + [True]


def test_time_in_which_nobody_looked_is_no_proof(clock: FakeClock) -> None:
    """Supervisor and engine may have been held up together, as when a container is paused."""
    stillness = Stillness(clock)
    assert looks(clock, stillness, 7, 7) == [False, False]
    assert looks(clock, stillness, 7, every=3600.0) == [False]
    assert looks(clock, stillness, *[7] * 4) == [False] * 3 + [True]


@pytest.mark.parametrize("silent", Pulse)
def test_one_thread_that_stands_still_is_enough(clock: FakeClock, silent: Pulse) -> None:
    stillness, found = Stillness(clock), []

    for tick in range(12):
        clock.advance(1.0)
        found.append(stillness.found(tuple(0 if pulse is silent else tick for pulse in Pulse), LIMIT))

    assert found == [None] * 9 + [silent] * 3
