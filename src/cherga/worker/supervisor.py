"""The supervisor: starts worker processes, renews their leases, replaces those that die, and ends them in order.

It imports no user code, so nothing can hang it. Where the broker is, the first worker process tells.
"""

from __future__ import annotations

import logging
import os
import platform
import selectors
import signal
import socket
from contextlib import suppress

from cherga.brokers import connect
from cherga.doors.broker import FullBroker
from cherga.words.clock import SystemClock
from cherga.words.errors import ChergaError
from cherga.words.session import Cancel
from cherga.worker import logs
from cherga.worker.caretaker import Caretaker
from cherga.worker.child import Child, describe_exit
from cherga.worker.keeper import Keeper
from cherga.worker.options import Exit, WorkerOptions
from cherga.worker.reload import Files
from cherga.worker.wire import CancelJob, Hello, Lost, Message, NewSession, Stuck

logger = logging.getLogger("cherga.worker")

TURN = 0.5
"""Seconds between two looks at what makes no noise: changed files, stalled engines, processes to start again."""
STARTS_IN_VAIN = 5
SETTLED_AFTER = 5.0
"""A worker process that lived this long did not die of its start."""
LONGEST_PAUSE = 10.0


def run(options: WorkerOptions) -> int:
    """Run worker processes until a signal, or until there is nothing left in burst mode. Returns the exit code."""
    logs.set_up(options.log_level, options.log_format)
    return Supervisor(options).run()


