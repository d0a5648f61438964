"""``cherga prune``."""

from __future__ import annotations

import click

from cherga.cli.options import with_app
from cherga.cli.output import Done, Output
from cherga.client.app import QueueTasks

PAGE = 500


@click.command("prune")
@with_app
def prune(app: QueueTasks, out: Output) -> None:
    """Delete finished jobs whose time is over, and the oldest ones beyond the caps.

    Workers do this by themselves; this does it now. A job that another one waits for stays.
    """
    pruned = _prune_all(app)
    sentence = f"pruned {pruned:,} {'job' if pruned == 1 else 'jobs'}" if pruned else "nothing to prune"
    out.done(Done(sentence, [[str(pruned)]], {"pruned": pruned}))


def _prune_all(app: QueueTasks) -> int:
    """In small steps, so that workers are never held up."""
    total = 0

    while count := app.broker.prune(PAGE):
        total += count

    return total
