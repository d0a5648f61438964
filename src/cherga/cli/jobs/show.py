"""``cherga jobs show``: everything about one job on a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import click
from msgspec.structs import replace

from cherga.cli.ids import JOB_ID
from cherga.cli.jobs.cells import progress_text, state_cell
from cherga.cli.jobs.selection import find_job
from cherga.cli.options import watch_option, with_app
from cherga.cli.output import Cell, Output, Page, Section
from cherga.cli.records import full_record
from cherga.cli.values import LONGEST_SHOWN, json_text, shorten, unpack
from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.client.snapshot import worker_of
from cherga.rules.times import from_now, iso, local, span
from cherga.words.inspection import Family
from cherga.words.job import Attempt, JobState
from cherga.words.push import GROUP_TASK

Pairs = list[tuple[str, Cell]]
NO_FAMILY = Family()


@click.command("show")
@click.argument("id", type=JOB_ID)
@watch_option
@with_app
def show(app: QueueTasks, out: Output, id: UUID) -> None:
    """Show everything about the job ID: what, when, arguments, attempts with their errors, progress, result."""
    job = find_job(app, id)
    out.page(make_page(job, app.clock.now(), job.family))


def make_page(job: Job[Any], now: float, family: Family = NO_FAMILY) -> Page:
    """The page about a job and how many children it has."""
    return Page(
        title=Cell(job.task_name),
        state=_state(job),
        sections=[section for section in _sections(job, now, family) if section.pairs or section.block],
        data=full_record(job, family),
    )


def _sections(job: Job[Any], now: float, family: Family) -> Iterator[Section]:
    error = job.error

    yield Section("", [*_identity(job), *_relatives(job, family), *_times(job, now), *_fate(job)])
    yield Section("arguments", _arguments(job.arguments))
    yield Section("meta", [(name, _value(value)) for name, value in job.meta.items()])
    yield Section("attempts", [_attempt(attempt, now) for attempt in job.attempts])
    yield Section("traceback", block=error.traceback if error else None)


def _state(job: Job[Any]) -> Cell:
    stopping = job.status is JobState.RUNNING and job.row.cancel_requested
    return replace(state_cell(job), shown="running, asked to stop" if stopping else None)


def _identity(job: Job[Any]) -> Iterator[tuple[str, Cell]]:
    """The job's own facts."""
    row, head = job.row, job.head

    yield "id", Cell(str(job.id))

    if head.description:
        yield "description", Cell(head.description)

    yield "queue", Cell(job.queue, shown=f"{job.queue}, priority {job.priority}" if job.priority else None)

    if job.owner:
        yield "owner", Cell(job.owner)

    if head.tags:
        yield "tags", Cell(", ".join(head.tags))

    if row.unique:
        yield "unique key", Cell(row.unique.key)


def _relatives(job: Job[Any], family: Family) -> Iterator[tuple[str, Cell]]:
    """The job's parent, and the states of its children."""
    if job.parent:
        yield "parent", Cell(str(job.parent))

    if family.total:
        counts = ", ".join(f"{family.counts[state]} {state}" for state in JobState if state in family.counts)
        yield "members" if job.task_name == GROUP_TASK else "children", Cell(counts)


def _times(job: Job[Any], now: float) -> Iterator[tuple[str, Cell]]:
    """The times of its past, and of what is to come."""
    row = job.row
    ended = row.finished_at is not None

    for name, time in (
        ("enqueued", row.enqueued_at),
        ("runs at", row.run_at if row.state is JobState.SCHEDULED else None),
        ("expires", None if ended else row.expires_at),
        ("started", row.started_at),
        ("finished", row.finished_at),
        ("kept until", row.prune_at if ended else None),
    ):
        if time is not None:
            yield name, Cell(iso(time) or "", shown=f"{local(time, now)}  {from_now(time, now)}")

    if row.started_at is not None:
        yield "took" if ended else "runs for", _duration((row.finished_at or now) - row.started_at)


def _fate(job: Job[Any]) -> Iterator[tuple[str, Cell]]:
    """The attempts that led there, and the result."""
    row = job.row

    if job.reason:
        yield "reason", Cell(job.reason)

    if job.message:
        yield "message", Cell(job.message)

    if row.pending:
        yield "waits for", Cell(str(row.pending), shown=f"{row.pending} other jobs" if row.pending > 1 else "another job")

    if worker := worker_of(row.session):
        yield "worker", Cell(worker)

    yield from _counts(job)

    if job.progress:
        yield "progress", Cell(progress_text(job.progress), percent=job.progress.percent)

    if row.result is not None:
        yield "result", _value(unpack(row.result))


def _counts(job: Job[Any]) -> Iterator[tuple[str, Cell]]:
    for name, count in (("attempt", job.attempt), ("crashes", job.crashes), ("interruptions", job.interruptions)):
        if count:
            yield name, Cell(str(count))


def _arguments(arguments: Any) -> Pairs:
    """The arguments by name where the sender knew the names, else by position."""
    if isinstance(arguments, dict):
        return [(str(name), _value(value)) for name, value in arguments.items()]

    match arguments:
        case [list() as args, dict() as kwargs]:
            return [(str(place), _value(value)) for place, value in enumerate(args, 1)] + _arguments(kwargs)

    return []


def _attempt(attempt: Attempt, now: float) -> tuple[str, Cell]:
    error = f"{attempt.error.type}: {attempt.error.message}" if attempt.error else str(attempt.reason or "succeeded")
    took = span(attempt.finished_at - attempt.started_at)
    fields = (local(attempt.started_at, now), took, attempt.worker, error)

    return str(attempt.number), Cell(
        "  ".join((iso(attempt.started_at) or "", iso(attempt.finished_at) or "", attempt.worker, error)),
        shown="  ".join(field for field in fields if field),
        style="" if attempt.error else "green" if attempt.reason is None else "",
    )


def _duration(seconds: float) -> Cell:
    return Cell(f"{seconds:.3f}", shown=span(seconds))


def _value(value: Any) -> Cell:
    text = json_text(value)
    return Cell(text, shown=shorten(text, LONGEST_SHOWN))
