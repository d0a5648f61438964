"""Kinds of values that options and arguments take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import click
from click.shell_completion import CompletionItem

from cherga.cli.times import read_span, read_time
from cherga.rules import options as check
from cherga.rules.elsewhere import read_state
from cherga.words.errors import ConfigError
from cherga.words.job import JobState

Complete = Callable[[click.Context, str], list[CompletionItem]]


class Read(click.ParamType):  # type: ignore[type-arg] # generic from click 8.4 on only
    """A value that ``read`` makes of a text; its ``ValueError`` says what was expected."""

    def __init__(self, name: str, read: Callable[[str], Any], complete: Complete | None = None) -> None:
        self.name = name
        self._read = read
        self._complete = complete

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of the text; a value that is no text is one already."""
        if not isinstance(value, str):
            return value

        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The completions that a shell offers for what has been typed so far."""
        return self._complete(ctx, incomplete) if self._complete else []


class Whole(click.IntRange):
    """A whole number within bounds; what is none is answered in these words."""

    name = "whole number"


def _read_id(text: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        raise ValueError(f"expected the id of a job, such as 0197c2f4-5a1b-7e30-8c4d-1f2e3d4c5b6a, got {text!r}") from None


def _read_name(text: str) -> str:
    try:
        return check.name(text, "a name")
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _read_state(text: str) -> JobState:
    try:
        return read_state(text.strip().lower())
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _complete_state(ctx: click.Context, begun: str) -> list[CompletionItem]:
    return [CompletionItem(state.value) for state in JobState if state.value.startswith(begun)]


STATE = Read("state", _read_state, _complete_state)
NEW_ID = Read("id", _read_id)
SPAN = Read("seconds", read_span)
TIME = Read("time", read_time)
NAME = Read("name", _read_name)
