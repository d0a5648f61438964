"""Ids of jobs on the command line: whole, or as few of their first or last digits as tell one job from all others."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import click
from click.shell_completion import CompletionItem
from msgspec import Struct

from cherga.cli.completing import offer
from cherga.cli.parameters import Read
from cherga.client.app import QueueTasks
from cherga.words.errors import JobNotFound
from cherga.words.inspection import JobFilter
from cherga.words.job import JobRow

SHORTEST = 4
SHOWN, OFFERED = 5, 30
"""Jobs that are listed where an id fits several, and those that a shell offers: the newest."""
_DIGITS = re.compile(r"[0-9a-f-]+")


class ShortId(Struct, frozen=True):
    """The first digits of an id or the last ones, without hyphens."""

    digits: str
    is_end: bool = False
    """The last ones are meant: an ellipsis stood before them."""


def whole_ids(app: QueueTasks, wish: dict[str, Any]) -> dict[str, Any]:
    """The options of a command with whole ids in place of short ones. Raises ``JobNotFound`` and ``click.UsageError``."""
    return {name: _whole(app, value) for name, value in wish.items()}


def _whole(app: QueueTasks, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_whole(app, each) for each in value)

    return _look_up(app, value) if isinstance(value, ShortId) else value


def _look_up(app: QueueTasks, short: ShortId) -> UUID:
    begun = [] if short.is_end else app.broker.find(JobFilter(id_begins=short.digits), SHOWN + 1)
    rows = begun or app.broker.find(JobFilter(id_ends=short.digits), SHOWN + 1)

    if not rows:
        either = "ends" if short.is_end else "begins or ends"
        raise JobNotFound(f"no job whose id {either} with {short.digits} is kept: it never existed, or was pruned")

    if len(rows) > 1:
        raise click.UsageError(_ambiguous(short, rows, bool(begun)), click.get_current_context())

    return rows[0].id


def _ambiguous(short: ShortId, rows: list[JobRow], begun: bool) -> str:
    shown = ", ".join(f"{row.id} ({row.task}, {row.state})" for row in rows[:SHOWN])
    more = ", …" if len(rows) > SHOWN else ""
    hint = "; the last digits of an id will do, and tell it better" if begun else ""
    return f"expected the id of one job, but several {'begin' if begun else 'end'} with {short.digits}: {shown}{more}{hint}"


def _read(text: str) -> UUID | ShortId:
    given = text.strip().lower()
    digits = given.removeprefix("…").removeprefix("...")

    try:
        return UUID(digits)
    except ValueError:
        short = digits.replace("-", "")

    if _DIGITS.fullmatch(digits) and SHORTEST <= len(short) < 32:
        return ShortId(short, is_end=digits != given)

    raise ValueError(
        "expected the id of a job, such as 0197c2f4-5a1b-7e30-8c4d-1f2e3d4c5b6a, or at least its first "
        f"or last {SHORTEST} digits, got {text!r}"
    )


def _complete(ctx: click.Context, begun: str) -> list[CompletionItem]:
    digits = begun.lower().replace("-", "").removeprefix("…")
    return offer(ctx, lambda app: map(_item, _fitting(app, digits)))


def _fitting(app: QueueTasks, digits: str) -> list[JobRow]:
    begun = app.broker.find(JobFilter(id_begins=digits), OFFERED)
    return begun or app.broker.find(JobFilter(id_ends=digits), OFFERED)


def _item(row: JobRow) -> CompletionItem:
    return CompletionItem(str(row.id), help=f"{row.task} {row.state}")


JOB_ID = Read("id", _read, _complete)
"""The id of a job that is kept; may be shortened."""
