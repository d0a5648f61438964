"""Threads of a crew: jobs that wait have all of them at once, short ones are left to one, and none is forgotten."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from queue import Empty
from typing import Any, cast

import pytest

from cherga.testing import wait_until
from cherga.words.clock import SystemClock
from cherga.worker.assignment import Assignment
from cherga.worker.crew import Crew, Post

Act = Callable[[], object]
WAIT = 20.0


class Threads:
    """So many threads that run functions in place of jobs."""

    def __init__(self, number: int) -> None:
        self.crew = Crew(SystemClock())
        self.ran: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._work, name=f"run-{n}", daemon=True) for n in range(number)]

        for thread in self._threads:
            thread.start()

    def put(self, *acts: Act) -> None:
        self.crew.put_all(cast(list[Assignment], acts))

    def end(self) -> None:
        self.crew.put_all([None] * len(self._threads))

        for thread in self._threads:
            thread.join(WAIT)

        assert not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        seat, clock = Post(), SystemClock()

        while (act := cast(Any, self.crew.next(seat))) is not None:
            act()
            self.ran[threading.current_thread().name] += 1
            self.crew.done(seat, clock.monotonic())

        self.crew.leave(seat)


@pytest.mark.parametrize("number", [1, 2, 8])
def test_everything_is_run_once_and_then_all_threads_end(number: int) -> None:
    threads, seen = Threads(number), list[int]()

    for first in range(0, 3000, 100):
        threads.put(*(lambda n=n: seen.append(n) for n in range(first, first + 100)))

    threads.end()
    assert sorted(seen) == list(range(3000))


def test_jobs_that_wait_for_each_other_have_all_threads_at_once() -> None:
    threads, barrier = Threads(8), threading.Barrier(8)
    threads.put(*[lambda: barrier.wait(WAIT)] * 8)
    threads.end()

    assert sorted(threads.ran.values()) == [1] * 8


def test_jobs_that_begin_to_wait_after_many_short_ones_have_all_threads_too() -> None:
    threads, barrier = Threads(4), threading.Barrier(4)
    threads.put(*[int] * 500, *[lambda: barrier.wait(WAIT)] * 4)
    threads.end()

    assert threads.ran.total() == 504


def test_one_that_comes_while_another_is_held_up_does_not_wait_for_it() -> None:
    threads, held, other = Threads(2), threading.Event(), threading.Event()
    threads.put(lambda: held.wait(WAIT))
    wait_until(lambda: threads.crew.qsize() == 0, "the first is taken")
    threads.put(other.set)

    assert other.wait(WAIT)
    held.set()
    threads.end()


def test_short_jobs_after_long_ones_are_all_run() -> None:
    """The threads that were called for the long ones go back to rest, and the last one goes on."""
    threads, barrier = Threads(4), threading.Barrier(4)

    for _ in range(20):
        threads.put(*[lambda: barrier.wait(WAIT)] * 4, *[int] * 50)

    threads.end()
    assert threads.ran.total() == 20 * 54


def test_a_thread_that_comes_late_takes_its_part() -> None:
    """As one does that stands in for a job which waits for another job."""
    crew, held, other, ended = Crew(SystemClock()), threading.Event(), threading.Event(), list[bool]()

    def work() -> None:
        seat = Post()

        while (act := cast(Any, crew.next(seat))) is not None:
            act()
            crew.done(seat, SystemClock().monotonic())

        crew.leave(seat)
        ended.append(True)

    threading.Thread(target=work, daemon=True).start()
    crew.put_all(cast(Any, [lambda: held.wait(WAIT), other.set]))
    wait_until(lambda: crew.qsize() == 1, "the first is taken")
    threading.Thread(target=work, daemon=True).start()

    assert other.wait(WAIT)
    held.set()
    crew.put(None, None)
    wait_until(lambda: len(ended) == 2, "both end")


def test_what_no_thread_has_taken_may_be_taken_back() -> None:
    crew = Crew(SystemClock())
    crew.put(None)

    assert crew.get_nowait() is None
    with pytest.raises(Empty):
        crew.get_nowait()
