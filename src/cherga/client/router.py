"""Routers: sets of tasks that are declared apart from an application and join one, or several, later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from cherga.client.declare import Declaration, Declaring
from cherga.client.handle import Job
from cherga.client.task import Sender, Task
from cherga.rules.options import name as check_name
from cherga.rules.settings import Settings
from cherga.words.errors import ConfigError
from cherga.words.job import NewJob

Accept = Callable[[Declaration], Task[Any, Any]]


class Router(Declaring):
    """Declares tasks for an application to include.

    ``prefix`` stands, with a dot, before the names of its tasks; the other keywords are default options of its tasks.
    Tasks may be added before and after the router is included; each application gets its own.
    """

    def __init__(self, prefix: str = "", **defaults: Any) -> None:
        self.prefix = check_name(prefix, "a router's prefix") if prefix else ""
        self._defaults = defaults
        self._declarations: list[Declaration] = []
        self._accepting: list[Accept] = []
        self._sender = LateSender("a router's task", "app.include_router(router)")

    def include_router(self, router: Router) -> None:
        """Take in another router's tasks, under this one's prefix and default options."""
        router.join(self._declare_again, None)

    def join(self, accept: Accept, sender: Sender | None) -> None:
        """Hand over every declaration, those to come too; called by what includes this router."""
        self._accepting.append(accept)

        if sender is not None:
            self._sender.found = sender

        for declaration in self._declarations:
            accept(declaration)

    def _declared(self, declaration: Declaration) -> Task[Any, Any]:
        named = replace(
            declaration,
            name=f"{self.prefix}.{declaration.name}" if self.prefix else declaration.name,
            options={**self._defaults, **declaration.options},
        )
        task = named.build(self._sender, Settings())
        self._declarations.append(named)

        for accept in self._accepting:
            accept(named)

        return task

    def _declare_again(self, declaration: Declaration) -> Task[Any, Any]:
        return self._declared(declaration)


AsyncRouter = Router
SyncRouter = Router


class LateSender:
    """Sends through the application that a task joined, once it has."""

    max_payload = Settings().max_payload

    def __init__(self, what: str, how: str) -> None:
        self.found: Sender | None = None
        self._what = what
        self._how = how

    def send(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        return self._application().send(jobs)

    async def asend(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        return await self._application().asend(jobs)

    def _application(self) -> Sender:
        if self.found is None:
            raise ConfigError(f"expected {self._what} to belong to an application before it is enqueued; use {self._how}")

        return self.found
