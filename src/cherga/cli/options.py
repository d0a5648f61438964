"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from typing import Any, TypeVar

import click

from cherga.cli.ids import whole_ids
from cherga.cli.opening import open_app
from cherga.cli.output import open_output
from cherga.cli.target import Target, choose_target, target_options
from cherga.words.errors import ConfigError

Command = Callable[..., int | None]
F = TypeVar("F", bound=Callable[..., Any])

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
