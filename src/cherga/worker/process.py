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
from contextlib import suppress
from typing import assert_never
from uuid import UUID

from cherga.client.app import QueueTasks
from cherga.words.errors import BrokerError, ChergaError, ConfigError, LoadError
from cherga.words.session import Cancel
from cherga.worker import logs
from cherga.worker.engine import Engine, EngineOptions
from cherga.worker.host import close_process
from cherga.worker.inherited import handle_signals, reset_signals
from cherga.worker.load import load_app
from cherga.worker.logs import count_of
from cherga.worker.options import Exit
from cherga.worker.slots import SlotTable
from cherga.worker.wire import CancelJob, Drain, Hello, Lost, Message, NewSession, Start, Stuck, Wire

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
        self._ending = threading.Lock()
        self._stopped = threading.Event()
        self._finished = False
        """There is nothing left, in burst mode."""

    def run(self) -> int:
        """The exit code."""
        app = self._load()
        self._grace = app.settings.grace if self._options.grace is None else self._options.grace
        self._engine = Engine(app, self._engine_options(), self._slots, self._on_stuck)
        self._engine.register()
        self._wire.send(
            Hello(
                broker_url=app.broker_url,
                settings=app.settings.broker,
                session=self._engine.session.id,
                grace=self._grace,
                stall_limit=app.settings.stall_limit,
                files=loaded_files() if self._options.reload else (),
            )
        )

        if self._options.burst:  # before the engine, which takes what room there is for threads
            threading.Thread(target=self._watch_for_the_end, name="cherga-burst", daemon=True).start()

        self._engine.start()
        self._say_ready(len(app.tasks))
        return self._listen()

    def _say_ready(self, tasks: int) -> None:
        queues = ", ".join(self._options.queues) or "all queues"
        logger.info("%s: ready for %s of %s", self._name, count_of(tasks, "task"), queues, extra={"action": "worker.ready"})

    def _load(self) -> QueueTasks:
        app = load_app(self._options.app)
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

    def _listen(self) -> int:
        """Until the end is ordered, or nobody is there to order it."""
        while (messages := self._wire.receive()) is not None:
            for message in messages:
                if (code := self._obey(message)) is not None:
                    return code

        if self._finished:
            return self._end(self._grace, Exit.EXHAUSTED)

        logger.warning("the supervisor is gone; draining", extra={"action": "worker.orphaned"})
        return self._end(5.0, Exit.INTERRUPTED)

    def _obey(self, message: Message) -> int | None:
        match message:
            case Drain(grace):
                return self._end(grace, Exit.OK)
            case CancelJob(session, id, token):
                self._engine.cancel(Cancel(session, UUID(id), token))
            case Lost(session):
                self._renew(session)
            case Start() | Hello() | NewSession() | Stuck():
                logger.error("unexpected %s from the supervisor", type(message).__name__)
            case _:
                assert_never(message)

        return None

    def _renew(self, lost: str) -> None:
        if lost != self._engine.session.id:
            return

        try:
            self._engine.renew()
        except BrokerError as error:
            logger.warning("no new session yet: %s", error, extra={"action": "session.retry"})

        self._wire.send(NewSession(self._engine.session.id))

    def _end(self, grace: float, code: Exit) -> int:
        """Drain and stop; what still runs is left to the supervisor, which knows when this process is really gone."""
        with self._ending:
            if self._stopped.is_set():
                return code

            self._stopped.set()
            finished = self._engine.drain(grace)
            self._engine.stop()
            close_process()
            return code if finished else Exit.INTERRUPTED

    def _on_stuck(self) -> None:
        self._wire.send(Stuck())

    def _watch_for_the_end(self) -> None:
        while not self._stopped.wait(BURST_LOOK):
            try:
                if self._engine.exhausted():
                    # The main thread ends the process. What came in this moment gets its time to finish.
                    self._finished = True
                    self._wire.socket.shutdown(socket.SHUT_RD)
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


def main(argv: list[str]) -> int:
    """Run one worker process; the exit codes are ``Exit``."""
    # A handler that does nothing, rather than SIG_IGN, which the programs that tasks start would inherit.
    handle_signals(_leave_to_supervisor, signal.SIGINT, signal.SIGTERM)
    reset_signals()
    sys.setswitchinterval(SWITCH_INTERVAL)
    wire = Wire(socket.socket(fileno=int(argv[1])))
    messages = wire.receive()

    if messages is None or not isinstance(start := messages[0], Start):
        return Exit.CRASHED

    try:
        return WorkerProcess(wire, start, SlotTable.shared(int(argv[2]), start.slots)).run()
    except LoadError as error:
        return _fail(error, Exit.LOAD)
    except ConfigError as error:
        return _fail(error, Exit.CONFIG)
    except BrokerError as error:
        return _fail(error, Exit.BROKER)
    except Exception:
        logger.exception("the worker process failed", extra={"action": "worker.failed"})
        return Exit.CRASHED


def _leave_to_supervisor(number: int, frame: object) -> None:
    """The supervisor says when to stop."""


def _fail(error: ChergaError, code: Exit) -> int:
    """One clear line; the whole story on request."""
    sys.stderr.write(f"cherga: {error}\n")
    logger.debug("the worker process cannot start", exc_info=error)
    return code


if __name__ == "__main__":
    code = main(sys.argv)

    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()

    # Threads that do not end, and user code at exit, must not hold the process.
    os._exit(code)
