"""The reference of the command line is what the commands say of themselves."""

from __future__ import annotations

import click

from cherga.cli import root
from tests.docs.cli_page import PAGE, render


def test_the_page_is_made_from_the_commands() -> None:
    assert PAGE.read_text() == render(), "make it anew: python -m tests.docs.cli_page"


def test_every_command_and_option_says_what_it_does() -> None:
    silent = [place for place, text in _helps(click.Context(root, info_name="cherga")) if not text]

    assert not silent


def _helps(context: click.Context) -> list[tuple[str, str | None]]:
    command = context.command
    options = [(f"{context.command_path} {it.name}", it.help) for it in command.params if isinstance(it, click.Option)]
    below = [line for child in _children(context) for line in _helps(child)]
    return [(context.command_path, command.help), *options, *below]


def _children(context: click.Context) -> list[click.Context]:
    group = context.command

    if not isinstance(group, click.Group):
        return []

    found = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [click.Context(command, info_name=name, parent=context) for name, command in found if command]
