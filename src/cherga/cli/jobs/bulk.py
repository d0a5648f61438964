"""Moving jobs, one or a hundred thousand: those named, or all that match a filter."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from uuid import UUID

import click
from msgspec import Struct
from msgspec.structs import replace

from cherga.cli.exits import ExitCode
from cherga.cli.jobs.selection import PAGE, newest_first
from cherga.cli.known import doubt
from cherga.cli.output import Done, Output, note
from cherga.client.app import QueueTasks
from cherga.client.cancelling import cancel
from cherga.rules.lifecycle import Move, sources
from cherga.words.inspection import JobFilter
from cherga.words.job import FINAL_STATES, JobState
from cherga.words.push import GROUP_TASK


class BulkChange(Struct, frozen=True):
    """A change that a person wants for jobs."""

    verb: str
    past: str
    to: JobState
    possible: frozenset[JobState]
    """The states it can find them in."""
    usual: frozenset[JobState]
    """The states that a filter means which names none."""
    message: str | None = None


UNFINISHED = frozenset(JobState) - FINAL_STATES
RETRY = BulkChange("retry", "retried", JobState.READY, sources(Move.RETRY), frozenset({JobState.FAILED}))
CANCEL = BulkChange("cancel", "cancelled", JobState.CANCELLED, UNFINISHED, UNFINISHED)

Found = dict[UUID, JobState]


class Moved(Struct, frozen=True):
    """The answer to the wish: jobs for which it is done, running ones that were asked to stop, and those left as they are."""

    done: list[UUID]
    stopping: list[UUID]
    left: list[UUID]


def move_named(app: QueueTasks, out: Output, wish: BulkChange, ids: Iterable[UUID]) -> ExitCode:
    """Carry out the wish for these jobs; 1 when it was not possible for some, each with a line that says why."""
    wanted = list(dict.fromkeys(ids))
    rows = [row for row in app.broker.get(wanted) if row is not None]
    found = {row.id: row.state for row in rows}
    groups = [row.id for row in rows if row.task == GROUP_TASK]
    moved = _sort(wish, found, {*_move_groups(app, wish, groups), *_move(app, wish, [id for id in found if id not in groups])})
    missing = [id for id in wanted if id not in found]

    for id in (*missing, *moved.left):
        note(_group_refusal(id) if id in groups and wish.to is JobState.READY else _refusal(id, found.get(id), wish))

    _tell(out, wish, moved)
    return ExitCode.FAILED if missing or moved.left else ExitCode.OK


def move_matching(app: QueueTasks, out: Output, wish: BulkChange, where: JobFilter, yes: bool) -> ExitCode:
    """Carry out the wish for all jobs that match now, after asking; those that have moved on meanwhile are left."""
    where = replace(where, states=where.states or wish.usual)

    if impossible := where.states - wish.possible:
        raise click.UsageError(f"expected --state to be {_names(wish.possible, 'or')}, got {_names(impossible)}")

    found = {job.id: job.row.state for job in newest_first(app, where)}

    if not found:
        if slip := doubt(app, where):
            note(slip)

        _tell(out, wish, Moved([], [], []), "no jobs match")
        return ExitCode.OK

    if not yes and not _confirm(f"{wish.verb} {_describe(len(found), where)}?"):
        note("nothing was done")
        return ExitCode.FAILED

    _tell(out, wish, _sort(wish, found, _move_all(app, out, wish, list(found))))
    return ExitCode.OK


def _move_all(app: QueueTasks, out: Output, wish: BulkChange, ids: Sequence[UUID]) -> set[UUID]:
    touched: set[UUID] = set()

    with out.counting(wish.verb, len(ids)) as advance:
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            touched.update(_move(app, wish, page))
            advance(len(page))

    return touched


def _move(app: QueueTasks, wish: BulkChange, ids: Sequence[UUID]) -> list[UUID]:
    if wish.to is JobState.CANCELLED:
        return cancel(app, ids, wish.message)

    return app.broker.move(ids, wish.to, wish.message)


def _move_groups(app: QueueTasks, wish: BulkChange, ids: Sequence[UUID]) -> list[UUID]:
    """A group is cancelled with all that belongs to it."""
    if wish.to is JobState.CANCELLED:
        return cancel(app, ids, wish.message, family=True)

    return _move(app, wish, ids)


def _confirm(question: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("expected --yes, because nobody can be asked here")

    return click.confirm(question[:1].upper() + question[1:], err=True)


def _sort(wish: BulkChange, found: Found, touched: set[UUID]) -> Moved:
    stopping = {id for id in touched if wish.to is JobState.CANCELLED and found[id] is JobState.RUNNING}

    return Moved(
        done=[id for id in found if id in touched and id not in stopping],
        stopping=[id for id in found if id in stopping],
        left=[id for id in found if id not in touched],
    )


def _tell(out: Output, wish: BulkChange, moved: Moved, sentence: str | None = None) -> None:
    asked = {"stopping": moved.stopping} if wish.to is JobState.CANCELLED else {}
    data = {wish.past: moved.done, **asked, "left": moved.left}
    lines = [*([str(id), wish.past] for id in moved.done), *([str(id), "stopping"] for id in moved.stopping)]
    out.done(Done(sentence or _sentence(wish, moved), lines, data, good=bool(lines or sentence)))


def _sentence(wish: BulkChange, moved: Moved) -> str:
    """``cancelled 3 jobs, asked 1 job to stop, left 1 job``."""
    parts = ((wish.past, moved.done, ""), ("asked", moved.stopping, " to stop"), ("left", moved.left, ""))
    said = [f"{verb} {_jobs(len(ids))}{rest}" for verb, ids, rest in parts if ids]
    return ", ".join(said) or f"nothing was {wish.past}"


def _refusal(id: UUID, state: JobState | None, wish: BulkChange) -> str:
    if state is None:
        return f"no job {id} is kept: it never existed, or was pruned"

    if state in wish.possible:
        return f"job {id} was not {wish.past}: it has moved on meanwhile, or another job holds its unique key"

    return f"job {id} was not {wish.past}: expected it to be {_names(wish.possible, 'or')}, it is {state}"


def _group_refusal(id: UUID) -> str:
    members = f"cherga jobs list --parent {id}"
    return f"job {id} was not retried: it stands for a group, which is not run again; retry its members: {members}"


def _describe(count: int, where: JobFilter) -> str:
    """``3 failed jobs of task add in queue default``."""
    state = "unfinished" if where.states == UNFINISHED else _names(where.states, "or")
    named = (("of task", where.task), ("in queue", where.queue), ("owned by", where.owner))
    scope = "".join(f" {word} {name}" for word, name in named if name)
    return f"{count:,} {state} {'job' if count == 1 else 'jobs'}{scope}"


def _names(states: Iterable[JobState], last: str = "and") -> str:
    """The states as a list in words, in the order of a job's life."""
    chosen = set(states)
    *names, end = [state.value for state in JobState if state in chosen]
    return f"{', '.join(names)} {last} {end}" if names else end


def _jobs(count: int) -> str:
    return f"{count:,} {'job' if count == 1 else 'jobs'}"
