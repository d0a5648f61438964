"""The reference of the command line is what the commands say of themselves."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from cherga.cli import root
from tests.docs.cli_page import PAGE, render
from tests.docs.pages import FENCE, blocks, name_of, pages


def test_the_page_is_made_from_the_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "make it anew: python -m tests.docs.cli_page"


def test_every_command_and_option_says_what_it_does() -> None:
    silent = [place for place, text in _helps(click.Context(root, info_name="cherga")) if not text]

    assert not silent


def test_every_command_that_a_page_shows_exists_with_its_options() -> None:
    shown = [(name_of(page), line) for page in pages() for line in _commands(page)]
    wrong = [(page, line, word) for page, line in shown if (word := _unknown_word(shlex.split(line, comments=True)))]

    assert shown
    assert not wrong


def _commands(page: Path) -> list[str]:
    """What is shown of the command line, in blocks for shells and in running text."""
    text = page.read_text(encoding="utf-8")
    shown = "\n".join(block.text for language in ("sh", "console") for block in blocks(page, language))
    inline = re.findall(r"(?<!`)`cherga ([^`]+)`", FENCE.sub("", text))
    return [*re.findall(r"^(?:\$ |id=\$\()?cherga ((?:[^\n)|&]|\\\n)+)", shown, re.MULTILINE), *inline]


def _unknown_word(words: list[str]) -> str | None:
    """The first word that is neither a command nor an option of it."""
    command: click.Command = root

    while isinstance(command, click.Group) and words and words[0].isalpha():
        child = command.get_command(click.Context(command), words[0])

        if child is None:
            return words[0]

        command, words = child, words[1:]

    known = {option for it in command.params for option in it.opts} | {"--help"}
    return next((word for word in words if word.startswith("--") and word != "--" and word not in known), None)


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
