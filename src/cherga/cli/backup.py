"""``cherga backup``."""

from __future__ import annotations

from pathlib import Path

import click

from cherga.cli.options import with_app
from cherga.cli.output import Done, Output
from cherga.client.app import QueueTasks
from cherga.doors.broker import Copied
from cherga.words.errors import ConfigError


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@with_app
def backup(app: QueueTasks, out: Output, file: Path, force: bool) -> None:
    """Copy the queue to FILE, also while it is in use.

    The copy is whole and of one moment; it can be read by its owner alone, and becomes a queue again by its name in a
    broker URL. A file that is there already is left as it is. In a pipe: file, jobs, bytes.
    """
    broker = app.broker

    if not isinstance(broker, Copied):
        raise ConfigError(
            f"expected a broker that keeps its jobs in one file, got {app.broker_url!r}; use its server's own backup"
        )

    file = file.absolute()
    jobs = broker.back_up(file, force)
    size = file.stat().st_size
    sentence = f"wrote {jobs:,} {'job' if jobs == 1 else 'jobs'} ({size:,} bytes) to {file}"
    out.done(Done(sentence, [[str(file), str(jobs), str(size)]], {"file": str(file), "jobs": jobs, "bytes": size}))
