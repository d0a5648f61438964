"""Declaring tasks: the decorator that applications, routers and libraries share, and how its options are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from msgspec import Struct
from msgspec.structs import replace

from cherga.client.features import Features, Step, features_of
from cherga.client.fitting import free_function
from cherga.client.keys import LimitKey, UniqueKey
from cherga.client.limits import task_rule
from cherga.client.order import Order, on_crash, order_with, with_head
from cherga.client.origin import Origin, origin_of, place_of
from cherga.client.pipeline import executor_of
from cherga.client.schedules import NO_ID, TIMING, make_schedule
from cherga.client.task import BatchTask, CalledTask, CoroutineTask, EchoTask, FunctionTask, Sender, Task
from cherga.rules import options as check
from cherga.rules.decide import Policy
from cherga.rules.hints import remember_place
from cherga.rules.options import Duration
from cherga.rules.retry import Retry, exception_kinds
from cherga.rules.settings import Settings
from cherga.words.errors import ConfigError, InvalidArguments, TaskError
from cherga.words.keeping import Keeping
from cherga.words.schedule import Schedule

if TYPE_CHECKING:
    from cherga.client.decorators import (
        BatchDecorator,
        DecodedDecorator,
        EchoDecodedDecorator,
        EchoDecorator,
        EchoHandledDecorator,
        HandledDecorator,
        Streaming,
        TaskDecorator,
    )

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")
H = TypeVar("H")
D = TypeVar("D")


class CommonOptions(TypedDict, total=False):
    """The keywords of ``@app.task`` that say nothing about types.

    Type checkers refuse any other, so that a slip of the pen is seen; what the application wants to keep with a task stands in
    ``extra``. At run time other keywords are kept there as well.
    """

    name: str
    queue: str
    priority: int
    retry: int | Retry
    retry_on_exc: Iterable[type[BaseException]]
    max_time: Duration | None
    unique: UniqueKey
    unique_while: str
    unique_for: Duration
    on_conflict: str
    max_running: int
    rate_limit: str
    key: LimitKey
    cron: str
    every: Duration
    timezone: str
    catch_up: str
    catch_up_cap: int
    result_ttl: Duration
    failure_ttl: Duration
    on_crash: str
    tags: Iterable[str]
    description: str
    aliases: Iterable[str]
    executor: type[Any]
    middlewares_before: list[Step]
    middlewares_after: list[Step]
    awaiting: bool
    extra: Mapping[str, Any]
    """The values that the application wants to know of the task: ``task.extra``."""


class TaskOptions(CommonOptions, total=False):
    """The keywords of ``@app.task``, all of them."""

    batch: int
    batch_wait: Duration
    echo: bool
    generate_handler: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Declaration(Struct, frozen=True):
    """A function with its name and options, before it belongs to an application."""

    function: Callable[..., Any]
    name: str
    origin: Origin
    options: dict[str, Any] = {}

    @property
    def place(self) -> str:
        """File and line of the function."""
        return place_of(self.function)

    def build(self, sender: Sender, settings: Settings) -> Task[Any, Any]:
        """The task. Raises ``ConfigError`` or ``TaskError`` that names task, file, line and what is wrong."""
        options = cast(TaskOptions, self.options)

        try:
            features = features_of(self.function, self.options, list(TaskOptions.__annotations__))
            executor_of(features.executor)
            aliases_of(self)
            policy, order = policy_of(options, settings), _order(self.name, options)
            task = _kind(features)(self.function, self.name, sender, policy, order, features)
            task.rule = task_rule(self.name, self.options)
            task.schedule = _schedule(task, self.options)
            return task
        except (ConfigError, TaskError) as error:
            what = str(error).removeprefix(f"task {self.name}: ")
            raise type(error)(f"task {self.name} ({self.place}): {what}") from None


def _schedule(task: Task[Any, Any], options: Mapping[str, Any]) -> Schedule | None:
    timing = {option: value for option, value in options.items() if option in TIMING}

    if not timing:
        return None

    try:
        job = task.build(replace(task.order, id=NO_ID), (), {})
    except InvalidArguments as error:
        raise ConfigError(
            f"expected a task with a schedule to need no arguments: {error}; use app.schedule() to give some"
        ) from None

    return make_schedule(job, timing, from_code=True)


def _kind(features: Features) -> type[Task[Any, Any]]:
    if features.batch:
        return BatchTask

    if features.echo:
        return EchoTask

    if features.is_generator or features.decode:
        return CalledTask

    return CoroutineTask if features.is_async else FunctionTask


class Declaring:
    """Gives a class the ``task`` decorator; ``_declared`` says what becomes of a declaration."""

    # First the bare forms, then those with options: which of these there are decides on the types of the task.
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, Streaming[Y]], /) -> CalledTask[P, list[Y], Streaming[Y]]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, Generator[Y, Any, R]], /) -> CalledTask[P, R, Generator[Y, Any, R]]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, AsyncIterator[Y]], /) -> CalledTask[P, list[Y], AsyncIterator[Y]]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, Iterator[Y]], /) -> CalledTask[P, list[Y], Iterator[Y]]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, R], /) -> FunctionTask[P, R]: ...
    @overload
    def task(
        self, name_: str = ..., /, *, batch: int, batch_wait: Duration = ..., **options: Unpack[CommonOptions]
    ) -> BatchDecorator: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[True],
        decode: Callable[[Any], Awaitable[D]],
        **options: Unpack[CommonOptions],
    ) -> EchoDecodedDecorator[D]: ...
    @overload
    def task(
        self, name_: str = ..., /, *, echo: Literal[True], decode: Callable[[Any], D], **options: Unpack[CommonOptions]
    ) -> EchoDecodedDecorator[D]: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[True],
        generate_handler: Callable[[Any], Awaitable[H]],
        decode: None = ...,
        **options: Unpack[CommonOptions],
    ) -> EchoHandledDecorator[H]: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[True],
        generate_handler: Callable[[Any], H],
        decode: None = ...,
        **options: Unpack[CommonOptions],
    ) -> EchoHandledDecorator[H]: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[True],
        decode: None = ...,
        generate_handler: None = ...,
        **options: Unpack[CommonOptions],
    ) -> EchoDecorator: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[False] = ...,
        decode: Callable[[Any], Awaitable[D]],
        **options: Unpack[CommonOptions],
    ) -> DecodedDecorator[D]: ...
    @overload
    def task(
        self, name_: str = ..., /, *, echo: Literal[False] = ..., decode: Callable[[Any], D], **options: Unpack[CommonOptions]
    ) -> DecodedDecorator[D]: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[False] = ...,
        generate_handler: Callable[[Any], Awaitable[H]],
        decode: None = ...,
        **options: Unpack[CommonOptions],
    ) -> HandledDecorator[H]: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[False] = ...,
        generate_handler: Callable[[Any], H],
        decode: None = ...,
        **options: Unpack[CommonOptions],
    ) -> HandledDecorator[H]: ...
    @overload
    def task(
        self,
        name_: str = ...,
        /,
        *,
        echo: Literal[False] = ...,
        decode: None = ...,
        generate_handler: None = ...,
        **options: Unpack[CommonOptions],
    ) -> TaskDecorator: ...

    def task(self, given: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Declare a function as a task: ``@app.task``, ``@app.task("name")`` or ``@app.task(retry=5, …)``.

        Options are those of ``TaskOptions``; further keywords are kept as ``task.extra``. Raises ``DuplicateTask`` for a
        name that is taken and ``ConfigError`` for an option that is wrong, both with the place in the code.
        """
        if callable(given) or isinstance(given, classmethod):
            return self._declared(_declaration(given, name, options))

        if not isinstance(given, str | None):
            raise ConfigError(f"expected task() to be given a function or a name, got {check.shown(given)}")

        if given is not None and name is not None:
            raise ConfigError(f"expected task() to be given one name, got {given!r} and {name!r}")

        return lambda real: self._declared(_declaration(real, given if name is None else name, options))

    def _declared(self, declaration: Declaration) -> Task[Any, Any]:
        raise TypeError(f"{type(self).__name__} cannot declare tasks")


