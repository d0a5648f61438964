"""The doorbell: who waits binds a datagram socket beside the file, who changes something sends an empty datagram to it.

The kernel wakes the waiter at once, in any process, and nothing is used while nobody rings. A socket whose owner has died
refuses and is removed by whoever notices. A bell is only a hint: a lost one costs the time of a poll, never a job.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

from cherga.brokers.sqlite.bells import Bells
from cherga.brokers.sqlite.connection import Watch
from cherga.brokers.sqlite.folder import LiveFolder
from cherga.doors.broker import Listener

SUFFIX = ".bell"
JOB_PREFIX = "job-"


class Doorbell:
    """Rings and listens in one folder."""

    def __init__(self, folder: LiveFolder) -> None:
        self._folder = folder
        self._sender: socket.socket | None = None

    def listen(self, topics: Iterable[str]) -> Listener | None:
        """A listener, or None where such sockets cannot be bound."""
        if not hasattr(socket, "AF_UNIX") or not self._folder.usable:
            return None

        listener = BellListener(self._folder)

        try:
            for topic in topics:
                listener.bind(topic)
        except OSError:
            listener.close()
            return None

        return listener

    def ring(self, bells: Bells) -> None:
        """Wake whoever listens to one of these topics. Never raises and never waits."""
        if not (bells.topics or bells.jobs) or not self._folder.usable:
            return

        present = self._listeners()

        if any(topic.startswith(JOB_PREFIX) for topic, _ in present):
            bells.topics |= bells.job_topics()

        for topic, name in present:
            if topic in bells.topics:
                self._send(name)

    def close(self) -> None:
        """Give the sending socket back."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _listeners(self) -> list[tuple[str, str]]:
        return [(name.partition(".")[0], name) for name in self._folder.names() if name.endswith(SUFFIX)]

    def _send(self, name: str) -> None:
        try:
            self._socket().sendto(b"", self._folder.socket_path(name))
        except (ConnectionRefusedError, ConnectionResetError):
            self._folder.remove(name)
        except OSError:
            pass  # full: it has been rung already; gone: nobody listens any more

    def _socket(self) -> socket.socket:
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sender.setblocking(False)

        return self._sender


class WakeUp:
    """A wake-up call within the process, safe in signal handlers: one end is written, the other waited for."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._reading.fileno()

    def call(self) -> None:
        """Make it readable."""
        with suppress(OSError):
            self._writing.send(b"w")

    def drain(self) -> None:
        """Make it unreadable again."""
        _drain(self._reading)

    def close(self) -> None:
        """Give both ends back."""
        self._reading.close()
        self._writing.close()


class BellListener:
    """Waits on one socket a topic, without using any time of the processor."""

    def __init__(self, folder: LiveFolder) -> None:
        self._folder = folder
        self._wake_up = WakeUp()
        self._bells: dict[str, socket.socket] = {}
        self._pid = os.getpid()

    def bind(self, topic: str) -> None:
        """Hear this topic too; ``OSError`` where the socket cannot be made."""
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bell.setblocking(False)
        name = f"{topic}.{secrets.token_hex(8)}{SUFFIX}"
        self._bells[name] = bell
        bell.bind(self._folder.socket_path(name))

    def wait(self, timeout: float | None) -> bool:
        """True when one of the bells was rung, or ``wake`` called, since the last wait."""
        sources: list[socket.socket | WakeUp] = [*self._bells.values(), self._wake_up]

        if not await_readable(sources, timeout):
            return False

        for bell in self._bells.values():
            _drain(bell)

        self._wake_up.drain()
        return True

    def wake(self) -> None:
        """Make the wait return True now."""
        self._wake_up.call()

    def close(self) -> None:
        """Take the sockets away. In a forked child they stay in place, for they are the parent's."""
        for name, bell in self._bells.items():
            bell.close()

            if os.getpid() == self._pid:
                self._folder.remove(name)

        self._bells.clear()
        self._wake_up.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class PollingListener:
    """The fall-back: looks whether the file has changed, ever less often, until the wait is over."""

    SHORTEST = 0.001
    LONGEST = 0.05

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._wake_up = WakeUp()

    def wait(self, timeout: float | None) -> bool:
        """True when anything at all was written to the file, or ``wake`` called, since the last wait."""
        left = float("inf") if timeout is None else timeout
        pause = self.SHORTEST

        while not self._watch.changed():
            if await_readable([self._wake_up], max(0.0, min(pause, left))):
                self._wake_up.drain()
                return True

            if left <= pause:
                return self._watch.changed()

            left -= pause
            pause = min(pause * 1.5, self.LONGEST)

        return True

    def wake(self) -> None:
        """Make the wait return True now."""
        self._wake_up.call()

    def close(self) -> None:
        """Stop looking."""
        self._watch.close()
        self._wake_up.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def await_readable(sources: Iterable[socket.socket | WakeUp], timeout: float | None) -> bool:
    """Whether one of these became readable within ``timeout`` seconds (None: for ever)."""
    if not hasattr(select, "poll"):
        return bool(select.select(list(sources), [], [], timeout)[0])

    poll = select.poll()

    for source in sources:
        poll.register(source.fileno(), select.POLLIN)

    return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))


def _drain(source: socket.socket) -> None:
    with suppress(BlockingIOError):
        while True:
            source.recv(16)
