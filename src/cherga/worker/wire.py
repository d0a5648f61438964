"""Messages between supervisor and worker process: MessagePack with a length in front, over a socket pair."""

from __future__ import annotations

import select
import socket
import threading
from struct import Struct as Layout

import msgspec
from msgspec import Struct

from cherga.rules.settings import BrokerSettings
from cherga.words.proof import Finding
from cherga.words.settlement import Settlement
from cherga.worker.options import WorkerOptions

_LENGTH = Layout("<I")
LONGEST = 64 << 20
"""Bytes of one message; what says it is longer is none."""


class Start(Struct, frozen=True, tag="start"):
    """Down: begin. ``slots`` is the size of the shared table."""

    options: WorkerOptions
    name: str
    slots: int


class Hello(Struct, frozen=True, tag="hello"):
    """Up: the application is loaded and the session registered. Only the application knows these things."""

    application: str
    tasks: int
    broker_url: str
    settings: BrokerSettings
    session: str
    grace: float
    stall_limit: float
    files: tuple[str, ...] = ()
    """Source files that were loaded, for ``--reload``."""
    task_names: tuple[str, ...] = ()
    """The first of its tasks, for people."""
    findings: tuple[Finding, ...] = ()
    """The findings of the process before its first claim."""


class NewSession(Struct, frozen=True, tag="session"):
    """Up: the old session was lost; this is the new one."""

    session: str


class Stuck(Struct, frozen=True, tag="stuck"):
    """Up: a thread does not end; this process drains and wants to be replaced."""


class LastWord(Struct, frozen=True, tag="last"):
    """Up: what became of an attempt, to be written once this process is gone, for its thread runs until then."""

    settlement: Settlement


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


Message = Start | Hello | NewSession | Stuck | LastWord | Drain | CancelJob | Lost

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Wire:
    """An end of the socket pair. Sending is safe from any thread; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.garbled = False
        """The last bytes are no message, and nothing after them can be understood."""
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
        """Wait for at least one message; None when the other end is gone, or makes no sense any more."""
        while not self.garbled:
            if messages := self._whole_messages():
                return messages

            if not self.garbled and not self._take_in():
                return None

        return None

    def take(self) -> list[Message] | None:
        """The messages that have come whole; never waits for the rest of one. None when the other end is gone."""
        return self._whole_messages() if self._take_in(socket.MSG_DONTWAIT) else None

    def rest(self) -> list[Message]:
        """The messages still there once the process at the other end is gone, though another may hold that end open."""
        seen = -1

        while seen < len(self._buffer):
            seen = len(self._buffer)
            self._take_in(socket.MSG_DONTWAIT)

        return self._whole_messages()

    def _take_in(self, flags: int = 0) -> bool:
        """False when nothing will come any more."""
        try:
            data = self.socket.recv(65_536, flags)
        except BlockingIOError:
            return True
        except OSError:
            return False

        self._buffer += data
        return bool(data)

    def _whole_messages(self) -> list[Message]:
        messages: list[Message] = []

        try:
            while (frame := self._next_frame()) is not None:
                messages.append(_decode(frame))
        except (msgspec.MsgspecError, RecursionError):
            self.garbled = True

        return messages

    def _next_frame(self) -> bytes | None:
        """Raises ``DecodeError`` for what is too long to be one."""
        if len(self._buffer) < _LENGTH.size:
            return None

        (length,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + length

        if length > LONGEST:
            raise msgspec.DecodeError(f"expected a message of {LONGEST} bytes at most, got {length}")

        if len(self._buffer) < end:
            return None

        frame = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return frame
