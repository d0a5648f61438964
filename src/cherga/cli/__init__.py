"""Face: the command line. ``main`` is the ``cherga`` command; each command's module is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from cherga.cli.exits import ExitCode, exit_code
from cherga.cli.foreign import option_answer
from cherga.cli.lazy import Entry, LazyGroup, show_help
from cherga.cli.target import Target, target_options
from cherga.version import __version__
from cherga.words.errors import ChergaError
from cherga.worker.inherited import open_standard_streams

COMMANDS = {
    "worker": Entry("cherga.cli.worker:worker", "Run jobs."),
    "jobs": Entry("cherga.cli.jobs:jobs", "List, show, explain, enqueue, watch, retry and cancel jobs."),
    "queues": Entry("cherga.cli.queues:queues", "List, pause, resume and empty queues."),
    "schedules": Entry("cherga.cli.schedules:schedules", "List, add, change, pause, resume, run and delete schedules."),
    "limits": Entry("cherga.cli.limits:limits", "List and change limits across all workers."),
    "workers": Entry("cherga.cli.workers:workers", "List the workers that are alive."),
    "backup": Entry("cherga.cli.backup:backup", "Copy the queue to a file while it is in use."),
    "prune": Entry("cherga.cli.prune:prune", "Delete finished jobs whose time is over."),
    "completion": Entry("cherga.cli.completing:completion", "Let bash, zsh or fish complete commands, ids, tasks and queues."),
    "demo": Entry("cherga.cli.demo:demo", "Start the example application."),
}


class Root(LazyGroup):
    """The ``cherga`` command itself."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end quietly when Ctrl-C is pressed or the reader of the output goes away."""
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
            return done
        except KeyboardInterrupt:
            click.echo(err=True)
            return ExitCode.INTERRUPTED
        except BrokenPipeError:
            # What is still buffered has nowhere to go; without this the interpreter complains at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.PIPE_CLOSED


@click.command("cherga", cls=Root, entries=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="cherga")
@target_options
@click.pass_context
def root(ctx: click.Context, app_name: str | None, url: str | None, namespace: str | None) -> None:
    """Run background jobs, and look after them.

    Name the application with -A (or CHERGA_APP) or only its broker with -u (or CHERGA_BROKER_URL): before the command or
    after it.
    """
    ctx.obj = Target(app_name, url, namespace)
    ctx.invoke(show_help)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Errors of Cherga become one line on standard error."""
    open_standard_streams()

    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")

    try:
        return int(root.main(args, prog_name="cherga", standalone_mode=False) or ExitCode.OK)
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.UsageError as error:
        complain(_usage(error))
        return ExitCode.USAGE
    except click.ClickException as error:
        complain(error.format_message())
        return ExitCode.FAILED
    except ChergaError as error:
        complain(str(error))
        return exit_code(error)


def complain(message: str) -> None:
    """Write one message to standard error."""
    click.echo(f"cherga: {message}", err=True)


def _usage(error: click.UsageError) -> str:
    """Click's message in the form of all others, with the command whose help says more."""
    message = _message(error)
    message = message[:1].lower() + message[1:]
    return f"{message.rstrip('.')} (see {error.ctx.command_path} --help)" if error.ctx else message


def _message(error: click.UsageError) -> str:
    match error:
        case click.NoSuchOption():
            return _unknown_option(error)
        case click.MissingParameter():
            return " ".join(error.format_message().split())  # click lists choices one a line
        case _:
            words = error.format_message().rstrip(".")
            is_stray = "unexpected extra" in words and error.ctx is not None and error.ctx.info_name == "worker"
            return f"{words}; the application is named with -A, its queues with -q" if is_stray else words


def _unknown_option(error: click.NoSuchOption) -> str:
    if answer := option_answer(error.ctx.info_name if error.ctx else None, error.option_name):
        return f"no such option {error.option_name!r}; {answer}"

    hint = f"; did you mean {' or '.join(sorted(error.possibilities))}?" if error.possibilities else ""
    return f"no such option {error.option_name!r}{hint}"
