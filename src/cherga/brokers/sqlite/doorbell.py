"""The doorbell: who waits binds a datagram socket beside the file, who changes something sends an empty datagram to it.

The kernel wakes the waiter at once, in any process, and nothing is used while nobody rings. A socket whose owner has died
refuses, and is removed by whoever notices, or hangs up a bell of his own. A bell is only a hint: a lost one costs the time of a
poll, never a job. A follower of jobs has one bell for all of them, and a slate that says which were meant.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self, TypeVar
from uuid import UUID

from cherga.brokers.sqlite.bells import Bells
from cherga.brokers.sqlite.connection import Watch
from cherga.brokers.sqlite.folder import Listing, LiveFolder
from cherga.brokers.sqlite.slates import Slate, Slates
from cherga.doors.broker import JobListener, Listener

SUFFIX = ".bell"
SLATE = ".slate"
JOBS = "jobs"
"""The part that stands in place of a topic in the name of a bell for jobs."""


class Doorbell:
    """Rings and listens in one folder."""

    def __init__(self, folder: LiveFolder) -> None:
        self._folder = folder
        self._sender: socket.socket | None = None
        self._slates = Slates()
        self._seen: Listing | None = None
        self._present: list[tuple[str, str]] = []
        """The bells of that listing, each with its topic."""

    def listen(self, topics: Iterable[str]) -> Listener | None:
        """A listener, or None where such sockets cannot be bound."""
        return self._hung_up(BellListener, topics)

    def listen_to_jobs(self) -> JobListener | None:
        """A listener to single jobs, or None where such sockets cannot be bound."""
        return self._hung_up(JobBellListener, (JOBS,))

    def ring(self, bells: Bells) -> None:
        """Wake whoever listens to one of these topics, or follows one of the jobs. Never raises and never waits."""
        if not (bells.topics or bells.jobs) or not self._folder.usable:
            return

        slots: list[int] | None = None

        for topic, name in self._listeners():
            if topic == JOBS:
                slots = bells.slots() if slots is None else slots

                if self._slates.mark(self._folder.join(_slate_of(name)), slots):
                    self._send(name)
            elif topic in bells.topics:
                self._send(name)

    def hang_up(self, topic: str) -> BellListener:
        """A listener with one bell, which is rung by its token; ``OSError`` where it cannot be."""
        listener = self._hung_up(BellListener, (topic,))

        if listener is None:
            raise OSError(f"no bell can be hung up in {self._folder.path}")

        return listener

    def path(self, name: str) -> str:
        """The full path of a file in the folder of the bells."""
        return self._folder.join(name)

    def ring_bell(self, topic: str, token: str) -> bool:
        """Ring one bell; False when nobody hears it."""
        return self._send(f"{topic}.{token}{SUFFIX}")

    def take_down_dead(self) -> None:
        """Processes that were killed leave their bells behind, and perhaps nobody rings them any more."""
        for name in self._folder.names():
            if name.endswith(SUFFIX):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
                    try:
                        caller.connect(self._folder.socket_path(name))
                    except ConnectionRefusedError:
                        _take_down(self._folder, name)
                    except OSError:
                        pass

    def close(self) -> None:
        """Give the sending socket back."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _hung_up(self, kind: type[B], topics: Iterable[str]) -> B | None:
        if not hasattr(socket, "AF_UNIX") or not self._folder.usable:
            return None

        self.take_down_dead()
        listener = kind(self._folder)

        try:
            for topic in topics:
                listener.bind(topic)
        except OSError:
            listener.close()
            return None

        return listener

    def _listeners(self) -> list[tuple[str, str]]:
        listing = self._folder.listing()

        if listing is not self._seen:
            self._present = [(name.partition(".")[0], name) for name in listing.names if name.endswith(SUFFIX)]
            self._slates.keep([self._folder.join(_slate_of(name)) for topic, name in self._present if topic == JOBS])
            self._seen = listing

        return self._present

    def _send(self, name: str) -> bool:
        try:
            self._socket().sendto(b"", self._folder.socket_path(name))
        except (ConnectionRefusedError, ConnectionResetError):
            _take_down(self._folder, name)
            return False
        except BlockingIOError:
            return True  # full: it has been rung already
        except OSError:
            return False  # gone: nobody listens any more

        return True

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

    def recv(self, size: int) -> bytes:
        """Take a call; ``BlockingIOError`` when there is none."""
        return self._reading.recv(size)

    def close(self) -> None:
        """Give both ends back."""
        self._reading.close()
        self._writing.close()


