"""The way to what a command works on: the application with its broker open, or the broker alone."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path

import click

from cherga.cli.namespace import namespace_in, queue_file
from cherga.cli.target import APP, Target
from cherga.client.app import BROKER_URL, QueueTasks
from cherga.rules.urls import DEFAULT_FILE, as_url, masked
from cherga.words.errors import BrokerUnusable
from cherga.worker.load import load_app


def open_app(target: Target) -> AbstractContextManager[QueueTasks]:
    """The application with its broker open, closed at the end of the ``with`` block.

    With an application its code is imported; with a URL alone no user code is. Raises ``LoadError``, ``ConfigError``, a
    ``BrokerError``, or ``click.UsageError`` when neither is named.
    """
    app = _load(target.app, target.url) if target.app else _without_code(target)

    if app.broker_url.startswith("memory:"):
        raise BrokerUnusable(
            f"expected a broker that several processes share, got {masked(app.broker_url)!r}, which lives inside the process "
            "that opened it; use -u sqlite:///… or another broker"
        )

    app.broker.open()
    return closing(app)


def _load(name: str, url: str | None) -> QueueTasks:
    app = load_app(name)

    if url:
        app.close()
        app.broker_url = url

    return app


def _without_code(target: Target) -> QueueTasks:
    url = target.url or os.environ.get(BROKER_URL) or _default_url()
    path = queue_file(url)

    if path is not None and not path.exists():
        raise BrokerUnusable(f"expected a queue file at {path}, found none; start a worker or name the application with -A")

    return QueueTasks(target.namespace or namespace_in(url) or QueueTasks.name, url)


def _default_url() -> str:
    """The one queue file of the working directory that has a default's name."""
    found = sorted({*Path().glob(DEFAULT_FILE), *Path().glob(f"*.{DEFAULT_FILE}")})

    if len(found) == 1:
        return as_url(found[0])

    here = (
        f"several are here: {', '.join(map(str, found))}"
        if found
        else f"there is no {DEFAULT_FILE} or NAME.{DEFAULT_FILE} here"
    )
    raise click.UsageError(f"expected an application (-A module:app or {APP}) or a broker (-u URL or {BROKER_URL}), and {here}")