class Supervisor:
    """One loop over the pipes and ends of its children; keeper and caretaker have threads of their own."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._name = options.name or f"{platform.node()}-{os.getpid()}"
        self._clock = SystemClock()
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._files = Files()
        self._broker: FullBroker | None = None
        self._grace = 25.0 if options.grace is None else options.grace
        self._stall_limit = 60.0
        self._due: list[float] = []
        """When to start further processes, on the monotonic clock."""
        self._until_change = 0
        """Further processes to start once a file has changed."""
        self._in_vain = 0
        self._signals = 0
        self._stopping = False
        self._code = Exit.OK
        self._started = 0

    def run(self) -> int:
        self._listen_to_signals()
        self._due = [self._clock.monotonic()] * self._options.processes

        try:
            while self._children or ((self._due or self._until_change) and not self._stopping):
                self._turn()
        finally:
            for child in self._children:
                child.kill()

            self._close_broker()

        return self._code

    # --- one turn

    def _turn(self) -> None:
        self._start_due()

        for key, _ in self._selector.select(self._patience()):
            if isinstance(key.data, Child):
                self._hear(key.data)
            elif key.data == "signal":
                self._on_signal()

        for child in [child for child in self._children if child.process.poll() is not None]:
            self._bury(child)

        self._look_at_children()
        self._look_at_files()

    def _patience(self) -> float:
        if not self._due:
            return TURN

        return min(TURN, max(0.0, min(self._due) - self._clock.monotonic()))

    def _start_due(self) -> None:
        now = self._clock.monotonic()
        ready = [when for when in self._due if when <= now]
        self._due = [when for when in self._due if when > now]

        for _ in ready:
            if not self._stopping:
                self._start()

    def _start(self) -> None:
        self._started += 1
        name = self._name if self._options.processes == 1 and self._started == 1 else f"{self._name}-{self._started}"

        try:
            child = Child(self._options, name, self._clock)
        except OSError as error:
            logger.error("no worker process can be started: %s", error, extra={"action": "worker.not_started"})
            self._due.append(self._clock.monotonic() + LONGEST_PAUSE)
            return

        self._children.append(child)
        self._selector.register(child.wire.socket, selectors.EVENT_READ, child)

        if child.end_fd is not None:
            self._selector.register(child.end_fd, selectors.EVENT_READ, "end")

    # --- what children say

    def _hear(self, child: Child) -> None:
        messages = child.receive()

        if messages is None:
            with suppress(KeyError):
                self._selector.unregister(child.wire.socket)

            return

        for message in messages:
            self._obey(child, message)

    def _obey(self, child: Child, message: Message) -> None:
        match message:
            case Hello():
                self._welcome(child, message)
            case NewSession(session):
                child.sessions.append(session)
            case Stuck():
                self._replace(child)
            case _:
                logger.error("unexpected %s from %s", type(message).__name__, child.name)

    def _welcome(self, child: Child, hello: Hello) -> None:
        child.hello = hello
        child.sessions.append(hello.session)
        self._in_vain = 0
        self._grace = hello.grace
        self._stall_limit = hello.stall_limit
        self._files.watch(hello.files)
        self._open_broker(hello)

        # It may have overlooked an order that came before it was up.
        if self._stopping or child.draining:
            child.drain(self._grace)

    def _replace(self, child: Child) -> None:
        """Let it finish what still moves, and start another one at once."""
        if not (child.draining or self._stopping):
            child.replace = True
            child.drain(self._grace)
            self._due.append(self._clock.monotonic())

    # --- how children end

    def _bury(self, child: Child) -> None:
        code = child.process.wait()
        self._children.remove(child)
        self._forget(child)

        if self._broker is not None:
            self._caretaker.bury(child.deaths())

        if child.told_to_die or (code == Exit.INTERRUPTED and child.draining):
            self._code = Exit.INTERRUPTED if not child.replace else self._code
        elif code == Exit.EXHAUSTED or (code == Exit.OK and child.draining):
            return
        elif child.hello is None:
            self._start_failed(child, code)
            return
        else:
            logger.error("worker process %s: %s", child.name, describe_exit(code), extra={"action": "worker.died"})

        if not (self._stopping or child.replace):
            self._due.append(self._clock.monotonic() + self._pause_after(child))

    def _forget(self, child: Child) -> None:
        for end in (child.wire.socket, child.end_fd):
            with suppress(KeyError, ValueError):
                if end is not None:
                    self._selector.unregister(end)

        child.close()

    def _start_failed(self, child: Child, code: int) -> None:
        """It never said hello: where the reason is known there is no use in trying again."""
        self._in_vain += 1
        known = code in (Exit.LOAD, Exit.BROKER, Exit.CONFIG)

        if known and self._broker is None:
            self._stop(Exit(code))
        elif known and self._options.reload:
            logger.error("worker process %s did not start; waiting for a change", child.name)
            self._until_change += 1
        elif self._in_vain >= STARTS_IN_VAIN:
            logger.error("worker processes keep dying at the start; giving up (last: %s)", describe_exit(code))
            self._stop(Exit.CRASHED)
        else:
            logger.error("worker process %s did not start: %s", child.name, describe_exit(code))
            self._due.append(self._clock.monotonic() + self._pause_after(child))

    def _pause_after(self, child: Child) -> float:
        """At once the first time; longer and longer while they die young."""
        if self._clock.monotonic() - child.started_at > SETTLED_AFTER:
            self._in_vain = 0
            return 0.0

        self._in_vain += 1
        return 0.0 if self._in_vain <= 1 else min(LONGEST_PAUSE, 0.25 * 2.0**self._in_vain)

    def _look_at_children(self) -> None:
        now = self._clock.monotonic()

        for child in self._children:
            child.remind()

            if now > child.kill_at:
                logger.error("worker process %s did not end in time; killing it", child.name)
                child.kill_at = float("inf")
                child.kill()
            elif not child.draining and child.stalled(self._stall_limit):
                logger.error(
                    "the engine of worker process %s has stood still for %g seconds; killing it",
                    child.name,
                    self._stall_limit,
                    extra={"action": "worker.stalled"},
                )
                child.process.kill()

    def _look_at_files(self) -> None:
        if not self._options.reload or self._stopping:
            return

        if changed := self._files.changed():
            logger.info("%s changed; restarting", ", ".join(os.path.relpath(path) for path in changed[:3]))

            for child in self._children:
                self._replace(child)

            self._due += [self._clock.monotonic()] * self._until_change
            self._until_change = self._in_vain = 0

    # --- signals

    def _listen_to_signals(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._signal_pipe = (ours, theirs)
        signal.set_wakeup_fd(theirs.fileno())

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _noted)

        self._selector.register(ours, selectors.EVENT_READ, "signal")

    def _on_signal(self) -> None:
        """The first one drains, the second one ends everything now."""
        with suppress(BlockingIOError):
            self._signals += len([n for n in self._signal_pipe[0].recv(64) if n in (signal.SIGTERM, signal.SIGINT)])

        if self._signals >= 2:
            logger.warning("stopping now; running jobs are given back", extra={"action": "worker.stop"})

            for child in self._children:
                child.kill()
        elif self._signals == 1 and not self._stopping:
            logger.info("draining: up to %g seconds for running jobs", self._grace, extra={"action": "worker.drain"})

        if self._signals:
            self._stop(Exit.OK)

    def _stop(self, code: Exit) -> None:
        if self._stopping:
            return

        self._stopping = True
        self._code = code
        self._due.clear()

        for child in self._children:
            child.drain(self._grace)

    # --- the broker, once a worker process has told where it is

    def _open_broker(self, hello: Hello) -> None:
        if self._broker is not None:
            return

        try:
            self._broker = connect(hello.broker_url, hello.settings)
            self._broker.open()
        except ChergaError as error:
            logger.error("%s", error)
            self._broker = None
            self._stop(Exit.BROKER)
            return

        self._caretaker = Caretaker(self._broker, hello.settings, self._clock)
        self._keeper = Keeper(self._broker, hello.settings, self._clock, self)
        self._caretaker.start()
        self._keeper.start()

    def _close_broker(self) -> None:
        if self._broker is not None:
            self._keeper.stop()
            self._caretaker.stop()
            self._broker.close()

    # --- what the keeper says, on its thread

    def sessions(self) -> list[str]:
        return [session for child in list(self._children) for session in child.sessions[-1:]]

    def renewed(self, session: str, lease_until: float) -> None:
        if (child := self._child_of(session)) is not None:
            child.slots.lease_until = lease_until

    def lost(self, session: str) -> None:
        """An ended process's last heartbeat may come after its session was closed; that is no loss."""
        child = self._child_of(session)

        if child is None or child.process.poll() is not None:
            return

        logger.error("session %s was taken for dead", session, extra={"action": "session.lost"})
        child.wire.offer(Lost(session))

    def cancel(self, cancel: Cancel) -> None:
        if (child := self._child_of(cancel.session)) is not None:
            child.wire.offer(CancelJob(cancel.session, cancel.id.hex, cancel.token))

    def _child_of(self, session: str) -> Child | None:
        return next((child for child in list(self._children) if session in child.sessions), None)


def _noted(number: int, frame: object) -> None:
    """The wake-up descriptor carries the signal into the loop."""
