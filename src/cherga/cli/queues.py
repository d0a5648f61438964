"""The ``cherga queues`` group: how the queues stand, and opening, closing and emptying them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
from msgspec import Struct

from cherga.cli.completing import complete_queues, complete_tasks
from cherga.cli.jobs.bulk import CANCEL, move_matching
from cherga.cli.known import known_queues
from cherga.cli.lazy import Entry, LazyGroup, show_help
from cherga.cli.options import watch_option, with_app
from cherga.cli.output import Cell, Column, Listing, Output
from cherga.cli.parameters import NAME
from cherga.client.app import QueueTasks
from cherga.rules.describe import describe_scope, scope_arguments, scope_options
from cherga.words.inspection import JobFilter
from cherga.words.job import WAITING_STATES, JobState
from cherga.words.shared import PauseScope

S = JobState
SHOWN = (S.READY, S.RUNNING, S.SCHEDULED, S.BLOCKED, S.FAILED, S.SUCCEEDED, S.CANCELLED)
STYLES = {S.READY: "blue", S.RUNNING: "cyan", S.FAILED: "red"}
EVERYTHING = PauseScope()

COLUMNS = (
    Column("QUEUE", share=1),
    *(Column(state.value.upper(), right=True, from_width=100 if state in {S.SUCCEEDED, S.CANCELLED} else 0) for state in SHOWN),
    Column("PAUSED"),
)

COMMANDS = {
    "list": Entry("cherga.cli.queues:list_queues", "List queues and how many jobs stand in them."),
    "pause": Entry("cherga.cli.pausing:pause", "Stop handing out jobs."),
    "resume": Entry("cherga.cli.pausing:resume", "Hand out jobs again."),
    "empty": Entry("cherga.cli.queues:empty", "Cancel the jobs that wait in a queue."),
}


@click.command("queues", cls=LazyGroup, entries=COMMANDS)
@click.pass_context
def queues(ctx: click.Context) -> None:
    """List, pause, resume and empty queues."""
    ctx.invoke(show_help)


# --- list


class Standing(Struct, frozen=True):
    """The state of a queue."""

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
        return sorted({scope.task for scope in self.paused if scope.task is not None and scope.arguments is None})

    @property
    def held(self) -> list[PauseScope]:
        """The tasks that are paused for some arguments."""
        return sorted({PauseScope(task=scope.task, arguments=scope.arguments) for scope in self.paused if scope.arguments})

    @property
    def pause_cell(self) -> Cell:
        """``yes``, or which tasks; people read below the table for which arguments others are paused."""
        tasks = [f"task {', '.join(self.paused_tasks)}"] if self.paused_tasks else []
        parts = ["in part"] if self.held else []
        text = "; ".join([*tasks, *map(describe_scope, self.held)])
        return Cell("yes" if self.closed else text, shown="yes" if self.closed else "; ".join([*tasks, *parts]), style="yellow")


@click.command("list")
@watch_option
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
            footer=_footer(app.broker.paused()),
        )
    )


def read_standings(app: QueueTasks) -> list[Standing]:
    """Every queue that is known from anywhere, by name."""
    counts: dict[str, Counter[JobState]] = {name: Counter() for name in known_queues(app)}

    for count in app.broker.counts():
        counts.setdefault(count.queue, Counter())[count.state] += count.count

    paused = app.broker.paused()
    return [Standing(name, counts[name], tuple(s for s in paused if s.queue in {None, name})) for name in sorted(counts)]


def _footer(paused: Sequence[PauseScope]) -> str | None:
    """The facts that the table cannot show, with the commands that change them."""
    told = [scope for scope in paused if scope == EVERYTHING or scope.arguments]
    return (
        "\n".join(f"{describe_scope(scope)} is paused; cherga queues resume {scope_options(scope)}" for scope in told) or None
    )


def _row(standing: Standing) -> list[Cell]:
    counts = (_count(state, standing.counts[state]) for state in SHOWN)
    return [Cell(standing.name, style="bold"), *counts, standing.pause_cell]


def _count(state: JobState, count: int) -> Cell:
    return Cell(str(count), shown=f"{count:,}", style=STYLES.get(state, "") if count else "dim")


def _record(standing: Standing) -> dict[str, Any]:
    counts = {state.value: standing.counts[state] for state in SHOWN}
    held = [{"task": scope.task, "arguments": scope_arguments(scope)} for scope in standing.held]
    paused = {"paused": standing.closed, "paused_tasks": standing.paused_tasks, "paused_arguments": held}
    return {"queue": standing.name, **counts, **paused}


# --- empty


@click.command("empty")
@click.argument("name", type=NAME, shell_complete=complete_queues)
@click.option("--task", type=NAME, metavar="NAME", shell_complete=complete_tasks, help="Only jobs of this task.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_app
def empty(app: QueueTasks, out: Output, name: str, task: str | None, yes: bool) -> int:
    """Cancel the jobs that wait in queue NAME: ready, scheduled and blocked ones. What runs goes on; nothing is deleted."""
    return move_matching(app, out, CANCEL, JobFilter(states=WAITING_STATES, queue=name, task=task), yes)
