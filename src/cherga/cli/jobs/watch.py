"""``cherga jobs watch``."""

from __future__ import annotations

from uuid import UUID

import click

from cherga.cli.ids import JOB_ID
from cherga.cli.jobs.following import follow
from cherga.cli.jobs.selection import find_job
from cherga.cli.options import with_app
from cherga.cli.output import Output
from cherga.cli.parameters import SPAN
from cherga.client.app import QueueTasks


@click.command("watch")
@click.argument("id", type=JOB_ID)
@click.option("--timeout", type=SPAN, metavar="SPAN", help="Watch at most this long, then exit code 8.")
@with_app
def watch(app: QueueTasks, out: Output, id: UUID, timeout: float | None) -> int:
    """Follow the job ID until it ends: a moving bar with its note, log lines above it, and its end.

    The exit code is 0 when the job succeeded and 1 when it did not. Ctrl-C stops watching, not the job.
    """
    return follow(app, out, find_job(app, id), timeout)
