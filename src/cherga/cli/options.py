"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from typing import Any, TypeVar

import click

from cherga.cli.ids import whole_ids
from cherga.cli.output import open_output
from cherga.cli.target import Target, choose_target, open_app
from cherga.words.errors import ConfigError

Command = Callable[..., int | None]
F = TypeVar("F", bound=Callable[..., Any])

APP_HELP = "The application: module:name.  [env: CHERGA_APP]"
URL_HELP = "The broker.  [env: CHERGA_BROKER_URL]"
NAMESPACE_HELP = "The application's name, where -u does not tell it.  [env: CHERGA_NAMESPACE]"


app_option = click.option("-A", "--app", "app_name", metavar="TARGET", help=APP_HELP)
url_option = click.option("-u", "--url", metavar="URL", help=URL_HELP)
namespace_option = click.option("--namespace", metavar="NAME", help=NAMESPACE_HELP)


def target_options(function: F) -> F:
    """Add ``-A``, ``-u`` and ``--namespace``, passed on as ``app_name``, ``url`` and ``namespace``."""
    return app_option(url_option(namespace_option(function)))


watch_option = click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
"""For commands that show how things stand; ``with_app`` heeds it."""


def with_app(function: Command) -> Command:
    """Give the command the opened application and where to write: ``app`` and ``out``."""

    @target_options
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_context
    def run(
        ctx: click.Context,
        /,
        app_name: str | None,
        url: str | None,
        namespace: str | None,
        as_json: bool,
        watch: bool = False,
        **rest: Any,
    ) -> int | None:
        with open_app(choose_target(ctx, Target(app_name, url, namespace))) as app:
            out = open_output(as_json)
            show = partial(function, app=app, out=out, **whole_ids(app, rest))

            if not watch:
                return show()

            out.repeat(show)
            return None

    return update_wrapper(run, function)


@contextmanager
def reading_options() -> Iterator[None]:
    """In the block a ``ConfigError`` is about what stands on the command line, not about a setting."""
    try:
        yield
    except ConfigError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
