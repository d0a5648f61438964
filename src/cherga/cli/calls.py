"""A call as the command line takes it: the name of a task, and its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from cherga.cli.known import known_tasks
from cherga.cli.output import note
from cherga.cli.values import read_value
from cherga.client.app import QueueTasks
from cherga.client.publish import find_published
from cherga.rules.options import nearest
from cherga.words.errors import UnknownTask

ARG_HELP = "An argument by name; may be repeated."
FORCE_HELP = "Also when no task of that name is known."

Call = tuple[list[Any], dict[str, Any]]


def read_call(args: Sequence[str], named: Iterable[str]) -> Call:
    """The arguments, each as JSON where it can be read as JSON, else as text. Raises ``click.UsageError``."""
    return [read_value(text) for text in args], read_named(named)


def read_named(named: Iterable[str]) -> dict[str, Any]:
    """The value of ``--arg KEY=VALUE``. Raises ``click.UsageError``."""
    pairs = [_read_pair(text) for text in named]
    names = [name for name, _ in pairs]

    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"expected each argument once, got {name} {names.count(name)} times")

    return dict(pairs)


def check_known(app: QueueTasks, name: str, force: bool) -> None:
    """Raise ``UnknownTask`` for a name that neither the code nor a worker has told: no worker would ever run such a job."""
    if name in (known := known_tasks(app)) or find_published(app.broker, name) is not None:
        return

    if known and not force:
        raise UnknownTask(f"unknown task {name!r}{nearest(name, known)} (--force takes it all the same)")

    if not known:
        note(f"no worker has told this broker its tasks yet; {name} is taken as it is")


def _read_pair(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")

    if not found or not name.isidentifier():
        raise click.UsageError(f"expected --arg as KEY=VALUE, got {text!r}")

    return name, read_value(value)
