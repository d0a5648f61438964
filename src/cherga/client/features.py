"""Features of a task beyond a plain function. A task that uses none of them pays for none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, cast

from msgspec import Struct

from cherga.client.batches import Batching, batching_of
from cherga.client.depends import Need, find_needs
from cherga.client.fitting import fits
from cherga.rules import elsewhere
from cherga.words.errors import ConfigError
from cherga.words.later import inspect

Step = Callable[..., Any]
"""A middleware: a function, or a class whose instances can be called."""


class Features(Struct, frozen=True, kw_only=True):
    """The features around the call of a task's function."""

    is_async: bool = False
    is_generator: bool = False
    echo: bool = False
    executor: type[Any] | None = None
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    generate_handler: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None
    needs: tuple[Need, ...] = ()
    batch: Batching | None = None
    extra: Mapping[str, Any] = {}

    @property
    def plain(self) -> bool:
        """True when nothing stands between the worker and the function."""
        return not (self.echo or self.is_generator or self.executor or self.before or self.after or self.decode or self.needs)


def features_of(function: Callable[..., Any], options: Mapping[str, Any], known: Sequence[str]) -> Features:
    """The features that these options of ``@app.task`` ask for. Raises ``ConfigError`` that names the one which is wrong."""
    code = _called(function)
    is_generator = inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)
    handler = _one_argument(options.get("generate_handler"), "generate_handler")

    if handler is not None and not is_generator:
        raise ConfigError("expected generate_handler on a generator (a function with yield)")

    if _flag(options, "awaiting") and not is_async(function):
        raise ConfigError("expected awaiting=True on an async def function")

    features = Features(
        is_async=is_async(function),
        is_generator=is_generator,
        echo=_echo(function, options),
        executor=_executor(options.get("executor")),
        before=_steps(options, "middlewares_before"),
        after=_steps(options, "middlewares_after"),
        generate_handler=handler,
        decode=_one_argument(options.get("decode"), "decode"),
        needs=find_needs(function),
        batch=batching_of(options),
        extra=_extra(options, known),
    )
    _check_batch(features)
    return features


def _check_batch(features: Features) -> None:
    """A call for many jobs has no one of them around which anything could stand."""
    if features.batch is None:
        return

    if features.is_generator:
        raise ConfigError("expected a function that returns for batch=…, got a generator (a function with yield)")

    beside = {
        "echo": features.echo,
        "executor": features.executor,
        "middlewares_before": features.before,
        "middlewares_after": features.after,
        "decode": features.decode,
    }

    if wrong := [name for name, value in beside.items() if value]:
        raise ConfigError(f"expected no {wrong[0]} beside batch: one call serves many jobs")


def is_async(function: Callable[..., Any]) -> bool:
    """True when the function runs on the loop."""
    code = _called(function)
    return inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself; of an object that can be called its ``__call__``."""
    return function if inspect.isroutine(function) or isinstance(function, partial) else type(function).__call__


@cache
def takes_executor(step: Any) -> bool:
    """True when a middleware class is made with the executor: it cannot be made without, or names it first."""
    parameters = list(inspect.signature(step).parameters.values())
    return bool(parameters) and (parameters[0].name == "executor" or not fits(step))


def _flag(options: Mapping[str, Any], name: str) -> bool:
    flag = options.get(name, False)

    if not isinstance(flag, bool):
        raise ConfigError(f"expected {name} to be True or False, got {flag!r}")

    return flag


def _echo(function: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    echo = _flag(options, "echo")

    if echo and not _takes_a_first(function):
        raise ConfigError("expected a first parameter (self) for echo=True, got a function without one")

    return echo


def _takes_a_first(function: Callable[..., Any]) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)


def _executor(wish: Any) -> type[Any] | None:
    if wish is not None and not inspect.isclass(wish):
        raise ConfigError(f"expected executor to be a class, got {wish!r}")

    return wish


def _steps(options: Mapping[str, Any], name: str) -> tuple[Step, ...]:
    steps = () if (given := options.get(name)) is None else given

    if not isinstance(steps, list | tuple):
        raise ConfigError(f"expected {name} to be a list, got {steps!r}")

    for step in steps:
        _check_step(step, name)

    return tuple(steps)


def _check_step(step: Any, name: str) -> None:
    if not inspect.isclass(step):
        _one_argument(step, f"an entry of {name}")
        return

    if not (fits(step) or fits(step, None)):
        raise ConfigError(
            f"expected class {step.__name__} in {name} to be made with nothing or with the executor, got "
            f"{step.__name__}{inspect.signature(step)}"
        )

    if "__call__" not in dir(step) or not fits(step.__call__, None, None):
        raise ConfigError(f"expected class {step.__name__} in {name} to have a __call__(self, call)")


def _one_argument(function: Any, name: str) -> Callable[[Any], Any] | None:
    if function is None:
        return None

    if not callable(function):
        raise ConfigError(f"expected {name} to be a function, got {function!r}")

    if not fits(function, None):
        raise ConfigError(f"expected {name} to take one argument, got {_name(function)}{inspect.signature(function)}")

    return cast(Callable[[Any], Any], function)


def _extra(options: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Keywords that Cherga has no use for belong to the application; those that mean something to us are refused."""
    extra = {key: value for key, value in options.items() if key not in known}
    given = options.get("extra", {})

    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ConfigError(f"expected extra to be a mapping from names to values, got {given!r}")

    for key in extra:
        if (error := elsewhere.refusal(key, elsewhere.TASK)) is not None:
            raise error

    return {**given, **extra}


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
