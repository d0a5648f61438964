"""A worker process as its supervisor sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from cherga.rules.urls import working_folder
from cherga.words.clock import Clock
from cherga.words.session import Death
from cherga.words.settlement import Settlement
from cherga.worker.options import CLOSING, FAREWELL, LAST_WRITE, ORPHANS_GRACE, WorkerOptions
from cherga.worker.slots import Pulse, SlotTable, share_slots, shared_memory
from cherga.worker.wire import Drain, Hello, Message, Start, Wire

KILL_DELAY = FAREWELL + CLOSING + LAST_WRITE + 1.0
SETTLED_AFTER = 5.0
"""Seconds. A worker process that has worked this long did not die of its start."""


class Stillness:
    """For how long the threads of an engine have shown no sign of life while somebody looked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticks: tuple[int, ...] = ()
        self._looked_at = clock.monotonic()
        self._seconds = [0.0] * len(Pulse)

    def found(self, ticks: tuple[int, ...], limit: float) -> Pulse | None:
        """The thread whose stillness has lasted longer than ``limit`` seconds at this look; no ticks: the engine is not up."""
        now = self._clock.monotonic()
        # Whoever has not looked for long may have been held up together with the engine, which then deserves further looks.
        seen = min(now - self._looked_at, limit / 2)

        for pulse in Pulse if ticks else ():
            still = bool(self._ticks) and ticks[pulse] == self._ticks[pulse]
            self._seconds[pulse] = self._seconds[pulse] + seen if still else 0.0

        self._ticks, self._looked_at = ticks, now
        return next((pulse for pulse in Pulse if ticks and self._seconds[pulse] > limit), None)


class Child:
    """A worker process with its pipe, its slot table and what it said."""

    def __init__(self, options: WorkerOptions, name: str, clock: Clock) -> None:
        self.name = name
        self.hello: Hello | None = None
        self.sessions: list[str] = []
        self.last_words: list[Settlement] = []
        self.draining = False
        self.told_to_die = False
        self.replace = False
        """The process ends because another one takes its place."""
        self.kill_at = float("inf")
        self._order: Drain | None = None
        self._clock = clock
        self._up_since = float("inf")
        self._noticed = False
        self._stillness = Stillness(clock)
        self._start(options, share_slots(options.threads, options.concurrency).spare_loop.stop)

    def _start(self, options: WorkerOptions, slots: int) -> None:
        slots_fd = shared_memory(slots)
        ours, theirs = socket.socketpair()
        self.wire = Wire(ours)

        try:
            self.slots = SlotTable.shared(slots_fd, slots)
            self.process = _start_process(theirs.fileno(), slots_fd)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(slots_fd)

        self.end_fd = _end_of(self.process.pid)
        """Becomes readable when the process has ended; None where nothing does."""
        self.wire.send(Start(options, self.name, slots))

    def welcome(self, hello: Hello) -> None:
        """Note that the process is up."""
        self.hello = hello
        self.sessions.append(hello.session)
        self._up_since = self._clock.monotonic()

    @property
    def settled(self) -> bool:
        """True when it has worked long enough, or had when it ended just now."""
        return self._clock.monotonic() - self._up_since > SETTLED_AFTER

    def has_just_settled(self) -> bool:
        """True at one look."""
        before, self._noticed = self._noticed, self.settled
        return self._noticed and not before

    def receive(self) -> list[Message] | None:
        """The messages that it has said whole; a process that stands still in the middle of one holds up nobody."""
        return self.wire.take()

    def drain(self, grace: float) -> None:
        """Ask it to finish and exit; it is killed some time after the grace time."""
        self.draining = True
        self.kill_at = self._clock.monotonic() + grace + KILL_DELAY
        self._order = Drain(grace)
        self.remind()

    def cut_off(self) -> None:
        """It hears nothing any more, and stops by itself; it is killed when that takes too long."""
        self.kill_at = min(self.kill_at, self._clock.monotonic() + ORPHANS_GRACE + KILL_DELAY)

    def remind(self) -> None:
        """Pass on the order to drain that it could not take before."""
        if self._order is not None and self.wire.offer(self._order):
            self._order = None

    def kill(self) -> None:
        """End it now; its running jobs are given back once it is gone."""
        self.told_to_die = True
        self.process.kill()

    def stalled(self, limit: float) -> Pulse | None:
        """The thread of its engine, once up, that has stood still for longer than ``limit`` seconds."""
        return self._stillness.found(() if self.hello is None else self.slots.ticks, limit)

    def deaths(self) -> list[Death]:
        """The end to tell the broker. A process that was killed while it drained, by its own job perhaps, has crashed."""
        killed = (self.process.returncode or 0) < 0
        orderly = self.told_to_die or (self.draining and not killed)
        begun = self.slots.begun()

        if begun is None:
            return [Death(session, None, orderly) for session in self.sessions]

        return [Death(session, begun.tokens, orderly, begun.once) for session in self.sessions]

    def close(self) -> None:
        self.wire.socket.close()

        if self.end_fd is not None:
            os.close(self.end_fd)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _start_process(wire_fd: int, slots_fd: int) -> subprocess.Popen[bytes]:
    # The working directory is not looked into for Cherga's own imports: a queue.py of the user is not Python's queue.
    apart = [] if {"", working_folder()} & set(sys.path) else ["-P"]
    command = [sys.executable, *apart, "-m", "cherga.worker.process", str(wire_fd), str(slots_fd)]
    # A group of its own: Ctrl-C in a terminal reaches the supervisor alone, which then drains in order.
    return subprocess.Popen(command, pass_fds=[wire_fd, slots_fd], start_new_session=True)


def _end_of(pid: int) -> int | None:
    """None before Linux 5.3, under a filter of system calls that does not know it, and elsewhere."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
