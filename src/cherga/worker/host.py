"""What a worker is to the jobs that it runs: lifetimes, components, and a loop for what has to be awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cherga.client.app import QueueTasks
from cherga.client.context import Context
from cherga.client.depends import Overrides, Scope
from cherga.client.middleware import Middleware
from cherga.client.signals import Event
from cherga.words.control import PluginError
from cherga.words.job import SessionInfo

PROCESS = Scope()
"""Dependencies that live as long as the process, whichever worker opened them."""


class WorkerHost:
    """Serves every job of one engine."""

    def __init__(self, app: QueueTasks, session: Callable[[], SessionInfo], wait_for: Callable[[Awaitable[Any]], Any]) -> None:
        self.app = app
        self.worker = Scope()
        self.process = PROCESS
        self.settle_in_thread = wait_for
        self._session = session

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        return tuple(self.app.middlewares)

    @property
    def overrides(self) -> Overrides:
        return self.app.dependency_overrides

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
        for handler in self.app.on.plugin_error.handlers:
            result = handler(Event("plugin_error", context.job_id, context.task_name, details=dict(details)))

            if result is not None:
                return result

        raise PluginError(dict(details))
