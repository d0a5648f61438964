"""The host of jobs, which a worker is to them: lifetimes, components, and a loop for what has to be awaited."""

from __future__ import annotations

import atexit
import contextvars
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol, cast

from cherga.client.app import QueueTasks
from cherga.client.applications import set_source
from cherga.client.context import Context, current
from cherga.client.depends import Overrides
from cherga.client.middleware import Middleware
from cherga.client.mishaps import tell
from cherga.client.pipeline import drive
from cherga.client.scopes import Inside, SharedScope
from cherga.client.signals import Event, harmless
from cherga.client.waiting import Stopped
from cherga.words.control import PluginError
from cherga.words.errors import NoCurrentJob, WouldDeadlock
from cherga.words.later import asyncio
from cherga.words.session import SessionInfo

logger = logging.getLogger("cherga.worker")

PROCESS = SharedScope()
"""Dependencies that live as long as the process, whichever worker opened them."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.forget)


@atexit.register
def close_process() -> None:
    """Close what lives as long as the process. Those that belong to a worker's loop were closed with it."""
    drive(PROCESS.close())


class Loop(Protocol):
    """The loop of the worker's async jobs, as seen from other threads."""

    def wait_for(self, made: Awaitable[Any], /) -> Any: ...
    def is_here(self) -> bool: ...


class WorkerHost:
    """Serves every job of one engine."""

    def __init__(self, app: QueueTasks, session: Callable[[], SessionInfo], loop: Callable[[], Loop]) -> None:
        self.app = app
        origin = contextvars.copy_context()
        origin.run(set_source, app)
        self.worker = SharedScope(origin.copy)
        self.process = PROCESS
        self._session = session
        self._loop = loop

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        return tuple(self.app.middlewares)

    @property
    def overrides(self) -> Overrides:
        return self.app.dependency_overrides

    @property
    def inside(self) -> Inside:
        return self.app.surroundings

    def settle_in_thread(self, made: Awaitable[Any], to_the_end: bool = False) -> Any:
        """Let the loop await something while this thread waits, until the job that runs here is asked to stop.

        ``to_the_end``: even then. Raises ``Stopped``, or ``WouldDeadlock`` on the loop's own thread.
        """
        if self._loop().is_here():
            _drop(made)
            raise WouldDeadlock("expected an async def task to await what waits, for it would wait for its own loop")

        return self._loop().wait_for(made if to_the_end else _until_asked_to_stop(made))

    def component(self, name: str) -> Any:
        """A part of the worker by name, None for a name that is not known."""
        match name:
            case "broker" | "storage":
                return self.app.broker
            case "worker":
                return self._session()
            case "config":
                return self.app.settings
            case "app":
                return self.app
            case _:
                return None

    def plugin_error(self, context: Context, details: Mapping[str, Any]) -> Any:
        """Ask the handlers; the first result that is not None counts."""
        for answer in self._answers(context, details):
            try:
                result = self.settle_in_thread(answer) if inspect.isawaitable(answer) else answer
            except WouldDeadlock:
                raise
            except harmless() as error:
                _log_failed(error)
                continue

            if result is not None:
                return result

        raise PluginError(dict(details))

    async def aplugin_error(self, context: Context, details: Mapping[str, Any]) -> Any:
        """The same in an async job."""
        for answer in self._answers(context, details):
            try:
                result = await answer if inspect.isawaitable(answer) else answer
            except Exception as error:
                _log_failed(error)
                continue

            if result is not None:
                return result

        raise PluginError(dict(details))

    def _answers(self, context: Context, details: Mapping[str, Any]) -> Iterator[Any]:
        """The answers of the handlers, one after the other; one that raises harms nothing."""
        event = Event("plugin_error", context.job_id, context.task_name, attempt=context.attempt, details=dict(details))

        for handler in list(self.app.on.plugin_error.handlers):
            try:
                yield handler(event)
            except harmless() as error:
                _log_failed(error)


async def _until_asked_to_stop(made: Awaitable[Any]) -> Any:
    try:
        context = current()
    except NoCurrentJob:
        return await made

    loop, waiting = asyncio.get_running_loop(), asyncio.current_task()

    with context.waking(lambda: loop.call_soon_threadsafe(cast(Any, waiting).cancel)):
        try:
            if context.cancelled:
                _drop(made)
                raise Stopped

            return await made
        except asyncio.CancelledError:
            if context.cancelled:
                raise Stopped from None

            raise


def _drop(made: Awaitable[Any]) -> None:
    """A coroutine that is not awaited after all is closed, which spares a warning."""
    if inspect.iscoroutine(made):
        made.close()


def _log_failed(error: BaseException) -> None:
    tell(logger, "a handler of 'plugin_error' failed", error=error, extra={"action": "signal.failed"})
