"""A fork waits until the threads inside are out, and lets no other in meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cherga.brokers.sqlite.forks import LONGEST_WAIT, Gate
from cherga.testing import wait_until
from cherga.words.clock import SystemClock


@pytest.fixture
def gate() -> Gate:
    return Gate()


@contextmanager
def thread_inside(gate: Gate) -> Iterator[threading.Event]:
    """Another thread is inside until the event is set, or the block ends."""
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        entered.set()
        leave.wait(20)

    thread = threading.Thread(target=gate.pass_through, args=(stay,))
    thread.start()
    assert entered.wait(20)

    try:
        yield leave
    finally:
        leave.set()
        thread.join()


def test_what_is_called_inside_answers(gate: Gate) -> None:
    assert gate.pass_through(lambda: 7) == 7


def test_a_fork_waits_for_those_inside_and_holds_up_those_who_come(gate: Gate) -> None:
    late: list[str] = []
    closed = threading.Event()

    opened = threading.Event()

    def fork() -> None:
        gate.close()
        closed.set()
        opened.wait(20)
        gate.open()

    with thread_inside(gate) as leave:
        forking = threading.Thread(target=fork)
        forking.start()
        comer = threading.Thread(target=lambda: gate.pass_through(lambda: late.append("in")))
        wait_until(lambda: gate._closing, "the gate closes")
        comer.start()
        assert not closed.is_set()
        leave.set()
        assert closed.wait(LONGEST_WAIT / 2)
        assert late == []
        opened.set()
        comer.join()
        forking.join()

    assert late == ["in"]


def test_threads_that_come_and_go_all_the_time_do_not_hold_up_a_fork(gate: Gate) -> None:
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            gate.pass_through(lambda: over.wait(0.001))

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]

    for thread in threads:
        thread.start()

    try:
        for _ in range(5):
            began = SystemClock.monotonic()
            gate.close()
            assert SystemClock.monotonic() - began < LONGEST_WAIT
            assert not gate._others()
            gate.open()
    finally:
        over.set()

        for thread in threads:
            thread.join()


def test_a_thread_inside_may_go_further_in_while_a_fork_waits_for_it(gate: Gate) -> None:
    closed = threading.Event()

    def fork() -> None:
        gate.close()
        closed.set()
        gate.open()

    def go_further() -> bool:
        threading.Thread(target=fork).start()
        wait_until(lambda: gate._closing, "the gate closes")
        return gate.pass_through(lambda: not closed.is_set())

    assert gate.pass_through(go_further)
    assert closed.wait(20)


def test_who_forks_from_inside_does_not_wait_for_itself(gate: Gate) -> None:
    def fork() -> float:
        began = SystemClock.monotonic()
        gate.close()
        gate.open()
        return SystemClock.monotonic() - began

    assert gate.pass_through(fork) < LONGEST_WAIT


def test_an_error_inside_leaves_nobody_inside(gate: Gate) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gate.pass_through(fail)

    assert not gate._inside
