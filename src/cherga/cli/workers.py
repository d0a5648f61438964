"""``cherga workers``."""

from __future__ import annotations

import click

from cherga.cli.options import watch_option, with_app
from cherga.cli.output import Cell, Column, Listing, Output
from cherga.cli.records import worker_record
from cherga.client.app import QueueTasks
from cherga.rules.times import iso, rough
from cherga.words.session import WorkerInfo

COLUMNS = (
    Column("WORKER", share=2),
    Column("HOST", from_width=90, share=1),
    Column("PID", right=True),
    Column("RUNNING", right=True),
    Column("SLOTS", right=True),
    Column("QUEUES", share=2),
    Column("ALIVE FOR"),
    Column("LEASE ENDS"),
)


@click.command("workers")
@watch_option
@with_app
def workers(app: QueueTasks, out: Output) -> None:
    """List the workers that are alive, oldest first.

    In a pipe: name, host, process id, running jobs, slots, queues, start and end of the lease in seconds from now, with tabs
    between them.
    """
    alive = app.broker.workers()
    now = app.clock.now()

    out.listing(
        Listing(
            columns=COLUMNS,
            rows=[_row(worker, now) for worker in alive],
            data=[worker_record(worker) for worker in alive],
            empty=f"no worker is alive for {app.home.place}; start one: {app.home.command}",
        )
    )


def _row(worker: WorkerInfo, now: float) -> list[Cell]:
    session = worker.session
    queues = ",".join(session.queues)

    return [
        Cell(session.worker, style="bold"),
        Cell(session.host),
        Cell(str(session.pid)),
        Cell(str(worker.running), style="cyan" if worker.running else ""),
        Cell(str(session.concurrency)),
        Cell(queues, shown=queues or "all"),
        _alive(session.started_at or None, now),
        Cell(f"{worker.expires_in:.3f}", shown=f"in {rough(worker.expires_in)}"),
    ]


def _alive(since: float | None, now: float) -> Cell:
    return Cell("") if since is None else Cell(iso(since) or "", shown=rough(max(0.0, now - since)))
