"""Births of Flask applications in this process: an application that is made a second time, or has another one's name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any
from weakref import ref

from flask import Flask
from msgspec import Struct

from cherga.rules.own_code import is_own


class Birth(Struct, frozen=True):
    """An application that a ``Cherga`` was bound to: its code that did it, the innermost line first."""

    app: ref[Flask]
    cherga: ref[Any]
    lines: tuple[str, ...]
    key: tuple[str, str]
    """The name and the broker."""


_births: list[Birth] = []
_told: set[tuple[str, str]] = set()


def note(app: Flask, cherga: Any, name: str, broker_url: str, moves: bool) -> str | None:
    """The words on this birth beside the earlier ones, each once; None for nothing.

    ``moves``: jobs run in this application from now on, and not in the former one.
    """
    birth = Birth(ref(app), ref(cherga), tuple(_lines()), (name, broker_url))
    said = next(filter(None, (_compare(earlier, birth, moves) for earlier in _alive())), None)
    _births[:] = [*_alive(), birth]

    if app.testing or said is None or said in _told:
        return None

    _told.add(said)
    return said[1]


def _alive() -> list[Birth]:
    return [birth for birth in _births if birth.app() is not None and birth.cherga() is not None]


def _compare(earlier: Birth, birth: Birth, moves: bool) -> tuple[str, str] | None:
    """The fault of both in one process: its kind, and the words on it; None for none."""
    by_same_line = birth.lines and earlier.lines[:1] == birth.lines[:1] and _name_of(earlier) == _name_of(birth)

    if earlier.cherga() is birth.cherga() or by_same_line:
        return "again", _say_again(earlier, birth, moves)

    is_shared = earlier.key == birth.key and not birth.key[1].startswith("memory:")
    return ("name", _say_same_name(earlier, birth)) if is_shared else None


def _say_again(earlier: Birth, birth: Birth, moves: bool) -> str:
    both = (earlier.lines, birth.lines)
    differs = next((n for n, (one, other) in enumerate(zip(*both, strict=False)) if one != other), min(map(len, both)))
    at = 0 if earlier.lines == birth.lines else differs
    first, now = (lines[at] if at < len(lines) else "where the process begins" for lines in both)
    runs = f"; jobs run in the {'second' if moves else 'first'} one" if earlier.cherga() is birth.cherga() else ""
    return (
        f"the application {_name_of(birth)} is made a second time in this process: first {_at(first)}, now {_at(now)}{runs}. "
        "Make it once: a task finds it as current_app, and needs no create_app() of its own"
    )


def _say_same_name(earlier: Birth, birth: Birth) -> str:
    return (
        f"two applications of this process, {_name_of(earlier)} and {_name_of(birth)}, are both called {birth.key[0]!r} at one "
        'broker, which mixes up their jobs; give each a name of its own: app.config["CHERGA"]["name"]'
    )


def _at(line: str) -> str:
    return line if line.startswith("where") else f"at {line}"


def _name_of(birth: Birth) -> str:
    app = birth.app()
    return repr(app.name) if app is not None else "that is gone"


def _lines() -> Iterator[str]:
    """The application's own lines that led here, the innermost first."""
    frame: FrameType | None = sys._getframe(1)

    while frame is not None:
        file = frame.f_code.co_filename

        if is_own(file):
            yield f"{file}:{frame.f_lineno}"

        frame = frame.f_back
