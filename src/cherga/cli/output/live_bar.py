"""The bar that moves while a job is followed."""

from __future__ import annotations

from typing import Any, Self, TypedDict

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from cherga.cli.values import json_text, printable, shorten, unpack
from cherga.client.handle import Job
from cherga.client.live import LiveUpdate
from cherga.rules.times import span
from cherga.words.clock import SystemClock
from cherga.words.job import JobState

LONGEST_TITLE = 28
LONGEST_RESULT = 500

WAITING = {
    JobState.SCHEDULED: "waits for its time",
    JobState.READY: "waits for a worker",
    JobState.BLOCKED: "waits for other jobs",
}


class BarStyles(TypedDict):
    """The colours of a bar."""

    style: str
    complete_style: str
    finished_style: str
    pulse_style: str


BAR_STYLES: BarStyles = {"style": "bright_black", "complete_style": "cyan", "finished_style": "green", "pulse_style": "cyan"}
"""Colours from the terminal's own palette, which suits light and dark alike."""


class LiveBar:
    """A line at the bottom: what, bar, percent, count, time, note. Log lines scroll by above it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(*_columns(), console=console, transient=True, expand=True)
        self._shown = False
        self._unserved = ""
        self._task = self._progress.add_task("", total=None, percent="", count="", note="", started=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def show(self, job: Job[Any], update: LiveUpdate) -> None:
        """Print what came and redraw the line."""
        if not self._shown:
            self._progress.console.print(Text(f"{printable(job.task_name)}  {job.id}", style="dim"))
            self._shown = True

        if update.unserved and update.unserved != self._unserved:  # whole: the line below has no room for what helps
            self._unserved = update.unserved
            self._progress.console.print(Text(printable(update.unserved), style="yellow"))

        for line in update.logs:
            self._progress.console.print(Text(printable(line), style="dim"))

        for value in update.values:
            self._progress.console.print(Text(f"→ {printable(json_text(value))}"))

        title = shorten(printable(update.description or job.task_name), LONGEST_TITLE)
        started = job.row.started_at if update.state is JobState.RUNNING else None
        self._progress.update(self._task, description=title, started=started, **_fields(job, update))


class _Elapsed(ProgressColumn):
    """The time that the attempt has run."""

    _clock = SystemClock()

    def render(self, task: Task) -> Text:
        started = task.fields["started"]
        return Text("" if started is None else span(max(1.0, self._clock.now() - started)), style="dim")


def _columns() -> tuple[ProgressColumn, ...]:
    note = Column(no_wrap=True, overflow="ellipsis", ratio=1)

    return (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=10), **BAR_STYLES),
        TextColumn("{task.fields[percent]}", style="bold", markup=False),
        TextColumn("{task.fields[count]}", markup=False),
        _Elapsed(),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
    )


def _fields(job: Job[Any], update: LiveUpdate) -> dict[str, Any]:
    """The columns of the line for this update."""
    progress = update.progress

    if progress is None or (update.state in WAITING and not (update.of_group and progress.total)):
        note = printable(update.unserved).partition(";")[0] or _waiting(job, update.state)
        return {"total": None, "completed": 0, "percent": "", "count": "", "note": note}

    return {
        "total": progress.total,
        "completed": progress.done,
        "percent": "" if progress.percent is None else f"{progress.percent:.0f} %",
        "count": f"{progress.done:,.10g}" if progress.total is None else f"{progress.done:,.10g}/{progress.total:,.10g}",
        "note": printable(progress.note),
    }


def _waiting(job: Job[Any], state: JobState) -> str:
    """The jobs or the time that the job waits for; empty when it runs."""
    if state is JobState.SCHEDULED and job.attempt:
        return f"waits for attempt {job.attempt + 1}"

    return WAITING.get(state, "")


def end_of(job: Job[Any]) -> Text:
    """The end of the job, in a line or two."""
    name = printable(job.task_name)

    match job.status:
        case JobState.SUCCEEDED:
            result = shorten(printable(json_text(unpack(job.row.result))), LONGEST_RESULT)
            return Text.assemble(("✓ ", "green"), (name, "bold"), f" succeeded{_took(job)}: {result}")
        case JobState.CANCELLED:
            return Text.assemble(("- ", "yellow"), (name, "bold"), f" was cancelled ({job.reason}){_said(job.message)}")
        case _:
            error = f"{job.error.type}: {job.error.message}" if job.error else job.message
            hint = (f"\n  cherga jobs show {job.id} has the traceback", "dim")
            return Text.assemble(("✗ ", "red"), (name, "bold"), f" failed ({job.reason}){_took(job)}{_said(error)}", hint)


def _took(job: Job[Any]) -> str:
    row = job.row
    return f" in {span(row.finished_at - row.started_at)}" if row.finished_at and row.started_at else ""


def _said(words: str | None) -> str:
    return f": {printable(words)}" if words else ""