def _declaration(function: Callable[..., Any], name: str | None, options: dict[str, Any]) -> Declaration:
    real = free_function(function.function if isinstance(function, Task) else function, options.get("echo") is True)
    remember_place(real)

    try:
        return Declaration(real, check.task_name(_own_name(real) if name is None else name), origin_of(real), options)
    except ConfigError as error:
        raise ConfigError(f"{error} ({place_of(real)})") from None


def _own_name(function: Callable[..., Any]) -> str:
    """The name of a function that has one. Raises ``ConfigError`` for a lambda or a partial."""
    name: str = getattr(function, "__name__", "")

    if not name or name == "<lambda>":
        raise ConfigError(f"expected a function with a name, got {name or check.shown(function)}; write app.task('name')(…)")

    return name


def aliases_of(declaration: Declaration) -> list[str]:
    """Further names of a task. Raises ``ConfigError``."""
    return [check.task_name(alias, "an alias") for alias in check.texts(declaration.options.get("aliases", ()), "aliases")]


def policy_of(options: TaskOptions, settings: Settings) -> Policy:
    """The policy that the options set for the ends of jobs; the application's settings fill in the rest."""
    return Policy(
        retry=_retry(options),
        max_time=check.run_limit(options.get("max_time", settings.max_time)),
        result_ttl=check.seconds(options.get("result_ttl", settings.result_ttl), "result_ttl"),
        failure_ttl=check.seconds(options.get("failure_ttl", settings.failure_ttl), "failure_ttl"),
        on_crash=on_crash(options.get("on_crash", "retry")),
    )


_STORED = frozenset({"queue", "priority", "unique", "unique_while", "unique_for", "on_conflict", "key", "tags", "description"})
"""Options of a task that are stored with each of its jobs."""


def _order(name: str, options: TaskOptions) -> Order:
    shared: dict[str, Any] = {key: value for key, value in options.items() if key in _STORED}

    if options.get("on_crash") == "fail":
        shared["on_crash"] = "fail"

    order = order_with(Order(), name, cast(Any, shared))
    keeping = keeping_of(options)
    return order if keeping is None else with_head(order, replace(order.head, keeping=keeping))


def keeping_of(options: Mapping[str, Any]) -> Keeping | None:
    """The times for which the task itself has its jobs kept; None when it leaves that to the application."""
    own = {name: check.seconds(options[name], name) for name in ("result_ttl", "failure_ttl") if name in options}
    return Keeping(**own) if own else None


def _retry(options: TaskOptions) -> Retry:
    """``retry=5`` and ``retry_on_exc=[…]``, or a whole ``Retry``."""
    wish = options.get("retry", 0)
    retry = wish if isinstance(wish, Retry) else Retry(max=check.count(wish, "retry"))

    if "retry_on_exc" not in options:
        return retry

    kinds = exception_kinds(options["retry_on_exc"], "retry_on_exc")

    if kinds and "retry" not in options:
        raise ConfigError("expected retry beside retry_on_exc, for without it nothing is tried again, as in retry=5")

    return replace(retry, on=kinds)


__all__ = ["Declaration", "Declaring", "TaskOptions", "aliases_of", "policy_of"]
