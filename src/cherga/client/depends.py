"""``Depends``: what a task needs is opened for it, and closed after it.

A dependency is a function, a coroutine function, a generator or async generator that yields once, or either kind of context
manager. Its own parameters may have dependencies too. Each job closes its own, in reverse order, also after errors and
cancellation; a neighbour's are never touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from msgspec import Struct

from cherga.client.applications import current_application
from cherga.client.context import Context
from cherga.client.scopes import Inside, Opened, Scope, SharedScope, manager_of
from cherga.client.state import State, StateHandle, kind_of_state
from cherga.rules.hints import hints_of
from cherga.words.errors import ConfigError
from cherga.words.later import inspect

SCOPES = ("task", "worker", "process")

FOREIGN_DEPENDS = frozenset({"Dependant", "Depends", "Provide", "Security", "TaskiqDepends", "_Depends"})
"""The name of a dependency in other libraries: FastAPI, FastDepends, FastStream, Docket, Litestar and dependency_injector."""
FOREIGN_DEPENDENCIES = frozenset({"Closing", "Dependency", "DependencyKwarg", "FromComponent", "Inject"})
"""The name of one in these libraries, while others may mean something else by it."""
FOREIGN_LIBRARIES = frozenset(
    {
        "aioinject",
        "dependency_injector",
        "dishka",
        "docket",
        "litestar",
        "picodi",
        "taskiq",
        "taskiq_dependencies",
        "uncalled_for",
    }
)

Settle = Callable[[Any], Awaitable[Any]]
"""Gives the value itself, or what an awaitable gives: the one place where sync and async tasks differ."""

Overrides = Mapping[Callable[..., Any], Callable[..., Any]]


def Depends(function: Callable[..., Any], scope: str = "task") -> Any:
    """Declare a parameter as a dependency: ``session=Depends(open_session)`` or ``Annotated[Session, Depends(open_session)]``.

    ``scope``: ``task`` opens one for each job, ``worker`` one for each life of a worker (closed when it drains), ``process``
    one for each process (closed when it ends). Raises ``ConfigError`` for what cannot be opened.
    """
    return Dependency(function, scope)


class Dependency:
    """The value that ``Depends`` gives: a function, the scope of its value, and its own needs."""

    def __init__(self, function: Callable[..., Any], scope: str = "task") -> None:
        if not callable(function):
            raise ConfigError(f"expected Depends to be given a function, got {function!r}")

        if scope not in SCOPES:
            raise ConfigError(f"expected a scope of {', '.join(SCOPES)}; got {scope!r}")

        self.function = function
        self.scope = scope
        self.needs = find_needs(function)
        self.contexts = _contexts_of(function)
        _check_lives(self)
        _check_filled(self)

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))

    def __repr__(self) -> str:
        return f"Depends({self.name}, scope={self.scope!r})"


class Need(Struct, frozen=True):
    """A parameter and what fills it."""

    parameter: str
    depends: Dependency


def find_needs(function: Callable[..., Any]) -> tuple[Need, ...]:
    """The parameters of a function that are dependencies."""
    hints = hints_of(_of_making(function))

    for p in _parameters(function):
        _check_meant(p.name, (p.default, *_extras(hints.get(p.name))))

    found = ((p.name, _given(p) or _hinted(hints.get(p.name))) for p in _parameters(function))
    return tuple(Need(name, depends) for name, depends in found if depends is not None)


def context_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters annotated ``Context``, or ``Context | None``, which the worker fills in."""
    annotations = getattr(_of_making(function), "__annotations__", {})
    return tuple(name for name, hint in annotations.items() if name != "return" and _is_context(hint))


# --- opening


class Lifetimes(Struct, frozen=True):
    """The three scopes as one job sees them."""

    task: Scope
    worker: SharedScope
    process: SharedScope


class Opening(Struct, frozen=True):
    """A job that has its dependencies opened."""

    lifetimes: Lifetimes
    overrides: Overrides
    settle: Settle
    is_async: bool
    context: Context | None
    """The context of the job; None for what lives longer than it."""
    inside: Inside
    """Gives the application's context to what is opened and closed outside of the job."""

    async def value_of(self, wanted: Dependency) -> Any:
        """The dependency's value: already open in its scope, or opened now with what it needs itself."""
        dependency = self._standing_in(wanted)
        scope: Scope | SharedScope = getattr(self.lifetimes, dependency.scope)
        is_open, value = scope.get(dependency.function)

        if is_open:
            return value

        if isinstance(scope, Scope):
            return await scope.enter(dependency.function, await self._make(dependency), self.settle, self.is_async)

        return await scope.open_once(dependency.function, lambda: self._open(dependency, scope), self.settle, self.is_async)

    def _standing_in(self, wanted: Dependency) -> Dependency:
        if not self.overrides or wanted.function not in self.overrides:
            return wanted

        return Dependency(self.overrides[wanted.function], wanted.scope)

    async def _make(self, dependency: Dependency) -> Any:
        """The value that the dependency's function gives."""
        arguments: dict[str, Any] = {need.parameter: await self.value_of(need.depends) for need in dependency.needs}
        arguments.update(dict.fromkeys(dependency.contexts, self.context))
        return dependency.function(**arguments)

    async def _open(self, dependency: Dependency, scope: SharedScope) -> Opened:
        """Open what many jobs are to share: on a thread in the course of the job, on the loop in a task of its own."""
        with self.inside() if self.is_async else nullcontext():
            return await self._opened(dependency, scope)

    async def _opened(self, dependency: Dependency, scope: SharedScope) -> Opened:
        made = await self._make(dependency)
        manager = manager_of(dependency.function, made)

        if manager is None:
            return Opened(await self.settle(made), None, inspect.isawaitable(made))

        if hasattr(manager, "__aenter__"):
            kept: Opened = await self.settle(scope.keep_open(manager, self.inside))
            return kept

        return Opened(manager.__enter__(), scope.leaving(manager.__exit__, self.inside), False)


