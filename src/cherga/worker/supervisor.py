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
import threading
from contextlib import suppress

from cherga.brokers import connect
from cherga.doors.broker import FullBroker
from cherga.version import __version__
from cherga.words.clock import SystemClock
from cherga.words.errors import BrokerError, ChergaError
from cherga.words.proof import Finding
from cherga.words.session import Cancel
from cherga.worker import logs
from cherga.worker.banner import banner, tell
from cherga.worker.caretaker import Caretaker
from cherga.worker.child import Child, describe_exit
from cherga.worker.inherited import handle_signals, open_standard_streams, reap_orphans, unblock_signals
from cherga.worker.keeper import Keeper
from cherga.worker.options import Exit, WorkerOptions
from cherga.worker.reload import Files
from cherga.worker.restarts import STARTS_IN_VAIN, YOUNG_DEATHS, Restarts
from cherga.worker.titles import name_supervisor
from cherga.worker.wire import CancelJob, Hello, LastWord, Lost, Message, NewSession, Stuck

logger = logging.getLogger("cherga.worker")

STOPS = (signal.SIGTERM, signal.SIGINT)
HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)
"""Comes when the terminal is closed, from the kernel and from the shell, and from systemd beside SIGTERM if told so."""

TURN = 0.5
"""Seconds between two looks at what makes no noise: changed files, stalled engines, processes to start again."""


def run(options: WorkerOptions) -> int:
    """Run worker processes until a signal, or until there is nothing left in burst mode. Returns the exit code."""
    open_standard_streams()
    unblock_signals()
    logs.set_up(options.log_level, options.log_format)
    return Supervisor(options).run()


