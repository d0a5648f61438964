"""``cherga jobs why``: what stands in a job's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import click

from cherga.cli.ids import JOB_ID
from cherga.cli.jobs.cells import state_cell
from cherga.cli.jobs.selection import find_job
from cherga.cli.options import watch_option, with_app
from cherga.cli.output import Cell, Output, Page, Section
from cherga.client.app import QueueTasks
from cherga.client.explain import Explanation
from cherga.client.handle import Job
from cherga.rules.obstacles import Obstacle
from cherga.rules.times import iso


@click.command("why")
@click.argument("id", type=JOB_ID)
@watch_option
@with_app
def why(app: QueueTasks, out: Output, id: UUID) -> None:
    """Say why the job ID is not running: what stands in its way, when it will run, and what helps.

    Of a running job it says since when and where, of one that has ended how.
    """
    job = find_job(app, id)
    out.page(make_page(job, job.explain()))


def make_page(job: Job[Any], explanation: Explanation) -> Page:
    """The page about the explanation."""
    obstacles = [pair for obstacle in explanation.obstacles for pair in _pairs(obstacle)]

    return Page(
        title=Cell(job.task_name),
        state=state_cell(job),
        sections=[
            Section("", [("id", Cell(str(job.id))), ("when", Cell(explanation.runs_when))]),
            *([Section("obstacles", obstacles)] if obstacles else []),
        ],
        data=_record(explanation),
    )


def _pairs(obstacle: Obstacle) -> Iterator[tuple[str, Cell]]:
    yield obstacle.kind.replace("_", " "), Cell(obstacle.text)

    if obstacle.remedy:
        yield "help", Cell(obstacle.remedy, style="cyan")


def _record(explanation: Explanation) -> dict[str, Any]:
    return {
        "id": str(explanation.job),
        "task": explanation.task,
        "state": explanation.state.value,
        "when": explanation.runs_when,
        "obstacles": [_obstacle(obstacle) for obstacle in explanation.obstacles],
    }


def _obstacle(obstacle: Obstacle) -> dict[str, Any]:
    return {
        "kind": obstacle.kind.value,
        "text": obstacle.text,
        "once": obstacle.once,
        "remedy": obstacle.remedy,
        "jobs": [str(id) for id in obstacle.jobs],
        "until": iso(obstacle.until.timestamp()) if obstacle.until else None,
    }
