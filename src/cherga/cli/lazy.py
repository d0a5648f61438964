"""``LazyGroup``: a group whose commands are imported when they are called, so that ``--help`` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, cast

import click

from cherga.cli.foreign import command_answer
from cherga.rules.options import nearest


class Entry(NamedTuple):
    """A command of a group: where it stands (``module:attribute``), and its line in the help."""

    place: str
    help: str


class LazyGroup(click.Group):
    """A group that knows its commands by name and place. Called without a command it prints its help."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **options: Any) -> None:
        super().__init__(*args, **{"callback": show_help, "invoke_without_command": True, **options})
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order they were declared: the most used first."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, None when there is none of that name."""
        if cmd_name not in self.entries:
            return None

        return cast(click.Command, _find(self.entries[cmd_name].place))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, as click finds it; an unknown one offers the nearest."""
        name = args[0]

        if name not in self.entries and not name.startswith("-") and not ctx.resilient_parsing:  # a line is being typed
            raise click.UsageError(f"unknown command {name!r}{self._hint(name)}", ctx)

        return super().resolve_command(ctx, args)

    def _hint(self, name: str) -> str:
        answer = command_answer(name)
        return f"; {answer}" if answer else nearest(name, self.entries)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])


def complete_later(place: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """What completes a value (``module:attribute``), imported when the Tab key is pressed."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[Any]:
        return cast(list[Any], _find(place)(ctx, param, begun))

    return complete


def _find(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@click.pass_context
def show_help(ctx: click.Context, /, **_: object) -> None:
    """Print the group's help when no command was named."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
