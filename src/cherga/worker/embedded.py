"""Embedded mode: the engine in threads of the calling process.

For development servers, tests and small deployments. It has neither hog-proof leases (a task that keeps the interpreter
busy can hold up the heartbeat) nor recycling (a thread that does not end is lost until the process ends).
"""

from __future__ import annotations

import logging
import os
import platform
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NoReturn, Self

from cherga.client import foreign, loading
from cherga.client.app import QueueTasks
from cherga.rules import options as check
from cherga.words.clock import SystemClock
from cherga.words.errors import BrokerError, ConfigError
from cherga.words.proof import Plan
from cherga.words.session import Begun, Cancel, Death
from cherga.worker.banner import tell
from cherga.worker.caretaker import Caretaker
from cherga.worker.child import Stillness
from cherga.worker.engine import Engine, EngineOptions
from cherga.worker.keeper import Keeper
from cherga.worker.options import DEFAULT_CONCURRENCY, DEFAULT_THREADS
from cherga.worker.proving import prove_in_time
from cherga.worker.slots import SlotTable

logger = logging.getLogger("cherga.worker")


class EmbeddedWorker(foreign.Explaining):
    """Runs the application's jobs for as long as the ``with`` block lasts; leaving it drains."""

    _foreign = foreign.WORKER

    def __init__(
        self,
        app: QueueTasks,
        *,
        threads: int = DEFAULT_THREADS,
        concurrency: int = DEFAULT_CONCURRENCY,
        queues: tuple[str, ...] | list[str] = (),
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise _unknown_option(next(iter(unknown)))

        self.app = app
        self.stillness = Stillness(SystemClock())
        self.options = EngineOptions(
            name=name or f"{platform.node()}-embedded",
            threads=check.at_least_one(threads, "threads"),
            concurrency=check.at_least_one(concurrency, "concurrency"),
            queues=check.texts(queues, "queues"),
        )

    def __enter__(self) -> Self:
        loading.refuse("starts a worker with app.worker()")
        self._pid = os.getpid()

        with ExitStack() as ends:
            self._begin(ends)
            self._ends = ends.pop_all()

        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if os.getpid() != self._pid:  # a forked child leaves the block: the jobs are its parent's
            return

        # An error in the block does not wait for jobs: they are given back.
        self._grace = self.app.settings.grace if kind is None else 0.0
        self._ends.close()

    async def __aenter__(self) -> NoReturn:
        raise TypeError("expected with app.worker():, in async def code too, got async with")

    async def __aexit__(self, *error: object) -> None: ...

    def _begin(self, ends: ExitStack) -> None:
        """Make and start the parts, and note how each ends: what was begun ends also when the next one cannot be."""
        app = self.app
        ends.enter_context(app.hold_open())
        self._grace = 0.0
        self._caretaker = self.make_caretaker()
        ends.callback(self._caretaker.stop)
        self._keeper = Keeper(app.broker, app.settings.broker, app.clock, self)
        ends.callback(self._keeper.stop)
        self.engine = self.make_engine()
        self.prove()
        ends.callback(self._end_engine)
        self.engine.register()
        self.engine.start()
        self._caretaker.start()
        self._keeper.start()

    def _end_engine(self) -> None:
        try:
            if not self.engine.drain(self._grace):
                self.engine.interrupt()
        finally:
            self.engine.stop()
            self._caretaker.bury([self._death()])

    def make_engine(self) -> Engine:
        """The engine of one block."""
        return Engine(self.app, self.options, SlotTable.private(Engine.slot_count(self.options)))

    def prove(self) -> None:
        """Say what speaks against the start."""
        findings = prove_in_time(self.app, Plan(threads=self.options.threads, concurrency=self.options.concurrency))
        tell(findings)
        self.engine.note_told(findings)

    def make_caretaker(self) -> Caretaker:
        """The caretaker of one block."""
        return Caretaker(self.app.broker, self.app.settings.broker, self.app.clock)

    def _death(self) -> Death:
        """An end that could not be written, of a job that runs on in a thread, has begun all the same."""
        begun = self.engine.slots.begun() or Begun()
        return Death(self.engine.session.id, begun.tokens, orderly=True, once=begun.once)

    # --- what the keeper says

    def sessions(self) -> list[str]:
        """None while a thread of the engine stands still: it could not write what becomes of its jobs, so others get them."""
        still = self.stillness.found(self.engine.slots.ticks, self.app.settings.stall_limit)

        if still is None:
            return [self.engine.session.id]

        logger.error("the %s stands still; the lease is not renewed", still.name.lower(), extra={"action": "worker.stalled"})
        return []

    def renewed(self, session: str, lease_until: float) -> None:
        self.engine.slots.lease_until = lease_until

    def lost(self, session: str) -> None:
        logger.error("session %s was taken for dead", session, extra={"action": "session.lost"})
        self.engine.renew()

    def cancel(self, cancel: Cancel) -> None:
        self.engine.cancel(cancel)

    def broken(self, error: BrokerError) -> None:
        logger.error("%s; the worker does nothing until then", error, extra={"action": "broker.broken"})


def _unknown_option(word: str) -> ConfigError:
    known = ("queues", "threads", "concurrency", "name")
    hint = "; several processes are those of cherga worker --processes N" if word == "processes" else check.nearest(word, known)
    return ConfigError(f"app.worker() has no option {word!r}{hint}")
