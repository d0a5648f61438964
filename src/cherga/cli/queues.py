"""The ``cherga queues`` group: how the queues stand, and opening, closing and emptying them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec
from msgspec import Struct

from cherga.cli.jobs.bulk import CANCEL, move_matching
from cherga.cli.lazy import Entry, LazyGroup, show_help
from cherga.cli.options import with_app
from cherga.cli.output import Cell, Column, Done, Listing, Output, note
from cherga.cli.parameters import NAME
from cherga.client.app import QueueTasks
from cherga.rules.options import nearest
from cherga.words.job import JobFilter, JobState, PauseScope

S = JobState
SHOWN = (S.READY, S.RUNNING, S.SCHEDULED, S.BLOCKED, S.FAILED, S.SUCCEEDED, S.CANCELLED)
WAITING = frozenset({S.READY, S.SCHEDULED, S.BLOCKED})
STYLES = {S.READY: "blue", S.RUNNING: "cyan", S.FAILED: "red"}
EVERYTHING = PauseScope()

COLUMNS = (
    Column("QUEUE", share=1),
    *(Column(state.value.upper(), right=True, from_width=100 if state in {S.SUCCEEDED, S.CANCELLED} else 0) for state in SHOWN),
    Column("PAUSED"),
)

COMMANDS = {
    "list": Entry("cherga.cli.queues:list_queues", "List queues and how many jobs stand in them."),
    "pause": Entry("cherga.cli.queues:pause", "Stop handing out jobs."),
    "resume": Entry("cherga.cli.queues:resume", "Hand out jobs again."),
    "empty": Entry("cherga.cli.queues:empty", "Cancel the jobs that wait in a queue."),
}


@click.command("queues", cls=LazyGroup, entries=COMMANDS)
@click.pass_context
def queues(ctx: click.Context) -> None:
    """List, pause, resume and empty queues."""
    ctx.invoke(show_help)


# --- list


class Standing(Struct, frozen=True):
    """How a queue stands."""

    name: str
    counts: Counter[JobState]
    paused: tuple[PauseScope, ...]

    @property
    def closed(self) -> bool:
        """The whole queue is paused, by itself or with everything."""
        return any(scope.task is None for scope in self.paused)

    @property
    def paused_tasks(self) -> list[str]:
        """The tasks that are paused in it, by themselves or everywhere."""
        return sorted({scope.task for scope in self.paused if scope.task is not None})

    @property
    def pause_text(self) -> str:
        return "yes" if self.closed else f"task {', '.join(self.paused_tasks)}" if self.paused_tasks else ""


@click.command("list")
@with_app
def list_queues(app: QueueTasks, out: Output) -> None:
    """List the queues with jobs, tasks, workers or a pause, and how many jobs stand in them.

    In a pipe: name, then the numbers of ready, running, scheduled, blocked, failed, succeeded and cancelled jobs, then what is
    paused, with tabs between them.
    """
    standings = read_standings(app)

    out.listing(
        Listing(
            columns=COLUMNS,
            rows=[_row(standing) for standing in standings],
            data=[_record(standing) for standing in standings],
            empty="no queues yet",
            footer="everything is paused; cherga queues resume --all" if EVERYTHING in app.broker.paused() else None,
        )
    )


def read_standings(app: QueueTasks) -> list[Standing]:
    """Every queue that is known from anywhere, by name."""
    counts: dict[str, Counter[JobState]] = {name: Counter() for name in known_queues(app)}

    for count in app.broker.counts():
        counts.setdefault(count.queue, Counter())[count.state] += count.count

    paused = app.broker.paused()
    return [Standing(name, counts[name], tuple(s for s in paused if s.queue in {None, name})) for name in sorted(counts)]


def known_queues(app: QueueTasks) -> set[str]:
    """Queues that tasks, workers or pauses name, and those with jobs."""
    broker = app.broker
    published = (msgspec.msgpack.decode(definition.data).get("queue", "default") for definition in broker.definitions("task"))

    return {
        *(task.queue for task in app.tasks.values()),
        *published,
        *(queue for worker in broker.workers() for queue in worker.session.queues),
        *(scope.queue for scope in broker.paused() if scope.queue is not None),
        *(count.queue for count in broker.counts()),
    }


def _row(standing: Standing) -> list[Cell]:
    counts = (_count(state, standing.counts[state]) for state in SHOWN)
    return [Cell(standing.name, style="bold"), *counts, Cell(standing.pause_text, style="yellow")]


def _count(state: JobState, count: int) -> Cell:
    return Cell(str(count), shown=f"{count:,}", style=STYLES.get(state, "") if count else "dim")


def _record(standing: Standing) -> dict[str, Any]:
    counts = {state.value: standing.counts[state] for state in SHOWN}
    return {"queue": standing.name, **counts, "paused": standing.closed, "paused_tasks": standing.paused_tasks}


# --- pause and resume


@click.command("pause")
@click.argument("names", nargs=-1, type=NAME, metavar="[NAME]...")
@click.option("--task", type=NAME, metavar="NAME", help="Only this task: in the queues named, or everywhere.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@with_app
def pause(app: QueueTasks, out: Output, names: tuple[str, ...], task: str | None, everything: bool) -> None:
    """Stop handing out jobs of these queues; what runs goes on, and enqueueing too."""
    scopes = _scopes(names, task, everything)

    for name in set(names) - known_queues(app):
        note(f"no task, job or worker uses queue {name!r} yet{nearest(name, known_queues(app))}")

    _set(app, scopes, True)
    out.done(_pause_done("paused", scopes))


@click.command("resume")
@click.argument("names", nargs=-1, type=NAME, metavar="[NAME]...")
@click.option("--task", type=NAME, metavar="NAME", help="Only this task: in the queues named, or everywhere.")
@click.option("--all", "everything", is_flag=True, help="Everything, whatever it was paused by.")
@with_app
def resume(app: QueueTasks, out: Output, names: tuple[str, ...], task: str | None, everything: bool) -> None:
    """Hand out jobs again: the reverse of the same pause command, and --all of every one."""
    paused = app.broker.paused()
    scopes = paused if everything and not (names or task) else _scopes(names, task, everything)

    for scope in set(scopes) - set(paused):
        note(f"{_describe(scope)} was not paused")

    _set(app, scopes, False)

    for scope in app.broker.paused():
        if any(_covers(scope, resumed) for resumed in scopes):
            note(f"{_describe(scope)} is still paused")

    out.done(_pause_done("resumed", scopes))


def _scopes(names: Sequence[str], task: str | None, everything: bool) -> list[PauseScope]:
    if everything == bool(names or task):
        raise click.UsageError("expected the names of queues, --task, or --all alone")

    return [PauseScope(queue=name, task=task) for name in names] or [PauseScope(task=task)]


def _set(app: QueueTasks, scopes: Iterable[PauseScope], paused: bool) -> None:
    for scope in scopes:
        app.broker.pause(scope, paused)


def _covers(scope: PauseScope, other: PauseScope) -> bool:
    return scope.queue in {None, other.queue} and scope.task in {None, other.task}


def _pause_done(past: str, scopes: Sequence[PauseScope]) -> Done:
    return Done(
        f"{past} {', '.join(map(_describe, scopes))}" if scopes else "nothing was paused",
        [[scope.queue or "", scope.task or "", past] for scope in scopes],
        [{"queue": scope.queue, "task": scope.task, "paused": past == "paused"} for scope in scopes],
    )


def _describe(scope: PauseScope) -> str:
    words = (f"task {scope.task}" if scope.task else "", f"queue {scope.queue}" if scope.queue else "")
    return " in ".join(word for word in words if word) or "everything"


# --- empty


@click.command("empty")
@click.argument("name", type=NAME)
@click.option("--task", type=NAME, metavar="NAME", help="Only jobs of this task.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_app
def empty(app: QueueTasks, out: Output, name: str, task: str | None, yes: bool) -> int:
    """Cancel the jobs that wait in queue NAME: ready, scheduled and blocked ones. What runs goes on; nothing is deleted."""
    return move_matching(app, out, CANCEL, JobFilter(states=WAITING, queue=name, task=task), yes)
