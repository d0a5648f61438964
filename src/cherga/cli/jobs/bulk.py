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
from cherga.cli.output import Done, Output, note
from cherga.client.app import QueueTasks
from cherga.rules.lifecycle import Move, sources
from cherga.words.job import FINAL_STATES, JobFilter, JobState


class Wish(Struct, frozen=True):
    """What a person wants to become of jobs."""

    verb: str
    past: str
    to: JobState
    possible: frozenset[JobState]
    """The states it can find them in."""
    usual: frozenset[JobState]
    """Those that a filter means which names no state."""
    message: str | None = None


RETRY = Wish("retry", "retried", JobState.READY, sources(Move.RETRY), frozenset({JobState.FAILED}))
CANCEL = Wish("cancel", "cancelled", JobState.CANCELLED, frozenset(JobState) - FINAL_STATES, frozenset(JobState) - FINAL_STATES)

Found = dict[UUID, JobState]


def move_named(app: QueueTasks, out: Output, wish: Wish, ids: Sequence[UUID]) -> ExitCode:
    """Carry out the wish for these jobs; 1 when it was not possible for some, each with a line that says why."""
    rows = app.broker.get(ids)
    found = {id: row.state for id, row in zip(ids, rows, strict=True) if row is not None}
    touched = app.broker.move(list(found), wish.to, wish.message)

    for id in ids:
        if id not in touched:
            note(_refusal(id, found.get(id), wish))

    if touched:
        _tell(out, wish, {id: found[id] for id in touched}, [id for id in ids if id not in touched])

    return ExitCode.OK if len(touched) == len(set(ids)) else ExitCode.FAILED


def move_matching(app: QueueTasks, out: Output, wish: Wish, where: JobFilter, yes: bool) -> ExitCode:
    """Carry out the wish for all jobs that match now, after asking; those that have moved on meanwhile are left."""
    where = replace(where, states=where.states or wish.usual)

    if impossible := where.states - wish.possible:
        raise click.UsageError(f"expected --state to be {_names(wish.possible, 'or')}, got {_names(impossible)}")

    found = {job.id: job.status for job in newest_first(app, where)}

    if not found:
        out.done(Done("no jobs match", (), _data(wish, (), ())))
        return ExitCode.OK

    if not yes and not _confirm(f"{wish.verb} {_jobs(len(found))} ({_describe(where)})?"):
        note("nothing was done")
        return ExitCode.FAILED

    touched = _move_all(app, out, wish, list(found))
    _tell(out, wish, {id: found[id] for id in touched}, [id for id in found if id not in touched])
    return ExitCode.OK


def _move_all(app: QueueTasks, out: Output, wish: Wish, ids: Sequence[UUID]) -> set[UUID]:
    touched: set[UUID] = set()

    with out.counting(wish.verb, len(ids)) as advance:
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            touched.update(app.broker.move(page, wish.to, wish.message))
            advance(len(page))

    return touched


def _confirm(question: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("expected --yes, because nobody can be asked here")

    return click.confirm(question[:1].upper() + question[1:], err=True)


def _tell(out: Output, wish: Wish, touched: Found, left: Sequence[UUID]) -> None:
    stopping = [id for id, state in touched.items() if wish.to is JobState.CANCELLED and state is JobState.RUNNING]
    ended = [id for id in touched if id not in set(stopping)]

    out.done(
        Done(
            _sentence(wish, len(ended), len(stopping), len(left)),
            [*([str(id), wish.past] for id in ended), *([str(id), "stopping"] for id in stopping)],
            _data(wish, ended, left) | ({"stopping": [str(id) for id in stopping]} if wish.to is JobState.CANCELLED else {}),
        )
    )


def _sentence(wish: Wish, ended: int, stopping: int, left: int) -> str:
    parts = [
        f"{wish.past} {_jobs(ended)}" if ended or not stopping else "",
        f"asked {stopping:,} running {'job' if stopping == 1 else 'jobs'} to stop" if stopping else "",
        f"left {_jobs(left)} as {'it is' if left == 1 else 'they are'}" if left else "",
    ]
    return ", ".join(part for part in parts if part)


def _data(wish: Wish, ended: Iterable[UUID], left: Iterable[UUID]) -> dict[str, list[str]]:
    return {wish.past: [str(id) for id in ended], "left": [str(id) for id in left]}


def _refusal(id: UUID, state: JobState | None, wish: Wish) -> str:
    if state is None:
        return f"no job {id} is kept: it never existed, or was pruned"

    if state in wish.possible:
        return f"job {id} was not {wish.past}: it has moved on meanwhile, or another job holds its unique key"

    return f"job {id} was not {wish.past}: expected it to be {_names(wish.possible, 'or')}, it is {state}"


def _describe(where: JobFilter) -> str:
    named = {"task": where.task, "queue": where.queue, "owner": where.owner}
    return "; ".join([f"state {_names(where.states, 'or')}", *(f"{name} {value}" for name, value in named.items() if value)])


def _names(states: Iterable[JobState], last: str = "and") -> str:
    """The states as a list in words, in the order of a job's life."""
    chosen = set(states)
    *names, end = [state.value for state in JobState if state in chosen]
    return f"{', '.join(names)} {last} {end}" if names else end


def _jobs(count: int) -> str:
    return f"{count:,} {'job' if count == 1 else 'jobs'}"
