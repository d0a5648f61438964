"""The jobs that a command is about: ids, or a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import click

from cherga.cli.completing import complete_queues, complete_tasks
from cherga.cli.ids import JOB_ID
from cherga.cli.parameters import STATE
from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.rules.urls import masked
from cherga.words.errors import JobNotFound
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState

PAGE = 500
STATES_HELP = "Only jobs that are scheduled, ready, blocked, running, succeeded, failed or cancelled; may be repeated."
F = TypeVar("F", bound=Callable[..., Any])


def filter_options(function: F) -> F:
    """Add ``--state``, ``--queue``, ``--task``, ``--owner`` and ``--parent``."""
    for option in (
        click.option("--parent", type=JOB_ID, metavar="ID", help="Only children of this job, or members of this group."),
        click.option("--owner", metavar="NAME", help="Only jobs of this owner."),
        click.option("--task", metavar="NAME", shell_complete=complete_tasks, help="Only jobs of this task."),
        click.option("--queue", metavar="NAME", shell_complete=complete_queues, help="Only jobs in this queue."),
        click.option("--state", "states", type=STATE, metavar="STATE", multiple=True, help=STATES_HELP),
    ):
        function = option(function)

    return function


def make_filter(
    states: tuple[JobState, ...],
    queue: str | None,
    task: str | None,
    owner: str | None,
    parent: UUID | None,
    unfinished: bool = False,
) -> JobFilter:
    """The filter that the options say."""
    return JobFilter(states=frozenset(states), queue=queue, task=task, owner=owner, parent=parent, unfinished=unfinished)


def ids_or_filter(ids: Sequence[UUID], **wish: Any) -> JobFilter | None:
    """The filter; None when jobs are named by id. Raises ``click.UsageError`` for both and for neither."""
    where = make_filter(**wish)
    filtered = where != JobFilter()

    if bool(ids) == filtered:
        got = "both" if ids else "neither"
        raise click.UsageError(f"expected ids, or which jobs with --task, --queue, --state, --owner or --parent; got {got}")

    return where if filtered else None


def newest_first(app: QueueTasks, where: JobFilter, limit: int | None = None, before: int | None = None) -> Iterator[Job[Any]]:
    """The jobs that match, read page by page."""
    return islice(_pages(app, where, min(limit or PAGE, PAGE), before), limit)


def find_job(app: QueueTasks, id: UUID) -> Job[Any]:
    """The job of that id. Raises ``JobNotFound``."""
    job = app.get(id)

    if job is None:
        raise JobNotFound(f"no job {id} is kept by {masked(app.broker.url)}: it never existed, or was pruned")

    return job


def _pages(app: QueueTasks, where: JobFilter, size: int, before: int | None) -> Iterator[Job[Any]]:
    while page := app.broker.find(where, size, before):
        yield from (Job(row, app) for row in page)

        if len(page) < size:
            return

        before = page[-1].sequence
