"""``cherga jobs logs``."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import click

from cherga.cli.ids import JOB_ID
from cherga.cli.jobs.selection import find_job
from cherga.cli.options import with_app
from cherga.cli.output import Output, note
from cherga.client.app import QueueTasks
from cherga.client.live import LiveUpdate, look


@click.command("logs")
@click.argument("id", type=JOB_ID)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends, or Ctrl-C.")
@with_app
def logs(app: QueueTasks, out: Output, id: UUID, follow: bool) -> None:
    """Print the log lines of the job ID, oldest first: what it told with ctx.log, of all its attempts.

    The last thousand lines and values of a job are kept with it.
    """
    job = find_job(app, id)
    told = 0

    for update in app.watch(id) if follow else _kept(app, id):
        told += len(update.logs)

        for line in update.logs:
            out.log(job, line)

    if not told:
        note(f"job {id} ({job.task_name}) has told nothing; a task tells with ctx.log(...)")


def _kept(app: QueueTasks, id: UUID) -> Iterator[LiveUpdate]:
    """The lines that are there now, page by page."""
    update = look(app, id)
    yield update

    while update.full:
        update = look(app, id, update.position)
        yield update