class Supervisor:
    """The loop over the pipes and ends of its children; keeper and caretaker have threads of their own."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._name = options.name or f"{platform.node()}-{os.getpid()}"
        self._clock = SystemClock()
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._files = Files()
        self._broker: FullBroker | None = None
        self._broken_by: BrokerError | None = None
        """The reason why the broker cannot be used any more."""
        self._unopened: Hello | None = None
        """The facts that the first worker process told, until the broker is open."""
        self._grace = 25.0 if options.grace is None else options.grace
        self._stall_limit = 60.0
        self._due: list[float] = []
        """The time to start further processes, on the monotonic clock."""
        self._until_change = 0
        """Further processes to start once a file has changed."""
        self._restarts = Restarts(options.processes)
        self._pause = threading.Event()
        self._signals = 0
        self._stopping = False
        self._code = Exit.OK
        self._started = 0
        self._introduced = False
        self._told: set[Finding] = set()

    def run(self) -> int:
        self._listen_to_signals()
        self._due = [self._clock.monotonic()] * self._options.processes

        try:
            while self._children or ((self._due or self._until_change) and not self._stopping):
                self._turn_guarded()
        finally:
            for child in self._children:
                child.kill()

            self._close_broker()

            if self._introduced:
                logger.info("ended", extra={"action": "worker.end"})

        return self._code

    # --- one turn

    def _turn_guarded(self) -> None:
        """Errors about one worker process are no end of the others."""
        try:
            self._turn()
        except Exception:
            logger.exception("the supervisor failed; going on", extra={"action": "supervisor.failed"})
            self._pause.wait(TURN)

    def _turn(self) -> None:
        self._start_due()

        if self._unopened is not None:
            self._open_broker(self._unopened)

        if self._broken_by is not None:
            self._end_for_good(self._broken_by)

        for key, _ in self._selector.select(self._patience()):
            if isinstance(key.data, Child):
                self._hear(key.data)
            elif key.data == "signal":
                self._on_signal()

        for child in [child for child in self._children if child.process.poll() is not None]:
            self._bury(child)

        reap_orphans({child.process.pid for child in self._children})
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
            self._try_again(YOUNG_DEATHS, str(error))
            return

        self._children.append(child)
        self._selector.register(child.wire.socket, selectors.EVENT_READ, child)

        if child.end_fd is not None:
            self._selector.register(child.end_fd, selectors.EVENT_READ, "end")

    # --- what children say

    def _hear(self, child: Child) -> None:
        messages = child.receive()

        for message in messages or ():
            self._obey(child, message)

        if messages is None or child.wire.garbled:
            with suppress(KeyError, ValueError):
                self._selector.unregister(child.wire.socket)

        if messages is None:
            child.cut_off()

        if child.wire.garbled:
            self._stop_listening_to(child)

    def _stop_listening_to(self, child: Child) -> None:
        """Something in the process, or user code in it, wrote into the pipe."""
        logger.error(
            "worker process %s: expected messages in its pipe, got something else; it is replaced",
            child.name,
            extra={"action": "worker.garbled"},
        )

        if child.hello is None:
            child.process.kill()
        else:
            self._replace(child)

    def _obey(self, child: Child, message: Message) -> None:
        match message:
            case Hello():
                self._welcome(child, message)
            case NewSession(session):
                child.sessions.append(session)
            case Stuck():
                self._replace(child)
            case LastWord(settlement):
                child.last_words.append(settlement)
            case _:
                logger.error("unexpected %s from %s", type(message).__name__, child.name)

    def _welcome(self, child: Child, hello: Hello) -> None:
        child.welcome(hello)
        self._grace = hello.grace
        self._stall_limit = hello.stall_limit
        self._files.watch(hello.files)
        self._say_what_runs(hello)
        self._say_what_is_wrong(hello)
        self._open_broker(hello)

        # It may have overlooked an order that came before it was up.
        if self._stopping or child.draining:
            child.drain(self._grace)

    def _say_what_runs(self, hello: Hello) -> None:
        """Once: what has changed since then is in the lines of the processes."""
        if not self._introduced:
            self._introduced = True
            name_supervisor(hello.application)
            logger.info("cherga %s runs %s", __version__, hello.application, extra=banner(self._options, hello))

    def _say_what_is_wrong(self, hello: Hello) -> None:
        """Once, though each process has looked."""
        tell(finding for finding in hello.findings if finding not in self._told)
        self._told |= set(hello.findings)

    def _replace(self, child: Child) -> None:
        """Let it finish what still moves, and start another one at once."""
        if not (child.draining or self._stopping):
            child.replace = True
            child.drain(self._grace)
            self._start_after(0.0)

    def _start_after(self, pause: float) -> None:
        self._due.append(self._clock.monotonic() + pause)

    # --- how children end

    def _bury(self, child: Child) -> None:
        code = child.process.wait()

        for message in child.wire.rest():
            self._obey(child, message)

        self._children.remove(child)
        self._forget(child)

        if self._broker is not None:
            self._caretaker.bury(child.deaths(), child.last_words)

        if child.told_to_die or (code == Exit.INTERRUPTED and child.draining):
            self._note_interruption(child)
        elif code == Exit.BROKER and child.hello is not None:
            self._end_for_good(f"worker process {child.name} cannot use the broker any more")
        elif _is_done(child, code) or (child.hello is None and self._explains_itself(child, code)):
            return
        else:
            logger.error("worker process %s: %s", child.name, describe_exit(code), extra={"action": "worker.died"})

            if child.draining:
                self._note_interruption(child)

        if not (self._stopping or child.replace):
            self._start_another(child, code)

    def _end_for_good(self, why: object) -> None:
        """The broker needs a person: new processes would be of no use, or make another file where the old one was."""
        if self._code is not Exit.BROKER:
            logger.error("%s; the worker ends", why, extra={"action": "broker.broken"})

        self._stop(Exit.BROKER)
        self._code = Exit.BROKER

    def _note_interruption(self, child: Child) -> None:
        if self._code is Exit.OK and not child.replace:
            self._code = Exit.INTERRUPTED

    def _forget(self, child: Child) -> None:
        for end in (child.wire.socket, child.end_fd):
            with suppress(KeyError, ValueError):
                if end is not None:
                    self._selector.unregister(end)

        child.close()

    def _explains_itself(self, child: Child, code: int) -> bool:
        """True when it ended before it was up and says why. Where the reason is known there is no use in trying again."""
        if code not in (Exit.LOAD, Exit.BROKER, Exit.CONFIG, Exit.UNPROVEN):
            return False

        if self._broker is None:
            self._stop(Exit(code))
            return True

        if self._options.reload:
            logger.error("worker process %s did not start; waiting for a change", child.name)
            self._until_change += 1

        return self._options.reload

    def _start_another(self, dead: Child, code: int) -> None:
        """At once in place of one that had settled."""
        if dead.settled:
            self._start_after(0.0)
        else:
            self._try_again(YOUNG_DEATHS if dead.hello else STARTS_IN_VAIN, describe_exit(code))

    def _try_again(self, most: int, last: str) -> None:
        """After a pause; no more where none of so many has settled, and no other one works."""
        pause = self._restarts.pause()

        if self._restarts.are_hopeless(most) and not any(child.settled for child in self._children):
            logger.error("worker processes keep dying at the start; giving up (last: %s)", last, extra={"action": "worker.end"})
            self._stop(Exit.CRASHED)
        else:
            self._start_after(pause)

    def _look_at_children(self) -> None:
        now = self._clock.monotonic()

        for child in self._children:
            child.remind()

            if child.has_just_settled():  # those that die young beside it are counted anew from here
                self._restarts.forget()

            if now > child.kill_at:
                logger.error("worker process %s did not end in time; killing it", child.name)
                child.kill_at = float("inf")
                child.kill()
            elif not child.draining and (still := child.stalled(self._stall_limit)) is not None:
                logger.error(
                    "the %s of worker process %s has stood still for %g seconds; killing it",
                    still.name.lower(),
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
            self._until_change = 0
            self._restarts.forget()

    # --- signals

    def _listen_to_signals(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._signal_pipe = (ours, theirs)
        signal.set_wakeup_fd(theirs.fileno())
        handle_signals(_noted, *STOPS)

        if signal.getsignal(HANGUP) is not signal.SIG_IGN:  # as under nohup
            handle_signals(_noted, HANGUP)

        self._selector.register(ours, selectors.EVENT_READ, "signal")

    def _on_signal(self) -> None:
        """The first one drains, the second one ends everything now; a hang-up drains, however often it comes."""
        heard = b""

        with suppress(BlockingIOError):
            heard = self._signal_pipe[0].recv(64)

        self._signals += len([number for number in heard if number in STOPS])

        if self._signals >= 2:
            logger.warning("stopping now; running jobs are given back", extra={"action": "worker.stop"})

            for child in self._children:
                child.kill()
        elif (self._signals or HANGUP in heard) and not self._stopping:
            logger.info("draining: up to %g seconds for running jobs", self._grace, extra={"action": "worker.drain"})

        if self._signals or HANGUP in heard:
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
        if self._broker is not None or self._code is Exit.BROKER:
            return

        try:
            broker = connect(hello.broker_url, hello.settings)
            broker.open(create=False)  # the worker process has it open
        except (ChergaError, OSError) as error:
            logger.error("%s", error)
            self._stop(Exit.BROKER)
            return

        self._unopened = None if self._look_after(broker, hello) else hello

    def _look_after(self, broker: FullBroker, hello: Hello) -> bool:
        """False where there is no room for the threads of keeper and caretaker; it is tried again at the next turn."""
        self._caretaker = Caretaker(broker, hello.settings, self._clock)
        self._keeper = Keeper(broker, hello.settings, self._clock, self)

        try:
            self._keeper.start()
            self._caretaker.start()
        except RuntimeError as error:
            logger.error("leases are not renewed: %s", error, extra={"action": "worker.no_thread"})
            self._close(broker)
            return False

        self._broker = broker
        return True

    def _close(self, broker: FullBroker) -> None:
        self._keeper.stop()
        self._caretaker.stop()
        broker.close()

    def _close_broker(self) -> None:
        if self._broker is not None:
            self._close(self._broker)

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

    def broken(self, error: BrokerError) -> None:
        self._broken_by = error
        self._signal_pipe[1].send(b"\0")

    def _child_of(self, session: str) -> Child | None:
        return next((child for child in list(self._children) if session in child.sessions), None)


def _is_done(child: Child, code: int) -> bool:
    """True when it has ended as it was told to, or because there was nothing left."""
    return code == Exit.EXHAUSTED or (code == Exit.OK and child.draining)


def _noted(number: int, frame: object) -> None:
    """The wake-up descriptor carries the signal into the loop."""
