"""Forks made safe: a fork waits until no thread is inside SQLite.

A child has only the thread that forked. A lock that another thread held at that moment, SQLite's own included, stays locked
for ever in the child.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from threading import get_ident
from typing import TypeVar

T = TypeVar("T")

LONGEST_WAIT = 2.0
"""Seconds that a fork waits at most: a writer may be waiting for another process, and what forks must not hang with it."""
GLANCE = 0.0005
"""Seconds between two looks of a fork at who is still inside."""


class Gate:
    """Knows the threads inside. Who closes it waits until they are out, and lets none in until it is opened again."""

    def __init__(self) -> None:
        self._inside: dict[object, int] = {}
        self._closing: set[int] = set()
        self._opened = threading.Event()

    def pass_through(self, work: Callable[[], T]) -> T:
        """Call ``work`` inside, and return what it returns; wait first while the gate is closed.

        Coming and going are single steps of C, so that a thread that is stopped at any point is never taken for one that is
        still inside.
        """
        visit = object()

        try:
            self._inside[visit] = get_ident()

            if self._closing:
                self._wait(visit)

            return work()
        finally:
            self._inside.pop(visit, None)

    def close(self) -> None:
        """Let no other thread in, and wait until those inside are out, or too much time has passed."""
        self._opened.clear()
        self._closing.add(get_ident())
        until = time.monotonic() + LONGEST_WAIT

        while self._others() and time.monotonic() < until:
            time.sleep(GLANCE)

    def open(self) -> None:
        """Let them in again; by the thread that closed it."""
        self._closing.discard(get_ident())

        if not self._closing:
            self._opened.set()

    def _wait(self, visit: object) -> None:
        """Stay outside while another thread forks; one that is inside already, further up its stack, is let through."""
        while self._closing - {get_ident()} and not self._is_nested(visit):
            self._inside.pop(visit, None)
            self._opened.wait(LONGEST_WAIT)
            self._inside[visit] = get_ident()

    def _is_nested(self, visit: object) -> bool:
        return any(thread == get_ident() and other is not visit for other, thread in list(self._inside.items()))

    def _others(self) -> bool:
        return any(thread != get_ident() for thread in list(self._inside.values()))


def with_forks_kept_out(work: Callable[[], T]) -> T:
    """Call ``work``, and return what it returns; meanwhile no other thread forks the process."""
    return _gate.pass_through(work)


def _begin_anew() -> None:
    global _gate
    _gate = Gate()


_gate = Gate()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _gate.close(),
        after_in_parent=lambda: _gate.open(),
        after_in_child=_begin_anew,
    )
