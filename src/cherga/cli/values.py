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
    return msgspec.json.encode(value, enc_hook=repr)


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
    """Stored arguments as a short call shows them: the values in their order, without the names."""
    match arguments:
        case [list() as args, dict() as kwargs]:
            return ", ".join(map(json_text, [*args, *kwargs.values()]))
        case dict():
            return ", ".join(map(json_text, arguments.values()))
        case _:
            return ""


def shorten(text: str, limit: int) -> str:
    """The text, cut with an ellipsis where it is longer than ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def printable(text: str) -> str:
    """The text on one line without control characters, which could order the terminal about: what is stored is not ours."""
    return text if text.isprintable() else "".join(c if _harmless(c) else _escape(c) for c in text)


def printable_lines(text: str) -> str:
    """The text as ``printable`` shows it, but lines stay lines."""
    return "\n".join(printable(line.expandtabs(4)) for line in text.splitlines())


def _harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
