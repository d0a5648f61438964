"""The clock and the waiting that tests are written with."""

from __future__ import annotations

import threading

import pytest

from cherga.testing import FakeClock, wait_until
from cherga.words.clock import Clock


def test_a_fake_clock_stands_still() -> None:
    clock: Clock = FakeClock()
    assert (clock.now(), clock.monotonic(), clock.uptime()) == (clock.now(), clock.monotonic(), clock.uptime())


def test_time_passes_on_all_clocks() -> None:
    clock = FakeClock(now=1000.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic(), clock.uptime()) == (1002.5, 2.5, 2.5)


def test_a_sleeping_machine_measures_no_time() -> None:
    clock = FakeClock(now=1000.0)
    clock.suspend(60.0)
    assert (clock.now(), clock.monotonic(), clock.uptime()) == (1060.0, 0.0, 60.0)


def test_the_wall_clock_can_be_turned_back_alone() -> None:
    clock = FakeClock(now=1000.0)
    clock.set_wall(10.0)
    assert (clock.now(), clock.monotonic(), clock.uptime()) == (10.0, 0.0, 0.0)


@pytest.mark.parametrize("move", [FakeClock.advance, FakeClock.suspend])
def test_time_does_not_pass_backwards(move: object) -> None:
    assert callable(move)

    with pytest.raises(ValueError, match="set_wall"):
        move(FakeClock(), -1.0)


def test_waiting_returns_the_first_true_value() -> None:
    values = iter([0, "", None, "here", "late"])
    assert wait_until(lambda: next(values), "something comes") == "here"


def test_waiting_sees_what_another_thread_does() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.set)
    thread.start()
    assert wait_until(done.is_set, "the thread is done")
    thread.join()


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(AssertionError, match=r"expected within 0\.01 seconds: the moon is blue; the last value was 0"):
        wait_until(lambda: 0, "the moon is blue", timeout=0.01)
