"""What supervisor and worker process say to each other: MessagePack with a length in front, over a socket pair."""

from __future__ import annotations

import select
import socket
import threading
from struct import Struct as Layout

import msgspec
from msgspec import Struct

from cherga.rules.settings import BrokerSettings
from cherga.worker.options import WorkerOptions

_LENGTH = Layout("<I")


class Start(Struct, frozen=True, tag="start"):
    """Down: begin. ``slots`` is the size of the shared table."""

    options: WorkerOptions
    name: str
    slots: int


class Hello(Struct, frozen=True, tag="hello"):
    """Up: the application is loaded and the session registered. Only the application knows these things."""

    broker_url: str
    settings: BrokerSettings
    session: str
    grace: float
    stall_limit: float
    files: tuple[str, ...] = ()
    """Source files that were loaded, for ``--reload``."""


class NewSession(Struct, frozen=True, tag="session"):
    """Up: the old session was lost; this is the new one."""

    session: str


class Stuck(Struct, frozen=True, tag="stuck"):
    """Up: a thread does not end; this process drains and wants to be replaced."""


class Drain(Struct, frozen=True, tag="drain"):
    """Down: finish what runs within so many seconds, then exit."""

    grace: float


class CancelJob(Struct, frozen=True, tag="cancel"):
    """Down: somebody asked to cancel this attempt."""

    session: str
    id: str
    token: int


class Lost(Struct, frozen=True, tag="lost"):
    """Down: the broker no longer knows this session."""

    session: str


Message = Start | Hello | NewSession | Stuck | Drain | CancelJob | Lost

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Wire:
    """One end of the socket pair. Sending is safe from any thread; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._lock = threading.Lock()
        self._buffer = bytearray()

    def send(self, message: Message) -> bool:
        """False when the other end is gone."""
        data = _encode(message)

        try:
            with self._lock:
                self.socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            return False

        return True

    def offer(self, message: Message) -> bool:
        """Send without ever waiting; False also when the other end takes nothing at the moment."""
        poll = select.poll()

        try:
            poll.register(self.socket, select.POLLOUT)
        except (OSError, ValueError):
            return False

        return bool(poll.poll(0)) and self.send(message)

    def receive(self) -> list[Message] | None:
        """Wait for at least one message; None when the other end is gone."""
        while True:
            if messages := self._whole_messages():
                return messages

            try:
                data = self.socket.recv(65_536)
            except OSError:
                return None

            if not data:
                return None

            self._buffer += data

    def _whole_messages(self) -> list[Message]:
        messages: list[Message] = []

        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length

            if len(self._buffer) < end:
                break

            messages.append(_decode(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]

        return messages
