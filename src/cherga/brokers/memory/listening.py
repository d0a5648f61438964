"""Waking those who wait, within one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Protocol, Self
from uuid import UUID


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


class Belfry(Protocol):
    """The bells, by topic."""

    @property
    def bells(self) -> Bells: ...


class MemoryJobListener(MemoryListener):
    """A bell for jobs, which also knows which of them struck it. ``held`` gives the place of the bells with its lock taken."""

    def __init__(self, held: Callable[[], AbstractContextManager[Belfry]]) -> None:
        super().__init__(frozenset(), lambda listener: self.discard(list(self._followed)))
        self._held = held
        self._followed: set[UUID] = set()
        self._changed: set[UUID] = set()

    def add(self, ids: Iterable[UUID]) -> None:
        """Follow these jobs too."""
        with self._held() as store:
            for id in ids:
                self._followed.add(id)
                store.bells.follow(id, self)

    def discard(self, ids: Iterable[UUID]) -> None:
        """Follow these no longer."""
        with self._held() as store:
            for id in ids:
                self._followed.discard(id)
                self._changed.discard(id)
                store.bells.leave(id, self)

    def note(self, id: UUID) -> None:
        """The job has changed; called with the lock of the store held."""
        self._changed.add(id)

    def changed(self) -> set[UUID]:
        """The jobs that changed since this was asked before."""
        with self._held():
            changed, self._changed = self._changed, set()

        return changed


class Bells:
    """The listeners and their topics. Every method is called with the lock of the store held, ``ring`` without it."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[MemoryListener]] = {}
        self._followers: dict[UUID, set[MemoryJobListener]] = {}
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

    def follow(self, id: UUID, listener: MemoryJobListener) -> None:
        """Let a listener hear of this job from now on."""
        self._followers.setdefault(id, set()).add(listener)

    def leave(self, id: UUID, listener: MemoryJobListener) -> None:
        """Let it hear of this job no longer; twice is once."""
        followers = self._followers.get(id, set())
        followers.discard(listener)

        if not followers:
            self._followers.pop(id, None)

    def followed_jobs(self) -> set[UUID]:
        """The jobs that anybody follows."""
        return set(self._followers)

    def listened_topics(self) -> set[str]:
        """The topics that anybody listens to."""
        return set(self._listeners)

    def strike(self, topic: str) -> None:
        """Note that something happened; the listeners wake when the change can be seen."""
        if topic in self._listeners:
            self._struck |= self._listeners[topic]

    def strike_job(self, id: UUID) -> None:
        """Note that something happened to this job."""
        for listener in self._followers.get(id, ()):
            listener.note(id)
            self._struck.add(listener)

    def take(self) -> set[MemoryListener]:
        """The listeners to wake now."""
        struck, self._struck = self._struck, set()
        return struck
