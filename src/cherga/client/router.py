"""Routers: sets of tasks that are declared apart from an application and join one, or several, later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cherga.client.applications import current_source
from cherga.client.declare import Declaration, Declaring
from cherga.client.late import NOBODY
from cherga.client.task import Task
from cherga.rules.options import name as check_name
from cherga.rules.settings import Settings
from cherga.words.errors import ConfigError, DuplicateTask

Accept = Callable[[Declaration], Task[Any, Any]]


class Member(Struct):
    """A task of a router, and the tasks that were made of it where the router was included."""

    declaration: Declaration
    homes: list[Task[Any, Any]]


class Router(Declaring):
    """Declares tasks for an application to include.

    ``prefix`` stands, with a dot, before the names of its tasks; the other keywords are default options of its tasks.
    Tasks may be added before and after the router is included; each application gets its own.
    """

    def __init__(self, prefix: str = "", **defaults: Any) -> None:
        self.prefix = _checked(prefix) if prefix else ""
        self._defaults = _check_defaults(defaults)
        self._members: list[Member] = []
        self._accepting: list[Accept] = []
        self._inside: list[Router] = []

    def include_router(self, router: Router) -> None:
        """Take in another router's tasks, under this one's prefix and default options."""
        if self in router.family():
            raise ConfigError("expected a router not to be included in itself")

        self._inside.append(router)
        router.join(self._declared)

    def join(self, accept: Accept) -> None:
        """Hand over every declaration, those to come too; called by what includes this router."""
        self._accepting.append(accept)

        for member in self._members:
            member.homes.append(accept(member.declaration))

    def family(self) -> list[Router]:
        """The router and those that it includes, directly or not."""
        return [self, *(one for inner in self._inside for one in inner.family())]

    def _declared(self, declaration: Declaration) -> Task[Any, Any]:
        named = replace(
            declaration,
            name=f"{self.prefix}.{declaration.name}" if self.prefix else declaration.name,
            options={**self._defaults, **declaration.options},
        )
        member = Member(named, [])
        task = named.build(NOBODY, Settings())
        task.find_home = lambda: _home_of(member)
        member.homes += [accept(named) for accept in self._accepting]
        self._members.append(member)
        return task

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefix}>"


AsyncRouter = Router
SyncRouter = Router


def _checked(prefix: str) -> str:
    if check_name(prefix, "a router's prefix").endswith("."):
        raise ConfigError(f"expected a router's prefix without the dot, which is put behind it; got {prefix!r}")

    return prefix


def _check_defaults(defaults: dict[str, Any]) -> dict[str, Any]:
    """Names are of single tasks; what else is wrong is told with the first task that it is meant for."""
    for own in {"name", "aliases"} & defaults.keys():
        raise ConfigError(f"expected {own} on a task, not on a router; what stands before the names of its tasks is prefix")

    return defaults


def _home_of(member: Member) -> Task[Any, Any]:
    """The task of the application whose job runs here if it is one of them, else of the one that included it last."""
    homes = [home for each in member.homes if (home := _application_task(each)) is not None]

    if not homes and member.homes:
        return member.homes[-1].home()

    if not homes:
        raise ConfigError(
            f"expected the router's task {member.declaration.name} to belong to an application before it is enqueued; use "
            "app.include_router(router)"
        )

    return next((home for home in reversed(homes) if home.sender is current_source()), homes[-1])


def _application_task(task: Task[Any, Any]) -> Task[Any, Any] | None:
    """A task in a router that stands in another one is found through that one; None where it has no place, or lost it."""
    try:
        return task.home()
    except (ConfigError, DuplicateTask):
        return None
