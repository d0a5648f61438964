"""``cherga jobs list``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import click

from cherga.cli.ids import JOB_ID
from cherga.cli.jobs.cells import call_cell, note_cell, state_cell, when_cell
from cherga.cli.jobs.selection import filter_options, find_job, make_filter, newest_first
from cherga.cli.known import doubt
from cherga.cli.options import watch_option, with_app
from cherga.cli.output import WIDE, Cell, Column, Listing, Output
from cherga.cli.parameters import Whole
from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.client.records import job_record
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState

BRIEF = 8
"""The last digits of an id, which are chance: enough for the eye, and for every command. Those of one time begin alike."""


def columns_for(jobs: Sequence[Job[Any]]) -> tuple[Column, ...]:
    """The table's columns. Notes need a wide terminal, but why a job failed is shown on every one."""
    failed = [job.status is JobState.FAILED for job in jobs]

    return (
        Column("ID", brief=BRIEF),
        Column("STATE"),
        Column("JOB", share=1),
        Column("QUEUE", from_width=WIDE),
        Column("WHEN"),
        Column("ERROR" if failed and all(failed) else "NOTE", from_width=0 if any(failed) else WIDE, share=1),
    )


@click.command("list")
@filter_options
@click.option("--unfinished", is_flag=True, help="Only jobs that have not ended.")
@click.option("-n", "--limit", type=Whole(min=0), metavar="N", default=30, show_default=True, help="Jobs at most; 0 for all.")
@click.option("--before", type=JOB_ID, metavar="ID", help="Only jobs older than this one: the next page.")
@watch_option
@with_app
def list_jobs(app: QueueTasks, out: Output, unfinished: bool, limit: int, before: UUID | None, **wish: Any) -> None:
    """List jobs, newest first.

    In a pipe: id, state, task, queue, time and note, with tabs between them.
    """
    where = make_filter(unfinished=unfinished, **wish)
    start = find_job(app, before).row.sequence if before else None
    found = list(newest_first(app, where, limit + 1 if limit else None, start))
    jobs = found[:limit] if limit else found
    footer = f"more: --before {jobs[-1].id}, or --limit 0 for all" if len(found) > len(jobs) else None

    if not jobs:
        footer = doubt(app, where)

    out.listing(make_listing(jobs, app.clock.now(), where, footer))


def make_listing(jobs: Sequence[Job[Any]], now: float, where: JobFilter, footer: str | None = None) -> Listing:
    """The table of these jobs."""
    return Listing(
        columns=columns_for(jobs),
        rows=[_row(job, now) for job in jobs],
        data=[job_record(job) for job in jobs],
        empty="no jobs yet" if where == JobFilter() else footer or "no jobs match",
        footer=footer,
    )


def _row(job: Job[Any], now: float) -> list[Cell]:
    return [Cell(str(job.id)), state_cell(job), call_cell(job), Cell(job.queue), when_cell(job, now), note_cell(job)]
