"""When a worker process makes room for a suspect, and when it stops doing so."""

from __future__ import annotations

from cherga.worker.solitude import LONGEST_CLEARING, REST, Solitude


def yes() -> bool:
    return True


def no() -> bool:
    return False


def test_a_waiting_suspect_is_waited_for_until_the_patience_ends() -> None:
    solitude = Solitude()
    solitude.begin(100.0)

    assert solitude.asked
    assert solitude.lasts(100.0 + LONGEST_CLEARING - 1, yes)
    assert not solitude.lasts(100.0 + LONGEST_CLEARING, yes)


def test_a_suspect_that_another_worker_took_is_not_waited_for() -> None:
    solitude = Solitude()
    solitude.begin(100.0)

    assert not solitude.lasts(101.0, no)


def test_after_waiting_in_vain_a_worker_rests_before_it_waits_again() -> None:
    solitude = Solitude()
    solitude.begin(100.0)
    assert not solitude.lasts(100.0 + LONGEST_CLEARING, yes)
    solitude.end(100.0 + LONGEST_CLEARING)

    solitude.begin(100.0 + LONGEST_CLEARING + REST - 1)
    assert not solitude.asked
    solitude.begin(100.0 + LONGEST_CLEARING + REST)
    assert solitude.asked


def test_a_suspect_that_runs_is_alone_however_long_it_takes() -> None:
    solitude = Solitude()
    solitude.begin_with_suspects()

    assert solitude.lasts(1e9, no)
    solitude.end(1e9)
    assert not solitude.asked
