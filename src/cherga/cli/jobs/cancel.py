"""``cherga jobs cancel``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click
from msgspec.structs import replace

from cherga.cli.ids import JOB_ID
from cherga.cli.jobs.bulk import CANCEL, move_matching, move_named
from cherga.cli.jobs.selection import filter_options, ids_or_filter
from cherga.cli.options import with_app
from cherga.cli.output import Output
from cherga.client.app import QueueTasks


@click.command("cancel")
@click.argument("ids", nargs=-1, type=JOB_ID, metavar="[ID]...")
@filter_options
@click.option("-m", "--message", metavar="TEXT", help="Kept with the job: why.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_app
def cancel(app: QueueTasks, out: Output, ids: tuple[UUID, ...], message: str | None, yes: bool, **wish: Any) -> int:
    """Cancel jobs: those named by ID, or all that match.

    Jobs that wait are cancelled at once, running ones are asked to stop. Without --state all unfinished jobs match.
    """
    where = ids_or_filter(ids, **wish)
    order = replace(CANCEL, message=message)
    return move_named(app, out, order, ids) if where is None else move_matching(app, out, order, where, yes)
