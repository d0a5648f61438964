"""``app.on``: what happens to jobs and workers, for whoever wants to hear of it.

A handler that raises is logged and harms nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct

from cherga.client.fitting import fits
from cherga.client.mishaps import tell
from cherga.rules.options import nearest
from cherga.words.errors import ConfigError
from cherga.words.job import JobError, JobState, Progress
from cherga.words.later import asyncio, inspect

logger = logging.getLogger("cherga.signals")


class Event(Struct, frozen=True):
    """An event; fields that do not belong to it are None."""

    name: str
    job_id: UUID | None = None
    task_name: str | None = None
    state: JobState | None = None
    attempt: int | None = None
    error: JobError | None = None
    progress: Progress | None = None
    worker: str | None = None
    details: dict[str, Any] | None = None


EventHandler = Callable[[Event], Any]
Inside = Callable[[], AbstractContextManager[object]]
H = TypeVar("H", bound=EventHandler)


class Signal:
    """A kind of event. Call it with a handler (also as a decorator) to connect it."""

    __slots__ = ("_inside", "_run", "handlers", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.handlers: list[EventHandler] = []
        self._run: Callable[[Awaitable[Any]], object] = _run_here
        self._inside: Inside = nullcontext

    def __call__(self, handler: H = None) -> H:  # type: ignore[assignment] # brackets with nothing in them have an answer
        """Connect a handler. Raises ``ConfigError`` for what cannot be told an event."""
        if handler is None:
            raise ConfigError(f"expected @app.on.{self.name} without brackets, or with a handler in them, got nothing")

        if not callable(handler):
            raise ConfigError(f"expected a handler of {self.name!r} to be a function, got {handler!r}")

        if not fits(handler, None):
            raise ConfigError(f"expected a handler of {self.name!r} to take one argument, the event; got {handler!r}")

        self.handlers.append(handler)
        return handler

    def disconnect(self, handler: EventHandler) -> None:
        """Tell this handler no more; one that is not connected is passed over."""
        if handler in self.handlers:
            self.handlers.remove(handler)

    def send(self, event: Event, inside: Inside | None = None) -> None:
        """Tell every handler; coroutines are run on the worker's loop, or here where there is no worker.

        ``inside`` gives the context manager that each handler runs in, if it is not the one of whoever asks.
        """
        inside = self._inside if inside is None else inside

        for handler in list(self.handlers):
            try:
                # What a coroutine function gives has not begun: it enters where it runs.
                with nullcontext() if inspect.iscoroutinefunction(handler) else inside():
                    made = handler(event)

                if inspect.isawaitable(made):
                    self._run(_guarded(made, self.name, inside))
            except harmless() as error:
                _tell_failed(self.name, error)

    def run_with(self, run: Callable[[Awaitable[Any]], object] | None) -> None:
        """Let coroutines of handlers run there from now on; None: where the event is sent."""
        self._run = run or _run_here

    def surround_with(self, inside: Inside) -> None:
        """Let what is told by a sender, and not by a worker, be told inside this."""
        self._inside = inside


class Signals:
    """The kinds of events. Those of jobs: enqueued (told by the sender), started, progress, retried, succeeded, failed,
    cancelled (told by the worker, once they are stored), and refused (a child that could not be stored with its parent's
    success); those of workers: worker_started, worker_draining, worker_stopped; and
    plugin_error."""

    def __init__(self) -> None:
        self.enqueued = Signal("enqueued")
        self.started = Signal("started")
        self.progress = Signal("progress")
        self.retried = Signal("retried")
        self.succeeded = Signal("succeeded")
        self.failed = Signal("failed")
        self.cancelled = Signal("cancelled")
        self.refused = Signal("refused")
        self.worker_started = Signal("worker_started")
        self.worker_draining = Signal("worker_draining")
        self.worker_stopped = Signal("worker_stopped")
        self.plugin_error = Signal("plugin_error")

    def __getattr__(self, name: str) -> Signal:
        raise AttributeError(f"there is no event {name!r}{nearest(name, vars(self))}")

    def run_with(self, run: Callable[[Awaitable[Any]], object] | None) -> None:
        """Let coroutines of handlers run there from now on; None: where the event is sent."""
        for signal in vars(self).values():
            signal.run_with(run)

    def surround_with(self, inside: Inside) -> None:
        """Let what is told by a sender, and not by a worker, be told inside this."""
        for signal in vars(self).values():
            signal.surround_with(inside)


def harmless() -> tuple[type[BaseException], ...]:
    """The errors that a handler may raise and harm nothing."""
    return Exception, SystemExit, asyncio.CancelledError


async def _guarded(made: Awaitable[Any], name: str, inside: Inside) -> None:
    try:
        with inside():
            await made
    except harmless() as error:
        _tell_failed(name, error)


def _tell_failed(name: str, error: BaseException) -> None:
    tell(logger, "a handler of %r failed", name, error=error, extra={"action": "signal.failed"})


def _run_here(made: Awaitable[Any]) -> None:
    """Without a worker: on the running loop if the caller is async, else to its end, here and now."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(_as_coroutine(made))
    else:
        task = loop.create_task(_as_coroutine(made))
        _pending.add(task)
        task.add_done_callback(_pending.discard)


_pending: set[asyncio.Task[None]] = set()


async def _as_coroutine(made: Awaitable[Any]) -> None:
    await made
