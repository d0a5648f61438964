"""Pauses: the jobs that a scope means, and the written form of arguments to pause by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from cherga.rules import options as check
from cherga.rules.canonical import fits, form_of, shown, stored_values, write
from cherga.words.errors import ConfigError
from cherga.words.shared import PauseScope

_read = msgspec.json.Decoder(dict[str, Any]).decode


def write_arguments(arguments: Mapping[str, Any]) -> str:
    """The text of these arguments, the same for equal ones. Raises ``ConfigError``."""
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"expected the arguments to pause by as a mapping of names to values, got {arguments!r}")

    if not arguments:
        raise ConfigError("expected at least one argument to pause by, got none")

    forms = {check.short_text(name, "an argument's name"): _form(name, value) for name, value in arguments.items()}
    return write(forms).decode()


def _form(name: str, value: Any) -> Any:
    try:
        form = form_of(value)
        text = write(form).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"expected argument {name!r} to be a value that can be stored, got {value!r}: {error}") from error

    check.short_text(text, f"argument {name!r}")
    return form


def concerns(scope: PauseScope, queue: str, task: str) -> bool:
    """True when the scope means jobs of this task in this queue, or, where it names arguments, could."""
    return scope.queue in (None, queue) and scope.task in (None, task)


def covers(scope: PauseScope, queue: str, task: str, payload: bytes) -> bool:
    """True when the scope means this job."""
    return concerns(scope, queue, task) and (scope.arguments is None or means(scope.arguments, payload))


def means(arguments: str, payload: bytes) -> bool:
    """True when a job with this payload has all these arguments. What cannot be read, on either side, fits nothing."""
    wanted = _read_forms(arguments)

    try:
        given = _by_name(stored_values(payload)) if wanted else {}
        return bool(wanted) and all(name in given and fits(form, given[name]) for name, form in wanted.items())
    except Exception:  # damaged bytes may raise anything, and a claim must go on
        return False


def _by_name(stored: Any) -> Mapping[str, Any]:
    """The arguments that have a name: a sender that knew no signature may have given some without."""
    match stored:
        case dict():
            return stored
        case [list(), dict() as named]:
            return named
        case _:
            return {}


@lru_cache(maxsize=256)
def _read_forms(arguments: str) -> Mapping[str, Any]:
    try:
        forms = _read(arguments)
        list(map(shown, forms.values()))
    except Exception:  # no text of ours
        return {}

    return forms


def read_arguments(arguments: str) -> Mapping[str, Any]:
    """The arguments that the text says, as plain data; none when it cannot be read."""
    return {name: shown(form) for name, form in _read_forms(arguments).items()}


def same_words(one: PauseScope, other: PauseScope) -> bool:
    """True when people would say both alike, so that who resumes the one means the other."""
    if one.arguments is None or other.arguments is None:
        return one == other

    return (one.queue, one.task) == (other.queue, other.task) and read_arguments(one.arguments) == read_arguments(
        other.arguments
    )
