"""Waking those who wait, within one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class MemoryListener:
    """A bell that rings once, however often it was struck since the last wait."""

    def __init__(self, topics: frozenset[str], leave: Callable[[MemoryListener], None]) -> None:
        self.topics = topics
        self._leave = leave
        # A plain lock and not an Event: striking it takes no other lock, so a signal handler may do it at any point.
        self._silence = threading.Lock()
        self._silence.acquire()

    def wait(self, timeout: float | None) -> bool:
        """Return True at the next stroke or at once after one, False after ``timeout`` seconds."""
        return self._silence.acquire(timeout=-1 if timeout is None else max(0.0, timeout))

    def wake(self) -> None:
        """Strike."""
        with suppress(RuntimeError):  # raised when it rings already
            self._silence.release()

    def close(self) -> None:
        """Hear nothing more."""
        self._leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Bells:
    """Who listens to what. Every method is called with the lock of the store held, ``ring`` without it."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[MemoryListener]] = {}
        self._struck: set[MemoryListener] = set()

    def add(self, listener: MemoryListener) -> None:
        """Let a listener hear its topics from now on."""
        for topic in listener.topics:
            self._listeners.setdefault(topic, set()).add(listener)

    def remove(self, listener: MemoryListener) -> None:
        """Forget a listener; twice is once."""
        for topic in listener.topics:
            listeners = self._listeners.get(topic, set())
            listeners.discard(listener)

            if not listeners:
                self._listeners.pop(topic, None)

    def listened_topics(self) -> set[str]:
        """What anybody listens to."""
        return set(self._listeners)

    def strike(self, topic: str) -> None:
        """Note that something happened; the listeners wake when the change can be seen."""
        if topic in self._listeners:
            self._struck |= self._listeners[topic]

    def take(self) -> set[MemoryListener]:
        """The listeners to wake now."""
        struck, self._struck = self._struck, set()
        return struck
