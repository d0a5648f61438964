"""Which jobs a pause means, and how arguments to pause by are written down. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec

from cherga.rules import options as check
from cherga.words.errors import ConfigError
from cherga.words.shared import PauseScope

Scalar = str | int | float | bool | None

_read = msgspec.json.Decoder(dict[str, Scalar]).decode
_write = msgspec.json.Encoder(order="sorted").encode
_unpack = msgspec.msgpack.Decoder(dict[str, Any]).decode


def write_arguments(arguments: Mapping[str, Any]) -> str:
    """The text of these arguments, the same for the same arguments. Raises ``ConfigError``."""
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"expected the arguments to pause by as a mapping of names to values, got {arguments!r}")

    if not arguments:
        raise ConfigError("expected at least one argument to pause by, got none")

    for name, value in arguments.items():
        check.short_text(name, "an argument's name")

        if isinstance(value, str):
            check.short_text(value, f"argument {name!r}")
        elif not isinstance(value, int | float | bool | None) or (isinstance(value, float) and not isfinite(value)):
            raise ConfigError(f"expected argument {name!r} to be text, a number, True, False or None, got {value!r}")

    return _write(dict(arguments)).decode()


def concerns(scope: PauseScope, queue: str, task: str) -> bool:
    """Whether the scope means jobs of this task in this queue, or, where it names arguments, could."""
    return scope.queue in (None, queue) and scope.task in (None, task)


def covers(scope: PauseScope, queue: str, task: str, payload: bytes) -> bool:
    """Whether the scope means this job."""
    return concerns(scope, queue, task) and (scope.arguments is None or means(scope.arguments, payload))


def means(arguments: str, payload: bytes) -> bool:
    """Whether a job with this payload has all these arguments. What cannot be read, on either side, fits nothing."""
    try:
        given = _unpack(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return False

    wanted = read_arguments(arguments)
    return bool(wanted) and all(name in given and _same(given[name], value) for name, value in wanted.items())


@lru_cache(maxsize=256)
def read_arguments(arguments: str) -> Mapping[str, Scalar]:
    """The arguments that the text says; none when it cannot be read."""
    try:
        return _read(arguments)
    except msgspec.DecodeError:
        return {}


def _same(given: Any, wanted: Scalar) -> bool:
    """Equal, and not merely because True equals 1."""
    return bool(given == wanted) and isinstance(given, bool) == isinstance(wanted, bool)
