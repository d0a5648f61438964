"""What a task uses beyond a plain function. A task that uses none of it pays for none of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from msgspec import Struct

from cherga.client.depends import Depends, Need, find_needs
from cherga.rules.options import nearest
from cherga.words.errors import ConfigError

Step = Callable[..., Any]
"""A middleware: a function, or a class whose instances can be called."""

CLOSE_ENOUGH = "; did you mean"


class Features(Struct, frozen=True, kw_only=True):
    """Everything around the call of a task's function."""

    is_async: bool = False
    is_generator: bool = False
    echo: bool = False
    executor: type[Any] | None = None
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    generate_handler: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None
    needs: tuple[Need, ...] = ()
    extra: Mapping[str, Any] = {}

    @property
    def plain(self) -> bool:
        """Nothing stands between the worker and the function."""
        return not (self.echo or self.is_generator or self.executor or self.before or self.after or self.decode or self.needs)


def features_of(function: Callable[..., Any], options: Mapping[str, Any], known: Sequence[str]) -> Features:
    """The features that these options of ``@app.task`` ask for. Raises ``ConfigError`` that names the one which is wrong."""
    is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    handler = _one_argument(options.get("generate_handler"), "generate_handler")

    if handler is not None and not is_generator:
        raise ConfigError("expected generate_handler on a generator (a function with yield)")

    if options.get("awaiting") and not _is_async(function):
        raise ConfigError("expected awaiting=True on an async def function")

    return Features(
        is_async=_is_async(function),
        is_generator=is_generator,
        echo=_echo(function, options),
        executor=_executor(options.get("executor")),
        before=_steps(options, "middlewares_before"),
        after=_steps(options, "middlewares_after"),
        generate_handler=handler,
        decode=_one_argument(options.get("decode"), "decode"),
        needs=find_needs(function),
        extra=_extra(options, known),
    )


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _echo(function: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    echo = options.get("echo", False)

    if not isinstance(echo, bool):
        raise ConfigError(f"expected echo to be True or False, got {echo!r}")

    if echo and not any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in inspect.signature(function).parameters.values()
    ):
        raise ConfigError("expected a first parameter (self) for echo=True, got a function without parameters")

    return echo


def _executor(wish: Any) -> type[Any] | None:
    if wish is not None and not inspect.isclass(wish):
        raise ConfigError(f"expected executor to be a class, got {wish!r}")

    return wish


def _steps(options: Mapping[str, Any], name: str) -> tuple[Step, ...]:
    steps = options.get(name) or ()

    if not isinstance(steps, list | tuple):
        raise ConfigError(f"expected {name} to be a list, got {steps!r}")

    for step in steps:
        if not callable(step):
            raise ConfigError(f"expected {name} to hold functions or classes, got {step!r}")

        if not inspect.isclass(step):
            _accepts_one(step, f"an entry of {name}")

    return tuple(steps)


def _one_argument(function: Any, name: str) -> Callable[[Any], Any] | None:
    if function is None:
        return None

    if not callable(function):
        raise ConfigError(f"expected {name} to be a function, got {function!r}")

    _accepts_one(function, name)
    return cast(Callable[[Any], Any], function)


def _accepts_one(function: Callable[..., Any], name: str) -> None:
    try:
        inspect.signature(function).bind(object())
    except TypeError:
        raise ConfigError(f"expected {name} to take one argument, got {function!r}{inspect.signature(function)}") from None
    except ValueError:
        return


def _extra(options: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Keywords that Cherga has no use for belong to the application; one that is nearly ours is a slip of the pen."""
    extra = {key: value for key, value in options.items() if key not in known}

    for key in extra:
        if (hint := nearest(key, known)).startswith(CLOSE_ENOUGH):
            raise ConfigError(f"unknown option {key!r}{hint}")

    return extra


__all__ = ["Depends", "Features", "Step", "features_of"]
