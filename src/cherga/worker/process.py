"""A worker process: loads the application and runs the engine until its supervisor says drain, or is gone.

Started as ``python -m cherga.worker.process SOCKET_FD SLOTS_FD``; everything else comes through the socket.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, assert_never
from uuid import UUID

from cherga.client.app import QueueTasks
from cherga.client.lifespan import LifespanFailed
from cherga.client.role import Role, take_role
from cherga.words.errors import BrokerError, ConfigError, LoadError
from cherga.words.proof import Finding, Plan
from cherga.words.session import Cancel
from cherga.worker import logs
from cherga.worker.banner import MOST_TOLD, problems
from cherga.worker.engine import Engine, EngineOptions
from cherga.worker.host import close_process
from cherga.worker.inherited import handle_signals, reset_signals
from cherga.worker.load import load_app
from cherga.worker.logs import count_of
from cherga.worker.options import CLOSING, LAST_WRITE, ORPHANS_GRACE, Exit
from cherga.worker.proving import Unproven, prove_in_time
from cherga.worker.slots import SlotTable
from cherga.worker.titles import WorkerTitle
from cherga.worker.turns import start_thread
from cherga.worker.wire import CancelJob, Drain, Hello, LastWord, Lost, Message, NewSession, Start, Stuck, Wire

logger = logging.getLogger("cherga.worker")

SWITCH_INTERVAL = 0.0005
"""Seconds. The engine's threads ask for the interpreter often and briefly; the default of 5 ms would make each wait that long
behind a task that computes."""
BURST_LOOK = 0.05


class WorkerProcess:
    """The engine with its ear at the supervisor's pipe."""

    def __init__(self, wire: Wire, start: Start, slots: SlotTable) -> None:
        self._wire = wire
        self._options = start.options
        self._name = start.name
        self._slots = slots
        self._stopped = threading.Event()
        self._closed = threading.Event()
        self._leaving = threading.Lock()
        self._code = Exit.OK
        self._finished = False
        """There is nothing left, in burst mode."""
        self._broken = False
        """The broker cannot be used any more."""

    def run(self) -> NoReturn:
        """Work until the end, and leave the process with its exit code."""
        app = self._load()
        self._open = app.hold_open()
        self._open.__enter__()  # until the end of the process
        self._grace = app.settings.grace if self._options.grace is None else self._options.grace
        self._engine = Engine(app, self._engine_options(), self._slots, self._on_stuck, self._on_broken)
        self._title = WorkerTitle(app.name, self._name, self._engine.executor.running.__len__)
        self._engine.begin_life()
        findings = self._prove(app)
        self._engine.note_told(findings)
        self._engine.register()
        self._wire.send(
            Hello(
                application=app.name,
                tasks=len(app.tasks),
                broker_url=app.broker.url,
                settings=app.settings.broker,
                session=self._engine.session.id,
                grace=self._grace,
                stall_limit=app.settings.stall_limit,
                files=loaded_files() if self._options.reload else (),
                task_names=tuple(sorted(app.tasks)[:MOST_TOLD]),
                findings=findings,
            )
        )

        if self._options.burst:  # before the engine, which takes what room there is for threads
            threading.Thread(target=self._watch_for_the_end, name="cherga-burst", daemon=True).start()

        self._start()
        self._title.start()
        self._say_ready(len(app.tasks))
        self._listen()

    def _prove(self, app: QueueTasks) -> tuple[Finding, ...]:
        """The findings that can be shown before the first claim. Raises ``Unproven`` where that is not enough."""
        options = self._options
        findings = prove_in_time(app, Plan(threads=options.threads, concurrency=options.concurrency, target=options.app))

        if options.strict and (wrong := problems(findings)):
            self._guarded(self._engine.end_life)
            raise Unproven("\n".join(f"cherga: {finding.text}" for finding in wrong))

        return findings

    def _start(self) -> None:
        """Start the engine; give back what was claimed if there is no room for all its threads."""
        try:
            self._engine.start()
        except RuntimeError:
            logger.exception("the worker process cannot work", extra={"action": "worker.failed"})
            self._end(0.0, Exit.CRASHED)

    def _say_ready(self, tasks: int) -> None:
        queues = ", ".join(self._options.queues) or "all queues"
        known = count_of(tasks, "task")
        logger.info("%s: ready for %s of %s; waiting for tasks", self._name, known, queues, extra={"action": "worker.ready"})

    def _load(self) -> QueueTasks:
        take_role(Role.WORKER)
        app = load_app(self._options.app)
        leave_signals_to_supervisor()  # an application that handles them itself would end its jobs with the first one
        logs.set_up(self._options.log_level, self._options.log_format)

        if self._options.url:
            app.configure(app.name, self._options.url, **app.given_settings)

        if app.broker_url.startswith("memory:"):
            raise ConfigError("expected a broker that several processes can reach; memory:// works in embedded mode alone")

        app.broker  # noqa: B018 (opened here, so that a broker which cannot be used is said at the start)
        return app

    def _engine_options(self) -> EngineOptions:
        options = self._options
        return EngineOptions(
            name=self._name,
            threads=options.threads,
            concurrency=options.concurrency,
            queues=options.queues,
            weights=options.weights,
        )

    def _listen(self) -> NoReturn:
        """Until the end is ordered, or nobody is there to order it."""
        while (messages := self._wire.receive()) is not None:
            for message in messages:
                self._obey(message)

        if self._finished:
            self._end(self._grace, Exit.EXHAUSTED)

        if self._broken:
            self._end(self._grace, Exit.BROKER)

        logger.warning("the supervisor is gone; draining", extra={"action": "worker.orphaned"})
        self._end(ORPHANS_GRACE, Exit.INTERRUPTED)

    def _obey(self, message: Message) -> None:
        match message:
            case Drain(grace):
                self._end(grace, Exit.OK)
            case CancelJob(session, id, token):
                self._guarded(self._engine.cancel, Cancel(session, UUID(id), token))
            case Lost(session):
                self._guarded(self._renew, session)
            case Start() | Hello() | NewSession() | Stuck() | LastWord():
                logger.error("unexpected %s from the supervisor", type(message).__name__)
            case _:
                assert_never(message)

    def _guarded(self, act: Callable[..., object], *args: object) -> None:
        """Errors in one step, ``sys.exit`` in user code too, are not the end of the process."""
        try:
            act(*args)
        except BaseException:
            logger.exception("a worker process could not do all that it should", extra={"action": "worker.step"})

    def _renew(self, lost: str) -> None:
        if lost != self._engine.session.id:
            return

        try:
            self._engine.renew()
        except BrokerError as error:
            logger.warning("no new session yet: %s", error, extra={"action": "session.retry"})

        self._wire.send(NewSession(self._engine.session.id))

    def _end(self, grace: float, code: Exit) -> NoReturn:
        """Drain, close, and leave; what still runs is left to the supervisor, which knows when this process is really gone."""
        self._stopped.set()
        self._title.end()
        finished = self._engine.drain(grace)
        self._code = code if finished or code is Exit.BROKER else Exit.INTERRUPTED
        start_thread(self._leave_in_time, "cherga-closing")

        for step in (self._engine.close, close_process, flush_streams):
            self._guarded(step)

        self._leave()

    def _leave_in_time(self) -> None:
        """However long the closing takes: nobody but this process can settle attempts whose threads do not end."""
        if not self._closed.wait(CLOSING):
            logger.error("the closing takes longer than %g seconds; leaving", CLOSING, extra={"action": "worker.close"})
            self._leave()

    def _leave(self) -> NoReturn:
        """Hand over what may be written only when nothing runs here any more; whoever is left alone writes it himself."""
        self._closed.set()
        self._leaving.acquire()  # for good: whoever comes second waits for the end

        try:
            words = self._engine.last_words(LAST_WRITE)
            alone = [word for word in words if not self._wire.send(LastWord(word))]

            if alone:
                self._engine.app.broker.settle(alone)

            self._engine.end_log(LAST_WRITE)
        finally:
            os._exit(self._code)

    def _on_stuck(self) -> None:
        self._wire.send(Stuck())

    def _on_broken(self, error: BrokerError) -> None:
        logger.error("%s; ending", error, extra={"action": "broker.broken"})
        self._broken = True
        self._stop_listening()

    def _stop_listening(self) -> None:
        """The main thread ends the process. What came in this moment gets its time to finish."""
        with suppress(OSError):  # it is closed already
            self._wire.socket.shutdown(socket.SHUT_RD)

    def _watch_for_the_end(self) -> None:
        while not self._stopped.wait(BURST_LOOK):
            try:
                if self._engine.exhausted():
                    self._finished = True
                    self._stop_listening()
                    return
            except BrokerError as error:
                logger.warning("burst: %s", error)
            except Exception:
                logger.exception("burst: it cannot be seen whether anything is left", extra={"action": "burst.retry"})


