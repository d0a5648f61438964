"""What makes a fork safe: threads write in turn, and a fork waits until none of them is inside SQLite.

A child has only the thread that forked. A lock that another thread held at that moment, SQLite's own included, stays locked
for ever in the child.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_WAIT = 2.0
"""Seconds that a fork waits at most: a writer may be waiting for another process, and what forks must not hang with it."""


class Gate:
    """Counts the threads inside. Who closes it waits until they are out, and lets none in until it is opened again."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0

    def enter(self) -> None:
        """Go in; wait while it is closed."""
        with self._changed:
            self._inside += 1

    def leave(self) -> None:
        """Go out."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until those inside are out, or too much time has passed."""
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._inside, LONGEST_WAIT)

    def open(self) -> None:
        """Let them in again; by the thread that closed it."""
        self._changed.release()


@contextmanager
def forks_kept_out() -> Iterator[None]:
    """While this holds, no other thread forks the process."""
    gate = _gate
    gate.enter()

    try:
        yield
    finally:
        gate.leave()


def find_turn(path: Path) -> threading.RLock:
    """The lock that all writers of this process to this file take, so that its threads never wait inside SQLite."""
    with _turns_lock:
        return _turns.setdefault(path.resolve(), threading.RLock())


def _begin_anew() -> None:
    global _gate, _turns_lock
    _gate = Gate()
    _turns_lock = threading.Lock()
    _turns.clear()


_gate = Gate()
_turns: dict[Path, threading.RLock] = {}
_turns_lock = threading.Lock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _gate.close(),
        after_in_parent=lambda: _gate.open(),
        after_in_child=_begin_anew,
    )