class BellListener:
    """Waits on one socket a topic, without using any time of the processor. A forked child has no part in it."""

    def __init__(self, folder: LiveFolder) -> None:
        self._folder = folder
        self._wake_up = WakeUp()
        self._bells: dict[str, socket.socket] = {}
        # Also at the end of a process that never closed it.
        self.close = weakref.finalize(self, _give_back, folder, self._bells, self._wake_up, os.getpid())
        _listeners.add(self)

    def bind(self, topic: str) -> str:
        """Hear this topic too, by a bell of this name; ``OSError`` where the socket cannot be made."""
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bell.setblocking(False)
        name = f"{topic}.{secrets.token_hex(8)}{SUFFIX}"
        self._bells[name] = bell
        bell.bind(self._folder.socket_path(name))
        return name

    @property
    def token(self) -> str:
        """The part that tells the name of the first bell from those of others on its topic."""
        return next(iter(self._bells)).removesuffix(SUFFIX).rpartition(".")[2]

    def wait(self, timeout: float | None) -> bool:
        """True when one of the bells was rung, or ``wake`` called, since the last wait."""
        sources: list[socket.socket | WakeUp] = [*self._bells.values(), self._wake_up]

        rung = await_readable(sources, timeout)

        for source in rung:
            _drain(source)

        return bool(rung)

    def wake(self) -> None:
        """Make the wait return True now."""
        self._wake_up.call()

    def leave_to_parent(self) -> None:
        """In a forked child: close the descriptors, for they are the parent's, as all else is."""
        for bell in self._bells.values():
            bell.close()

        self._wake_up.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class JobBellListener(BellListener):
    """Waits on one socket for all jobs that it follows."""

    def bind(self, topic: str) -> str:
        name = super().bind(topic)
        self._slate = Slate(self._folder.join(_slate_of(name)))
        return name

    def add(self, ids: Iterable[UUID]) -> None:
        """Follow these jobs too."""
        self._slate.add(ids)

    def discard(self, ids: Iterable[UUID]) -> None:
        """Follow these no longer."""
        self._slate.discard(ids)

    def changed(self) -> set[UUID]:
        """The jobs that may have changed since this was asked before."""
        return self._slate.take_changed()


class PollingListener:
    """The fall-back: looks whether the file has changed, ever less often, until the wait is over. Nobody knows what changed."""

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
                _drain(self._wake_up)
                return True

            if left <= pause:
                return self._watch.changed()

            left -= pause
            pause = min(pause * 1.5, self.LONGEST)

        return True

    def wake(self) -> None:
        """Make the wait return True now."""
        self._wake_up.call()

    def add(self, ids: Iterable[UUID]) -> None:
        """Every job is followed."""

    def discard(self, ids: Iterable[UUID]) -> None:
        """Every job is followed."""

    def changed(self) -> None:
        """Any of them."""

    def close(self) -> None:
        """Stop looking."""
        self._watch.close()
        self._wake_up.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def await_readable(sources: Sequence[socket.socket | WakeUp], timeout: float | None) -> list[socket.socket | WakeUp]:
    """Those of these that became readable within ``timeout`` seconds (None: for ever)."""
    if not hasattr(select, "poll"):
        return select.select(sources, [], [], timeout)[0]

    poll = select.poll()

    for source in sources:
        poll.register(source.fileno(), select.POLLIN)

    rung = {descriptor for descriptor, _ in poll.poll(None if timeout is None else max(0.0, timeout) * 1000)}
    return [source for source in sources if source.fileno() in rung]


def _slate_of(bell: str) -> str:
    return f"{bell.removesuffix(SUFFIX)}{SLATE}"


def _take_down(folder: LiveFolder, bell: str) -> None:
    """The slate first: one without a bell would be found by nobody."""
    if bell.startswith(f"{JOBS}."):
        folder.remove(_slate_of(bell))

    folder.remove(bell)


def _give_back(folder: LiveFolder, bells: dict[str, socket.socket], wake_up: WakeUp, pid: int) -> None:
    """Take the sockets away. In a forked child they stay in place, for they are the parent's."""
    for name, bell in bells.items():
        bell.close()

        if os.getpid() == pid:
            _take_down(folder, name)

    bells.clear()
    wake_up.close()


def _leave_all_to_parent() -> None:
    for listener in list(_listeners):
        listener.leave_to_parent()


B = TypeVar("B", bound=BellListener)

_listeners: weakref.WeakSet[BellListener] = weakref.WeakSet()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def _drain(source: socket.socket | WakeUp) -> None:
    with suppress(BlockingIOError):
        while True:
            source.recv(16)
