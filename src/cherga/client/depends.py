"""``Depends``: what a task needs is opened for it, and closed after it.

A dependency is a function, a coroutine function, a generator or async generator that yields once, or either kind of context
manager. Its own parameters may have dependencies too. Each job closes its own, in reverse order, also after errors and
cancellation; a neighbour's are never touched.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from msgspec import Struct

from cherga.client.state import State, StateHandle, decoder_of
from cherga.words.errors import ConfigError

SCOPES = ("task", "worker", "process")


class Depends:
    """Declares a parameter as a dependency: ``session=Depends(open_session)`` or ``Annotated[Session, Depends(open_session)]``.

    ``scope``: ``task`` opens one for each job, ``worker`` one for each life of a worker (closed when it drains), ``process``
    one for each process (closed when it ends).
    """

    def __init__(self, function: Callable[..., Any], scope: str = "task") -> None:
        if not callable(function):
            raise ConfigError(f"expected Depends to be given a function, got {function!r}")

        if scope not in SCOPES:
            raise ConfigError(f"expected a scope of {', '.join(SCOPES)}; got {scope!r}")

        self.function = function
        self.scope = scope
        self.needs = find_needs(function)

        for need in self.needs:
            if SCOPES.index(need.depends.scope) < SCOPES.index(scope):
                raise ConfigError(
                    f"expected {_name(function)} (scope {scope}) not to depend on {_name(need.depends.function)}, "
                    f"which lives shorter (scope {need.depends.scope})"
                )

    def __repr__(self) -> str:
        return f"Depends({_name(self.function)}, scope={self.scope!r})"


class Need(Struct, frozen=True):
    """A parameter and what fills it."""

    parameter: str
    depends: Depends


def find_needs(function: Callable[..., Any]) -> tuple[Need, ...]:
    """The parameters of a function that are dependencies."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()

    hints = _hints(function)
    found = ((p.name, p.default if isinstance(p.default, Depends) else _hinted(hints.get(p.name))) for p in parameters)
    return tuple(Need(name, depends) for name, depends in found if depends is not None)


def _hinted(hint: Any) -> Depends | None:
    if hint is StateHandle:
        raise ConfigError("expected StateHandle to name its class, as in StateHandle[Totals]")

    if get_origin(hint) is StateHandle:
        return Depends(_open_state(*get_args(hint)), scope="worker")

    if get_origin(hint) is not Annotated:
        return None

    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Depends)), None)


@cache
def _open_state(kind: type[State]) -> Callable[..., StateHandle[Any]]:
    """The dependency behind a parameter annotated ``StateHandle[kind]``; one for each class, so that it is opened once."""
    decoder_of(kind)

    def open_state(ctx: Any) -> StateHandle[Any]:
        handle: StateHandle[Any] = ctx.host.app.state(kind)
        return handle

    return open_state


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:
        return {}


Settle = Callable[[Any], Awaitable[Any]]
"""Gives the value itself, or what an awaitable gives: the one place where sync and async tasks differ."""

Overrides = Mapping[Callable[..., Any], Callable[..., Any]]


class Scope:
    """Open dependencies of one lifetime; each is opened once, and closed in reverse order."""

    def __init__(self) -> None:
        self._open: dict[Callable[..., Any], Any] = {}
        self._stack = AsyncExitStack()

    @property
    def used(self) -> bool:
        """Something is open."""
        return bool(self._open)

    def get(self, function: Callable[..., Any]) -> tuple[bool, Any]:
        """Whether it is open, and its value."""
        return function in self._open, self._open.get(function)

    async def enter(self, function: Callable[..., Any], made: Any, settle: Settle) -> Any:
        """Open what the dependency's function gave, remember and return its value."""
        manager = _manager(function, made)

        if manager is None:
            value = await settle(made)
        elif hasattr(manager, "__aenter__"):
            value = await settle(manager.__aenter__())
            self._stack.push_async_exit(_leaving(manager, settle))
        else:
            value = manager.__enter__()
            self._stack.push(manager.__exit__)

        self._open[function] = value
        return value

    async def close(self, error: BaseException | None = None) -> None:
        """Close everything that is open; the first error while closing is raised after all are closed."""
        self._open.clear()
        await self._stack.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)


def _leaving(manager: Any, settle: Settle) -> Callable[..., Any]:
    """Closes an async context manager in the way its opener could await it."""

    async def leave(*info: Any) -> Any:
        return await settle(manager.__aexit__(*info))

    return leave


class Lifetimes(Struct, frozen=True):
    """The three scopes as one job sees them."""

    task: Scope
    worker: Scope
    process: Scope

    def of(self, name: str) -> Scope:
        scope: Scope = getattr(self, name)
        return scope


async def resolve(need: Depends, lifetimes: Lifetimes, overrides: Overrides, settle: Settle, given: Mapping[str, Any]) -> Any:
    """The dependency's value: already open in its scope, or opened now with what it needs itself.

    ``given`` holds values for parameters that are no dependencies (the job's context).
    """
    function = overrides.get(need.function, need.function)
    scope = lifetimes.of(need.scope)
    is_open, value = scope.get(function)

    if is_open:
        return value

    inner = find_needs(function) if function is not need.function else need.needs
    arguments = {n.parameter: await resolve(n.depends, lifetimes, overrides, settle, given) for n in inner}
    named = inspect.signature(function).parameters
    arguments.update({name: value for name, value in given.items() if name in named and name not in arguments})
    return await scope.enter(function, function(**arguments), settle)


def _manager(function: Callable[..., Any], made: Any) -> Any:
    """The context manager in what the function gave, if it is one."""
    if inspect.isasyncgen(made):
        return asynccontextmanager(lambda: made)()

    if inspect.isgenerator(made):
        return contextmanager(lambda: made)()

    if hasattr(made, "__aenter__") or (hasattr(made, "__enter__") and _opens(function)):
        return made

    return None


def _opens(function: Callable[..., Any]) -> bool:
    """Made by ``@contextmanager`` or a class; a plain function that returns a session returns it as it is."""
    return inspect.isclass(function) or hasattr(function, "__wrapped__")


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
