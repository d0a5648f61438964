"""``flask cherga …``: the commands of ``cherga``, on the application that Flask finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from flask.cli import ScriptInfo, pass_script_info

from cherga.cli import COMMANDS, Root, complain
from cherga.cli.exits import exit_code
from cherga.cli.lazy import show_help
from cherga.cli.target import Target
from cherga.words.errors import ChergaError, LoadError


class FlaskRoot(Root):
    """Ends as ``cherga`` does: errors become one line, and the exit codes are the same."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and end with its code."""
        try:
            code = super().invoke(ctx)
        except ChergaError as error:
            complain(str(error))
            code = exit_code(error)

        ctx.exit(int(code or 0))


# A plain group: flask's own AppGroup would push an application context, and each job has one of its own.
@click.command("cherga", cls=FlaskRoot, entries={name: entry for name, entry in COMMANDS.items() if name != "demo"})
@pass_script_info
@click.pass_context
def group(ctx: click.Context, info: ScriptInfo) -> None:
    """Run background jobs, and look after them."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = Target(app=find_target(info))

    ctx.invoke(show_help)


def find_target(info: ScriptInfo) -> str:
    """The address by which another process loads the same application. Raises ``LoadError`` where there is none."""
    if info.create_app is None:
        return f"flask:{info.app_import_path or ''}"

    return _place_of(info.create_app)


def _place_of(factory: Callable[..., Any]) -> str:
    module, name = getattr(factory, "__module__", ""), getattr(factory, "__qualname__", "")

    if module in {"", "__main__"} or not name or "<" in name:
        raise LoadError(
            "expected the factory of this command to be importable, so that worker processes can call it, but it is "
            f"{factory!r}; use cherga -A package:create_app instead"
        )

    return f"{module}:{name}"
