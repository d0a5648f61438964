"""``cherga worker``."""

from __future__ import annotations

from typing import Any

import click

from cherga.cli.lazy import complete_later
from cherga.cli.parameters import SPAN, Whole
from cherga.cli.target import APP, Target, app_option, choose_target, url_option
from cherga.words.errors import ConfigError
from cherga.worker import supervisor
from cherga.worker.options import DEFAULT_CONCURRENCY, DEFAULT_THREADS, WorkerOptions, parse_queues

LEVELS = click.Choice(["debug", "info", "warning", "error"], case_sensitive=False)
FORMATS = click.Choice(["text", "json"])
COUNT = Whole(min=1)
QUEUES = complete_later("cherga.cli.completing:complete_queues")
THREADS_HELP = "def tasks side by side in each process."
CONCURRENCY_HELP = "async def tasks side by side in each process."
LEVELS_HELP = "debug, info, warning or error.  [default: info]"
FORMATS_HELP = "text or json, one object a line.  [default: text]"
GRACE_HELP = "How long jobs may go on after a stop signal.  [default: the application's]"
STRICT_HELP = "End with code 9 where the check at the start finds what is wrong, such as a missing table."
QUEUES_HELP = "a,b in strict order, or a=3,b=1 by weight; may be repeated."


@click.command("worker")
@click.option("--processes", type=COUNT, metavar="N", default=1, show_default=True, help="Worker processes.")
@click.option("--threads", type=COUNT, metavar="N", default=DEFAULT_THREADS, show_default=True, help=THREADS_HELP)
@click.option("--concurrency", type=COUNT, metavar="N", default=DEFAULT_CONCURRENCY, show_default=True, help=CONCURRENCY_HELP)
@click.option("-q", "--queue", "queues", multiple=True, metavar="QUEUES", shell_complete=QUEUES, help=QUEUES_HELP)
@click.option("--burst", is_flag=True, help="End when no job is ready or running.")
@click.option("--reload", is_flag=True, help="Restart when the code changes; for development.")
@click.option("--strict", is_flag=True, help=STRICT_HELP)
@click.option("--name", metavar="NAME", help="The worker's name.  [default: host and process id]")
@click.option("--grace", type=SPAN, metavar="SPAN", help=GRACE_HELP)
@click.option("--log-level", type=LEVELS, metavar="LEVEL", default="info", help=LEVELS_HELP)
@click.option("--log-format", type=FORMATS, metavar="FORMAT", default="text", help=FORMATS_HELP)
@app_option
@url_option
@click.pass_context
def worker(ctx: click.Context, /, app_name: str | None, url: str | None, queues: tuple[str, ...], **wish: Any) -> int:
    """Run jobs until a signal.

    The first SIGTERM or Ctrl-C drains: what runs may finish within the grace time, nothing new starts. The second stops now.
    """
    target = choose_target(ctx, Target(app_name, url))

    if target.app is None:
        raise click.UsageError(f"expected an application: -A module:app, or {APP} in the environment", ctx)

    try:
        names, weights = parse_queues(queues)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param_hint="--queue") from error

    return supervisor.run(WorkerOptions(app=target.app, url=target.url, queues=names, weights=weights, **wish))
