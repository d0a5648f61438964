"""Output of a command as values; a terminal, a pipe and ``--json`` each write them in their own way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast

import click
from msgspec import Struct

from cherga.client.handle import Job
from cherga.client.live import LiveUpdate

WIDE = 110
"""Columns of a terminal from which on nothing has to be cut."""


class Cell(Struct, frozen=True):
    """A value: ``text`` for machines, ``shown`` for people where that differs."""

    text: str
    shown: str | None = None
    style: str = ""
    percent: float | None = None
    """Draw a bar this full before the text, where there is a terminal."""

    @property
    def human(self) -> str:
        return self.text if self.shown is None else self.shown


class Column(Struct, frozen=True):
    """A column of a listing."""

    title: str
    brief: int = 0
    """On a terminal with fewer than ``WIDE`` columns its cells are shown by so many of their last characters; 0: never."""
    from_width: int = 0
    """Left out on a terminal with fewer columns than this."""
    share: int = 0
    """0: as wide as its longest cell. Else it takes this share of what is left, and longer cells are cut."""
    right: bool = False


class Listing(Struct, frozen=True):
    """A table. ``data`` is the same for ``--json``."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    data: Sequence[dict[str, Any]]
    empty: str
    """The sentence for no rows."""
    footer: str | None = None


class Section(Struct, frozen=True):
    """Part of a page: named values, then perhaps a block of text."""

    name: str
    pairs: Sequence[tuple[str, Cell]] = ()
    block: str | None = None


class Page(Struct, frozen=True):
    """The whole of what is known about a job."""

    title: Cell
    state: Cell
    sections: Sequence[Section]
    data: dict[str, Any]


class Done(Struct, frozen=True):
    """The report of a command on what it did: a sentence for people, lines of fields for a pipe, data for ``--json``."""

    sentence: str
    lines: Sequence[Sequence[str]]
    data: Any
    hint: str | None = None
    good: bool = True


Follow = Callable[[Job[Any], LiveUpdate], None]


class Output(Protocol):
    """The stream to which a command writes."""

    def listing(self, listing: Listing) -> None:
        """Write a table."""
        ...

    def page(self, page: Page) -> None:
        """Write a page."""
        ...

    def done(self, done: Done) -> None:
        """Say what was done."""
        ...

    def follow(self) -> AbstractContextManager[Follow]:
        """Show the updates of one job as they come."""
        ...

    def log(self, job: Job[Any], line: str) -> None:
        """Write one log line of a job."""
        ...

    def repeat(self, show: Callable[[], object]) -> None:
        """Call ``show`` again and again, each time in place of what it wrote before, until Ctrl-C."""
        ...

    def ended(self, job: Job[Any]) -> None:
        """Show how a job that was followed ended."""
        ...

    def counting(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show how far a long command is; call the value with the number of steps done since the last call."""
        ...


def open_output(as_json: bool) -> Output:
    """JSON when it was asked for, tables and bars on a terminal, plain lines in a pipe."""
    if as_json:
        return cast(Output, import_module("cherga.cli.output.documents").Documents())

    # Opened by name, so that a pipe does not pay for rich.
    place, name = ("screen", "Screen") if sys.stdout.isatty() else ("lines", "Lines")
    return cast(Output, getattr(import_module(f"cherga.cli.output.{place}"), name)())


def refuse_to_repeat() -> NoReturn:
    """Raise ``click.UsageError``: only a terminal can be written over."""
    raise click.UsageError("expected a terminal for --watch; in a script call the command again", click.get_current_context())


def note(message: str) -> None:
    """Say something beside the output, on standard error."""
    click.echo(f"cherga: {message}", err=True)