# --- what is checked when a dependency is declared


def _check_lives(dependency: Dependency) -> None:
    for need in dependency.needs:
        if SCOPES.index(need.depends.scope) < SCOPES.index(dependency.scope):
            raise ConfigError(
                f"expected {dependency.name} (scope {dependency.scope}) not to depend on {need.depends.name}, "
                f"which lives shorter (scope {need.depends.scope})"
            )

    if dependency.contexts and dependency.scope != "task":
        raise ConfigError(
            f"expected {dependency.name} (scope {dependency.scope}) not to take the context of one job; only scope task can"
        )


def _check_filled(dependency: Dependency) -> None:
    filled = {*dependency.contexts, *(need.parameter for need in dependency.needs)}

    for p in _parameters(dependency.function):
        what = f"expected parameter {p.name!r} of the dependency {dependency.name}"
        optional = p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)

        if p.name not in filled and not optional:
            raise ConfigError(f"{what} to have a default, to be a dependency itself, or to be annotated Context")

        if p.name in filled and p.kind is p.POSITIONAL_ONLY:
            raise ConfigError(f"{what} not to be positional-only")


def _contexts_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Parameters that take the job's context: by their annotation, or bare and called ``ctx``."""
    annotated = context_parameters(function)
    bare = (p.name for p in _parameters(function) if p.name == "ctx" and p.default is p.empty and p.annotation is p.empty)
    return (*annotated, *(name for name in bare if name not in annotated))


def _parameters(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    try:
        return iter(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return iter(())


def _is_context(hint: Any) -> bool:
    if isinstance(hint, str):
        return hint.replace(" ", "").removeprefix("cherga.").removesuffix("|None") == "Context"

    return hint is Context or Context in get_args(hint)


def _given(parameter: inspect.Parameter) -> Dependency | None:
    return parameter.default if isinstance(parameter.default, Dependency) else None


def _hinted(hint: Any) -> Dependency | None:
    if hint is StateHandle:
        raise ConfigError("expected StateHandle to name its class, as in StateHandle[Totals]")

    if get_origin(hint) is StateHandle:
        return Dependency(_open_state(*get_args(hint)), scope="worker")

    return next((extra for extra in _extras(hint) if isinstance(extra, Dependency)), None)


def _extras(hint: Any) -> tuple[Any, ...]:
    """The markers beside the type in ``Annotated``."""
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _check_meant(parameter: str, values: Iterable[Any]) -> None:
    """Refuse what looks like a dependency and is none: it would be passed as it is. Only its own library opens another's."""
    for value in values:
        if value is Depends:
            raise ConfigError(f"expected {parameter}=Depends(function) for the parameter {parameter!r}, got Depends alone")

        if (library := _library_of(value)) is not None:
            function = getattr(getattr(value, "dependency", None), "__name__", "…")
            raise ConfigError(
                f"expected cherga's Depends for the parameter {parameter!r}, got that of {library}, which is not opened here; "
                f"write {parameter}=Depends({function}) with from cherga import Depends"
            )


def _library_of(value: Any) -> str | None:
    """The library whose dependency a value is."""
    for kind in type(value).__mro__:
        library = kind.__module__.partition(".")[0]

        if kind.__name__ in FOREIGN_DEPENDS or (library in FOREIGN_LIBRARIES and kind.__name__ in FOREIGN_DEPENDENCIES):
            return library

    return None


@cache
def _open_state(kind: type[State]) -> Callable[..., StateHandle[Any]]:
    """The dependency behind a parameter annotated ``StateHandle[kind]``; one for each class, so that it is opened once."""
    kind_of_state(kind)

    def open_state() -> StateHandle[Any]:
        handle: StateHandle[Any] = current_application().state(kind)
        return handle

    return open_state


def _of_making(function: Callable[..., Any]) -> Callable[..., Any]:
    """A class is called through its ``__init__``."""
    return function.__init__ if inspect.isclass(function) else function
