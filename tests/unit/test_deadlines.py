"""Deadlines: what is past its time is ended, in whatever order it was watched."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cherga.testing import wait_until
from cherga.words.clock import SystemClock
from cherga.worker.deadlines import NEVER, Deadlines


class Agenda:
    """Deadlines to end, and those that were."""

    def __init__(self) -> None:
        self.open: list[float] = []
        self.ended: list[float] = []
        self.scans = 0
        self.lock = threading.Lock()

    def expire(self, now: float) -> float:
        with self.lock:
            self.scans += 1
            self.ended += sorted(each for each in self.open if each <= now)
            self.open = [each for each in self.open if each > now]
            return min(self.open, default=NEVER)


@pytest.fixture
def agenda() -> Agenda:
    return Agenda()


@pytest.fixture
def deadlines(agenda: Agenda) -> Iterator[Deadlines]:
    deadlines = Deadlines(SystemClock())
    deadlines.start(agenda.expire)
    yield deadlines
    deadlines.stop()


def watch(agenda: Agenda, deadlines: Deadlines, *waits: float) -> list[float]:
    now = SystemClock.monotonic()
    moments = [now + wait for wait in waits]

    for moment in moments:
        with agenda.lock:
            agenda.open.append(moment)

        deadlines.watch(moment)

    return moments


@pytest.mark.parametrize("waits", [(0.01, 0.03, 0.05), (0.05, 0.03, 0.01), (0.03, 0.01, 0.05), (0.01, 0.01, 0.01)])
def test_each_is_ended_in_its_turn(agenda: Agenda, deadlines: Deadlines, waits: tuple[float, ...]) -> None:
    moments = watch(agenda, deadlines, *waits)
    wait_until(lambda: len(agenda.ended) == 3, "all are ended")

    assert agenda.ended == sorted(moments)


def test_nothing_is_ended_before_its_time(agenda: Agenda, deadlines: Deadlines) -> None:
    _, later = watch(agenda, deadlines, 0.02, 60)
    wait_until(lambda: agenda.ended, "the first is ended")

    assert later in agenda.open
    assert agenda.scans <= 2


def test_a_deadline_that_is_over_already_is_ended_at_once(agenda: Agenda, deadlines: Deadlines) -> None:
    watch(agenda, deadlines, -5)
    wait_until(lambda: agenda.ended, "it is ended")


def test_an_endless_deadline_is_none(agenda: Agenda, deadlines: Deadlines) -> None:
    deadlines.watch(NEVER)
    watch(agenda, deadlines, 0.0)
    wait_until(lambda: agenda.ended, "the other is ended")


def test_many_threads_may_watch_at_once(agenda: Agenda, deadlines: Deadlines) -> None:
    threads = [threading.Thread(target=watch, args=(agenda, deadlines, *(0.001 * n for n in range(50)))) for _ in range(4)]

    for thread in threads:
        thread.start()

    for thread in threads:
        thread.join(10)

    wait_until(lambda: len(agenda.ended) == 200, "all are ended")


def test_a_stop_does_not_wait_for_what_is_still_watched(agenda: Agenda) -> None:
    deadlines = Deadlines(SystemClock())
    deadlines.start(agenda.expire)
    watch(agenda, deadlines, 3600)
    began = SystemClock.monotonic()
    deadlines.stop()

    assert SystemClock.monotonic() - began < 10


def test_a_scan_that_fails_is_made_again(agenda: Agenda, caplog: pytest.LogCaptureFixture) -> None:
    troubles = [SystemExit("no"), RuntimeError("not yet")]

    def expire(now: float) -> float:
        if troubles:
            raise troubles.pop()

        return agenda.expire(now)

    deadlines = Deadlines(SystemClock())
    deadlines.start(expire)
    watch(agenda, deadlines, -5)
    wait_until(lambda: agenda.ended, "it is ended all the same")
    watch(agenda, deadlines, -5)
    wait_until(lambda: len(agenda.ended) == 2, "so is the next one")
    deadlines.stop()

    assert caplog.text.count("the deadlines failed") == 2


def test_deadlines_show_that_they_live_though_nothing_is_due(agenda: Agenda) -> None:
    beats: list[None] = []
    deadlines = Deadlines(SystemClock(), lambda: beats.append(None), longest=0.01)
    deadlines.start(agenda.expire)
    deadlines.watch(SystemClock.monotonic() + 3600)

    wait_until(lambda: len(beats) > 3, "they turn")
    deadlines.stop()


def test_deadlines_that_never_began_can_be_stopped() -> None:
    Deadlines(SystemClock()).stop()
