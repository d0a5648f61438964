"""A job's facts as cells of tables and pages."""

from __future__ import annotations

from typing import Any

from cherga.cli.output import Cell
from cherga.cli.values import call_text, shorten
from cherga.client.handle import Job
from cherga.rules.times import from_now, iso, rough
from cherga.words.job import JobState, Progress

STYLES = {
    JobState.SCHEDULED: "magenta",
    JobState.READY: "blue",
    JobState.BLOCKED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
}


def state_cell(job: Job[Any]) -> Cell:
    """The state of the job."""
    return Cell(job.status.value, style=STYLES[job.row.state])


def call_cell(job: Job[Any]) -> Cell:
    """Task and arguments as a call."""
    return Cell(job.task_name, shown=f"{job.task_name}({shorten(call_text(job.arguments), 200)})")


def when_cell(job: Job[Any], now: float) -> Cell:
    """The time that matters in the job's state: when it ends the wait, started or ended."""
    row = job.row

    match job.status:
        case JobState.SCHEDULED if row.run_at is not None:
            return _time(row.run_at, now)
        case JobState.RUNNING if row.started_at is not None:
            return Cell(iso(row.started_at) or "", shown=f"for {rough(max(0.0, now - row.started_at))}")
        case state if state.final and row.finished_at is not None:
            return _time(row.finished_at, now)
        case _:
            return _time(row.enqueued_at, now)


def progress_text(progress: Progress) -> str:
    """``34 %  340 of 1000  writing page 3``, as far as it is known."""
    percent = "" if progress.percent is None else f"{progress.percent:.0f} %"
    count = f"{progress.done:,.10g}" if progress.total is None else f"{progress.done:,.10g} of {progress.total:,.10g}"
    return "  ".join(part for part in (percent, count, progress.note) if part)


def note_cell(job: Job[Any]) -> Cell:
    """The words that matter in the job's state: progress, error, or description."""
    if job.status is JobState.RUNNING and job.progress:
        return Cell(progress_text(job.progress))

    if job.status is JobState.FAILED:
        return Cell(f"{job.error.type}: {job.error.message}" if job.error else job.message or job.reason or "")

    if job.status is JobState.CANCELLED:
        return Cell(job.message or job.reason or "")

    return Cell(job.description or "", style="dim")


def _time(then: float, now: float) -> Cell:
    return Cell(iso(then) or "", shown=from_now(then, now))