def loaded_files() -> tuple[str, ...]:
    """Source files of the imported modules, the standard library and installed packages left out."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return tuple(
        sorted(f for f in files if f and f.endswith(".py") and "site-packages" not in f and not f.startswith(sys.base_prefix))
    )


def flush_streams() -> None:
    """Let out what was printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def main(argv: list[str]) -> int:
    """Run one worker process; the exit codes are ``Exit``."""
    leave_signals_to_supervisor()
    reset_signals()
    sys.setswitchinterval(SWITCH_INTERVAL)
    wire, slots = Wire(socket.socket(fileno=int(argv[1]))), int(argv[2])

    for inherited in (wire.socket.fileno(), slots):
        os.set_inheritable(inherited, False)  # nothing that a job starts is to hold them

    messages = wire.receive()

    if messages is None or not isinstance(start := messages[0], Start):
        return Exit.CRASHED

    try:
        WorkerProcess(wire, start, SlotTable.shared(slots, start.slots)).run()
    except LoadError as error:
        return _fail(error, Exit.LOAD)
    except ConfigError as error:
        return _fail(error, Exit.CONFIG)
    except BrokerError as error:
        return _fail(error, Exit.BROKER)
    except LifespanFailed as error:  # it may pass: the supervisor tries again
        return _fail(error, Exit.CRASHED)
    except Unproven as error:
        sys.stderr.write(f"{error}\n")
        return Exit.UNPROVEN
    except BaseException:
        logger.exception("the worker process failed", extra={"action": "worker.failed"})
        return Exit.CRASHED


def leave_signals_to_supervisor() -> None:
    """Handle them by doing nothing, rather than by SIG_IGN, which the programs that tasks start would inherit."""
    handle_signals(_leave_to_supervisor, *LEFT_TO_SUPERVISOR)


LEFT_TO_SUPERVISOR = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _leave_to_supervisor(number: int, frame: object) -> None:
    """The supervisor says when to stop."""


def _fail(error: Exception, code: Exit) -> int:
    """Say one clear line; the whole story on request."""
    sys.stderr.write(f"cherga: {error}\n")
    logger.debug("the worker process cannot start", exc_info=error)
    return code


if __name__ == "__main__":
    code = main(sys.argv)
    flush_streams()
    # Threads that do not end, and user code at exit, must not hold the process.
    os._exit(code)
