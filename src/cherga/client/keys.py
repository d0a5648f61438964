"""Keys that are made of a job's arguments: what makes it unique, and which limit it counts for."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cherga.rules import options as check
from cherga.rules.options import Duration
from cherga.rules.signature import Signature
from cherga.words.errors import ConfigError, InvalidArguments
from cherga.words.unique import OnConflict, Unique, UniqueWhile

UniqueKey = bool | str | Sequence[str] | Callable[..., Any] | Unique
"""True: task and arguments. A text: that key. Names: those arguments. A function: what it makes of the arguments."""
LimitKey = str | Sequence[str] | Callable[..., Any]
"""A name or several: those arguments. A function: what it makes of the arguments."""

LONGEST_SHOWN = 120
"""Characters of a limit key's value that are kept as they are; a longer one is hashed."""


def check_unique_key(wish: UniqueKey) -> UniqueKey:
    """Raise ``ConfigError`` for what cannot be a unique key."""
    if isinstance(wish, bool | Unique):
        return wish

    if callable(wish):
        return _check_function(wish, "unique")

    if wish == "":
        raise ConfigError("expected unique to be True, a text, names of arguments or a function, got ''")

    return check.short_text(wish, "unique") if isinstance(wish, str) else _names(wish, "unique")


def check_limit_key(wish: LimitKey) -> LimitKey:
    """Raise ``ConfigError`` for what cannot be a limit key; a single name becomes a list."""
    if callable(wish):
        return _check_function(wish, "key")

    return (check.text(wish, "key"),) if isinstance(wish, str) else _names(wish, "key")


def unique_fields(given: Any) -> dict[str, Any]:
    """How long a unique key is held and what a conflict does, from the options. Raises ``ConfigError``."""
    fields: dict[str, Any] = {}

    if "unique_while" in given:
        fields["hold"] = _unique_while(given["unique_while"])

    if "unique_for" in given:
        fields["hold"], fields["period"] = UniqueWhile.PERIOD, _period(given["unique_for"])

        if "unique_while" in given:
            raise ConfigError("expected unique_while or unique_for, got both")

    if "on_conflict" in given:
        fields["conflict"] = _on_conflict(given["on_conflict"])

    return fields


def make_unique(
    wish: UniqueKey, task: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], template: Unique
) -> Unique:
    """The unique key of one job; ``template`` says how it is held."""
    if isinstance(wish, Unique):
        return wish

    return Unique(_unique_text(wish, task, signature, args, kwargs), template.hold, template.period, template.conflict)


def make_limit_key(wish: LimitKey, task: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The limit that one job counts for, ``key:<task>|<value>``."""
    values = [_called(wish, task, "key", args, kwargs)] if callable(wish) else signature.arguments(args, kwargs, wish)
    return _limit_key(task, values)


def make_fed_limit_key(wish: LimitKey, task: str, kwargs: Mapping[str, Any]) -> str:
    """The same for a job whose first argument is to come: of arguments that are given by name. Raises ``ConfigError``."""
    if callable(wish) or not kwargs.keys() >= set(wish):
        raise ConfigError(
            f"task {task}: expected a step that is fed a result to be given the arguments of its key by name, for the others "
            "are not known yet; name them, make the step with si(…), or lift the key with using(key=None)"
        )

    return _limit_key(task, [kwargs[name] for name in wish])


def check_names(task: str, option: str, names: Iterable[str], signature: Signature) -> None:
    """Raise ``ConfigError`` for a name that is none of the task's parameters."""
    for name in names:
        if name not in signature.names:
            expected = check.nearest(str(name), signature.names)
            raise ConfigError(f"task {task}: expected {option} to name its parameters, got {name!r}{expected}")


def check_text(task: str, unique: str, signature: Signature) -> None:
    """Raise ``ConfigError`` for a text that is one of the task's parameters: its value is meant, and not its name."""
    if unique in signature.names:
        raise ConfigError(
            f"task {task}: expected unique to be [{unique!r}] for the argument of that name, or a text that is no parameter's "
            f"name for a key that all its jobs share, got {unique!r}"
        )


def _limit_key(task: str, values: Iterable[Any]) -> str:
    return f"key:{task}|{shown_value(','.join(_written(value, task, 'key') for value in values))}"


def _unique_text(wish: UniqueKey, task: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if isinstance(wish, str):
        return wish

    if callable(wish):
        return f"{task}:{_written(_called(wish, task, 'unique', args, kwargs), task, 'unique')}"

    names = () if isinstance(wish, bool | Unique) else wish
    same = signature.fingerprint(args, kwargs, names)
    return f"{task}:{hashlib.blake2b(same, digest_size=16).hexdigest()}"


def _called(function: Callable[..., Any], task: str, option: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"task {task}: {option} cannot be made of these arguments: {error}") from error


def _check_function(function: Callable[..., Any], option: str) -> Callable[..., Any]:
    """Raise ``ConfigError`` for one that does not give its value at once."""
    for slow in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        if slow(function):
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigError(
                f"expected {option} to be a function that returns its value at once, got {name}, which is async or a generator"
            )

    return function


def _names(wish: Iterable[str], option: str) -> tuple[str, ...]:
    names = check.texts(wish, option)

    if not names:
        raise ConfigError(f"expected {option} to name at least one argument, got none")

    return names


def _written(value: Any, task: str, option: str) -> str:
    """The text of a key's value. Raises ``InvalidArguments`` for what has none, or another one in each process."""
    if not any("__str__" in vars(kind) or "__repr__" in vars(kind) for kind in type(value).__mro__[:-1]):
        raise InvalidArguments(
            f"task {task}: expected {option} to be made of what has a text of its own, such as a number, got {value!r}; name "
            "one of its attributes in a function"
        )

    try:
        return check.text(str(value), option)
    except ConfigError as error:
        raise InvalidArguments(f"task {task}: {error}") from error


def shown_value(value: str) -> str:
    """A limit key's value as it stands in the name of the limit."""
    return value if len(value) <= LONGEST_SHOWN else hashlib.blake2b(value.encode(), digest_size=16).hexdigest()


def _unique_while(value: str) -> UniqueWhile:
    if value not in (UniqueWhile.UNFINISHED, UniqueWhile.QUEUED):
        raise ConfigError(f"expected unique_while to be 'unfinished' or 'queued', got {value!r}")

    return UniqueWhile(value)


def _period(value: Duration) -> float:
    period = check.seconds(value, "unique_for")

    if period <= 0:
        raise ConfigError(f"expected unique_for to be longer than 0 seconds, got {value!r}")

    return period


def _on_conflict(value: str) -> OnConflict:
    try:
        return OnConflict(value)
    except ValueError:
        known = ", ".join(repr(each.value) for each in OnConflict)
        raise ConfigError(f"expected on_conflict to be one of {known}, got {value!r}") from None
