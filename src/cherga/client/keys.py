"""Keys that are made of a job's arguments: what makes it unique, and which limit it counts for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
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
    if isinstance(wish, bool | Unique) or callable(wish):
        return wish

    return check.text(wish, "unique") if isinstance(wish, str) else check.texts(wish, "unique")


def check_limit_key(wish: LimitKey) -> LimitKey:
    """Raise ``ConfigError`` for what cannot be a limit key; a single name becomes a list."""
    if callable(wish):
        return wish

    names = (check.text(wish, "key"),) if isinstance(wish, str) else check.texts(wish, "key")

    if not names:
        raise ConfigError("expected key to name at least one argument, got none")

    return names


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
    if callable(wish):
        value = _called(wish, task, "key", args, kwargs)
        return f"key:{task}|{shown_value(str(value))}"

    values = signature.arguments(args, kwargs, wish)
    return f"key:{task}|{shown_value(','.join(str(value) for value in values))}"


def check_names(task: str, option: str, names: Iterable[str], signature: Signature) -> None:
    """Raise ``ConfigError`` for a name that is none of the task's parameters."""
    for name in names:
        if name not in signature.names:
            expected = check.nearest(str(name), signature.names)
            raise ConfigError(f"task {task}: expected {option} to name its parameters, got {name!r}{expected}")


def _unique_text(wish: UniqueKey, task: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if isinstance(wish, str):
        return wish

    if callable(wish):
        return f"{task}:{_called(wish, task, 'unique', args, kwargs)}"

    names = () if isinstance(wish, bool | Unique) else wish
    same = signature.fingerprint(args, kwargs, names)
    return f"{task}:{hashlib.blake2b(same, digest_size=16).hexdigest()}"


def _called(function: Callable[..., Any], task: str, option: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"task {task}: {option} cannot be made of these arguments: {error}") from error


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
