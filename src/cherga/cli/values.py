"""Stored values as text, and text as values."""

from __future__ import annotations

import unicodedata
from typing import Any

import msgspec

from cherga.rules.codec import decode

LONGEST_SHOWN = 2000
"""Characters of a value that a page shows; ``--json`` has all of it."""


def to_json(value: Any) -> bytes:
    """Any stored value as JSON; what JSON cannot say is written as Python would show it."""
    try:
        return msgspec.json.encode(value, enc_hook=repr)
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode(_spelled(value))


def json_text(value: Any) -> str:
    """A value as one line of JSON."""
    return msgspec.json.format(to_json(value), indent=0).decode()


def read_value(text: str) -> Any:
    """The JSON value that the text is, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text


def unpack(data: bytes | None) -> Any:
    """A stored value; None where there is none or it cannot be read."""
    try:
        return None if data is None else decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def call_text(arguments: Any) -> str:
    """Stored arguments as they would stand in a call: ``7, name="Ada"``."""
    if isinstance(arguments, dict):
        return ", ".join(f"{name}={json_text(value)}" for name, value in arguments.items())

    match arguments:
        case [list() as args, dict() as kwargs]:
            return ", ".join(part for part in (", ".join(map(json_text, args)), call_text(kwargs)) if part)

    return "" if arguments is None else json_text(arguments)


def shorten(text: str, limit: int) -> str:
    """The text, cut with an ellipsis where it is longer than ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def printable(text: str) -> str:
    """The text on one line without control characters, which could order the terminal about: what is stored is not ours."""
    return text if text.isprintable() else "".join(c if _harmless(c) else _escape(c) for c in text)


def printable_lines(text: str) -> str:
    """As ``printable``, but lines stay lines."""
    return "\n".join(printable(line.expandtabs(4)) for line in text.splitlines())


def _spelled(value: Any) -> Any:
    """The value with keys and leaves that JSON has: for maps with keys such as ``(1, 2)`` or ``None``."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else repr(key): _spelled(item) for key, item in value.items()}

    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]

    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
