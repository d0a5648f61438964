"""Threads of the engine take turns whatever is raised in one of them."""

from __future__ import annotations

import logging
import threading

import pytest

from cherga.testing import wait_until
from cherga.worker.turns import Turns


class Work:
    """Turns that fail as they are told to."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.done = 0
        self.beats = 0
        self.more = threading.Semaphore(0)

    def turn(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

        self.more.acquire(timeout=10)
        self.done += 1

    def beat(self) -> None:
        self.beats += 1


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_a_turn_that_fails_is_told_and_followed_by_another(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    work = Work(error)
    turns = Turns("settler", work.turn, work.beat)
    turns.start()
    work.more.release(2)
    wait_until(lambda: work.done == 2, "two turns")
    turns.end()
    work.more.release()

    assert turns.join(10)
    assert "the settler failed; it goes on in 0.1 seconds" in caplog.text
    assert work.beats == work.done


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit("the disk of the logs is full")


def test_a_fault_in_the_logging_ends_no_thread() -> None:
    handler, logger = Broken(), logging.getLogger("cherga.worker")
    logger.addHandler(handler)
    work = Work(ValueError("no"))
    turns = Turns("settler", work.turn, work.beat)

    try:
        turns.start()
        work.more.release()
        wait_until(lambda: work.done, "a turn")
    finally:
        logger.removeHandler(handler)

    turns.end()
    work.more.release()
    assert turns.join(10)


def test_a_thread_that_only_fails_shows_no_sign_of_life_and_can_be_ended() -> None:
    work = Work(*[ValueError("no")] * 1000)
    turns = Turns("settler", work.turn, work.beat)
    turns.start()
    wait_until(lambda: len(work.errors) < 998, "some turns")
    turns.end()

    assert turns.join(10)
    assert work.beats == 0


def test_one_that_never_began_is_over() -> None:
    turns = Turns("settler", lambda: None)
    turns.end()
    assert turns.join()
