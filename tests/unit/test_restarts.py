"""When worker processes that died are started again."""

from __future__ import annotations

from cherga.worker.restarts import LONGEST_PAUSE, YOUNG_DEATHS, Restarts


def test_pauses_grow_while_processes_die_young() -> None:
    restarts = Restarts(processes=1)
    pauses = [restarts.pause() for _ in range(7)]

    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, LONGEST_PAUSE, LONGEST_PAUSE]


def test_one_that_settles_ends_the_count() -> None:
    restarts = Restarts(processes=1)

    for _ in range(YOUNG_DEATHS):
        restarts.pause()

    assert restarts.are_hopeless(YOUNG_DEATHS)
    restarts.forget()
    assert not restarts.are_hopeless(YOUNG_DEATHS)
    assert restarts.pause() == 0.0


def test_processes_that_die_of_one_cause_are_one_round() -> None:
    restarts = Restarts(processes=4)

    assert [restarts.pause() for _ in range(9)] == [0.0] * 4 + [1.0] * 4 + [2.0]
    assert not restarts.are_hopeless(3)


def test_a_pause_has_a_limit_however_many_died() -> None:
    restarts = Restarts(processes=1)

    assert max(restarts.pause() for _ in range(3000)) == LONGEST_PAUSE
