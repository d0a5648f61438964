"""``cherga jobs retry``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from cherga.cli.ids import JOB_ID
from cherga.cli.jobs.bulk import RETRY, move_matching, move_named
from cherga.cli.jobs.selection import filter_options, ids_or_filter
from cherga.cli.options import with_app
from cherga.cli.output import Output
from cherga.client.app import QueueTasks


@click.command("retry")
@click.argument("ids", nargs=-1, type=JOB_ID, metavar="[ID]...")
@filter_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_app
def retry(app: QueueTasks, out: Output, ids: tuple[UUID, ...], yes: bool, **wish: Any) -> int:
    """Run jobs again, from attempt 0: those named by ID, or all that match.

    Without --state only failed jobs match. Cancelled and succeeded jobs can be run again too; a scheduled one runs now.
    """
    where = ids_or_filter(ids, **wish)
    return move_named(app, out, RETRY, ids) if where is None else move_matching(app, out, RETRY, where, yes)
