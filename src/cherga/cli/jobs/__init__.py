"""The ``cherga jobs`` group."""

from __future__ import annotations

import click

from cherga.cli.lazy import Entry, LazyGroup, show_help

COMMANDS = {
    "list": Entry("cherga.cli.jobs.list:list_jobs", "List jobs, newest first."),
    "show": Entry("cherga.cli.jobs.show:show", "Show everything about a job."),
    "why": Entry("cherga.cli.jobs.why:why", "Say why a job is not running."),
    "enqueue": Entry("cherga.cli.jobs.enqueue:enqueue", "Enqueue a job by the name of its task."),
    "watch": Entry("cherga.cli.jobs.watch:watch", "Follow a job until it ends."),
    "logs": Entry("cherga.cli.jobs.logs:logs", "Print what a job told with ctx.log."),
    "retry": Entry("cherga.cli.jobs.retry:retry", "Run jobs again."),
    "cancel": Entry("cherga.cli.jobs.cancel:cancel", "Cancel jobs."),
}


@click.command("jobs", cls=LazyGroup, entries=COMMANDS)
@click.pass_context
def jobs(ctx: click.Context) -> None:
    """List, show, explain, enqueue, retry, cancel and watch jobs."""
    ctx.invoke(show_help)
