"""Makes ``docs/reference/cli.md`` from the commands themselves: ``python -m tests.docs.cli_page``."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click

from cherga.cli import root
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Every command ends with one of the [exit codes](exit-codes.md). On a terminal it prints tables and progress bars, in a pipe
plain lines, with `--json` JSON.

This page is made from the commands' own help.
"""
HELP = ("-h, --help", "Show this message and exit.")


def render() -> str:
    """The page as it should be."""
    context = click.Context(root, info_name="cherga")
    return "\n".join([HEAD, *_command(context)])


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## `{context.command_path}`\n"
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```\n"
    yield f"{_text(command.help)}\n"
    yield from _options(context)

    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _command(click.Context(child, info_name=name, parent=context))


def _options(context: click.Context) -> Iterator[str]:
    # The help option is made once for each command, with the names of whichever context asked first.
    parameters = [parameter for parameter in context.command.get_params(context) if "--help" not in parameter.opts]
    records = [record for parameter in parameters if (record := parameter.get_help_record(context))]
    yield "| option | meaning |\n| --- | --- |"
    yield from (f"| `{_cell(option)}` | {_cell(meaning)} |" for option, meaning in [*records, HELP])
    yield ""


def _text(help: str | None) -> str:
    return cleandoc(help or "").replace("\b\n", "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
