"""The ``cherga limits`` group: limits that hold across all workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from msgspec import Struct

from cherga.cli.completing import complete_queues, complete_tasks
from cherga.cli.known import known_queues, known_tasks
from cherga.cli.lazy import Entry, LazyGroup, show_help
from cherga.cli.options import reading_options, watch_option, with_app
from cherga.cli.output import Cell, Column, Done, Listing, Output, note
from cherga.cli.parameters import Read
from cherga.client.app import QueueTasks
from cherga.rules.describe import describe_limit, limit_parts
from cherga.rules.options import nearest
from cherga.rules.rates import write_rate
from cherga.rules.times import rough
from cherga.words.job import WAITING_STATES
from cherga.words.limits import OVERRIDE, LimitRule, LimitUse, Overflow

F = TypeVar("F", bound=Callable[..., Any])

LIFT = "none"
"""Takes a part of a limit away."""

COLUMNS = (
    Column("LIMIT", share=1),
    Column("RUNNING", right=True),
    Column("RATE", right=True),
    Column("NEXT START"),
    Column("WAITING", right=True),
    Column("WHEN FULL", from_width=100),
    Column("SET BY"),
)

COMMANDS = {
    "list": Entry("cherga.cli.limits:list_limits", "List limits and how they stand."),
    "set": Entry("cherga.cli.limits:set_limit", "Change a limit now, for all workers."),
    "reset": Entry("cherga.cli.limits:reset", "Go back to what the code declares."),
}


@click.command("limits", cls=LazyGroup, entries=COMMANDS)
@click.pass_context
def limits(ctx: click.Context) -> None:
    """List and change limits across all workers."""
    ctx.invoke(show_help)


def which_options(function: F) -> F:
    """Add ``--queue``, ``--task`` and ``--key``, which name a limit."""
    for option in (
        click.option("--key", metavar="VALUE", help='The limit of --task for this value of its key; "*" for each value.'),
        click.option("--task", metavar="NAME", shell_complete=complete_tasks, help="The limit of a task."),
        click.option("--queue", metavar="NAME", shell_complete=complete_queues, help="The limit of a queue."),
    ):
        function = option(function)

    return function


# --- list


class Standing(Struct, frozen=True):
    """The facts beside the limits themselves."""

    waiting: Mapping[str, int]
    """Jobs that wait in each queue."""
    overridden: frozenset[str]
    """Names of limits that were set at run time."""

    def origin(self, name: str) -> str:
        return "run time" if name in self.overridden else "code"


@click.command("list")
@watch_option
@with_app
def list_limits(app: QueueTasks, out: Output) -> None:
    """List the limits that the code declares and those set at run time.

    In a pipe: name, running jobs (3/5: of five), rate, seconds until the next start, waiting jobs (3/5), what happens when the
    queue is full, and "code" or "run time", with tabs between them. The rule for each value of a key shows no running jobs.
    """
    waiting: Counter[str] = Counter()

    for count in app.broker.counts():
        waiting[count.queue] += count.count if count.state in WAITING_STATES else 0

    out.listing(make_listing(app.limits.all(), Standing(waiting, _overridden(app))))


def make_listing(uses: Sequence[LimitUse], standing: Standing) -> Listing:
    """The table of these limits."""
    ordered = sorted(uses, key=_place)

    return Listing(
        columns=COLUMNS,
        rows=[_row(use, standing) for use in ordered],
        data=[_record(use, standing) for use in ordered],
        empty="no limits yet; set one: cherga limits set --task NAME --max-running 5",
    )


def _overridden(app: QueueTasks) -> frozenset[str]:
    return frozenset(definition.name for definition in app.broker.definitions(OVERRIDE))


def _place(use: LimitUse) -> tuple[bool, str, str]:
    """Queues first; below each task what holds for its keys."""
    parts = limit_parts(use.name)
    return "queue" not in parts, parts.get("queue") or parts.get("task", ""), parts.get("key", "")


def _row(use: LimitUse, standing: Standing) -> list[Cell]:
    rule = use.rule

    return [
        Cell(use.name, shown=describe_limit(use.name), style="bold"),
        _running(use),
        Cell("" if rule.rate is None else write_rate(rule.rate)),
        _next_start(use),
        _waiting(use, standing),
        Cell("" if rule.max_length is None else rule.overflow.value, shown=_when_full(rule)),
        Cell(standing.origin(use.name)),
    ]


def _running(use: LimitUse) -> Cell:
    most = use.rule.max_running

    if not _for_each_value(use.name):
        return _share(use.running, most)

    return Cell("") if most is None else Cell(f"/{most}", shown=f"{most:,} each")


def _next_start(use: LimitUse) -> Cell:
    if use.again_in:
        return Cell(f"{use.again_in:.3f}", shown=f"in {rough(use.again_in)}", style="yellow")

    return Cell("0" if use.rule.rate else "", shown="now" if use.rule.rate and not _for_each_value(use.name) else "")


def _waiting(use: LimitUse, standing: Standing) -> Cell:
    queue, most = limit_parts(use.name).get("queue"), use.rule.max_length

    if queue is None or most is None:
        return Cell("")

    return _share(standing.waiting.get(queue, 0), most)


def _when_full(rule: LimitRule) -> str:
    return "" if rule.max_length is None else "drops the oldest" if rule.overflow is Overflow.DROP_OLDEST else "refuses"


def _share(count: int, most: int | None) -> Cell:
    if most is None:
        return Cell(str(count), shown=f"{count:,}")

    return Cell(f"{count}/{most}", shown=f"{count:,} of {most:,}", style="yellow" if count >= most else "")


def _for_each_value(name: str) -> bool:
    return name.startswith("key:") and "|" not in name


def _record(use: LimitUse, standing: Standing) -> dict[str, Any]:
    queue = limit_parts(use.name).get("queue")

    return {
        "name": use.name,
        **_rule_record(use.rule),
        "running": use.running,
        "next_start_in": use.again_in or 0.0,
        "waiting": None if queue is None else standing.waiting.get(queue, 0),
        "set_by": standing.origin(use.name),
    }


def _rule_record(rule: LimitRule) -> dict[str, Any]:
    return {
        "max_running": rule.max_running,
        "rate": rule.rate and write_rate(rule.rate),
        "max_length": rule.max_length,
        "overflow": rule.overflow.value,
    }


# --- set and reset


def _read_count(text: str) -> int | str:
    if text.strip() == LIFT or text.strip().isdecimal():
        return LIFT if text.strip() == LIFT else int(text)

    raise ValueError(f"expected a whole number, 0 or more, or {LIFT}, got {text!r}")


COUNT = Read("n", _read_count)
OVERFLOWS = click.Choice([overflow.value for overflow in Overflow])
RUNNING_HELP = "Jobs that may run at the same time; 0 stops them."
LENGTH_HELP = "Jobs that may wait; for queues alone."
OVERFLOW_HELP = "A full queue refuses (reject) or cancels the oldest job that waits (drop_oldest)."


@click.command("set")
@which_options
@click.option("--max-running", type=COUNT, metavar="N", help=RUNNING_HELP)
@click.option("--rate", metavar="RATE", help="Starts in a period: 5/s, 100/m, 10/30s.")
@click.option("--max-length", type=COUNT, metavar="N", help=LENGTH_HELP)
@click.option("--overflow", type=OVERFLOWS, metavar="WAY", help=OVERFLOW_HELP)
@with_app
def set_limit(
    app: QueueTasks, out: Output, queue: str | None, task: str | None, key: str | None, overflow: str | None, **rule: Any
) -> None:
    """Change a limit now, for all workers, until it is reset; what is not given stays as it is, and "none" lifts it.

    It goes before what the code declares, and no deploy takes it back.
    """
    wish = {**rule, "overflow": overflow}
    given: dict[str, Any] = {name: None if value == LIFT else value for name, value in wish.items() if value is not None}
    which = _which(queue, task, key)

    if not given:
        raise click.UsageError("expected what to set: --max-running, --rate, --max-length or --overflow")

    with reading_options():
        _note_unknown(app, which)
        made = app.limits.set(**which, **given)

    out.done(_done(app.limits.name_of(**which), f"now allows {_describe(made)}", made))


@click.command("reset")
@which_options
@with_app
def reset(app: QueueTasks, out: Output, queue: str | None, task: str | None, key: str | None) -> None:
    """Take back what was set at run time; what the code declares holds again."""
    which = _which(queue, task, key)

    with reading_options():
        name = app.limits.name_of(**which)
        was_set = name in _overridden(app)
        app.limits.reset(**which)
        use = app.limits.get(**which)

    if not was_set:
        note(f"no limit of {describe_limit(name)} was set at run time")

    out.done(_done(name, f"{'again ' if was_set else ''}allows {_describe(use.rule)}", use.rule))


def _which(queue: str | None, task: str | None, key: str | None) -> dict[str, Any]:
    if (queue is None) == (task is None) or (key is not None and task is None):
        raise click.UsageError("expected --queue, or --task, or --task with --key", click.get_current_context())

    return {"queue": queue, "task": task, "key": key}


def _note_unknown(app: QueueTasks, which: Mapping[str, str | None]) -> None:
    """A typing error would limit nothing."""
    kind, known = ("queue", known_queues(app)) if which["queue"] is not None else ("task", known_tasks(app))
    name = which[kind] or ""

    if name not in known:
        note(f"no {kind} {name!r} is known yet{nearest(name, known)}")


def _done(name: str, becomes: str, rule: LimitRule) -> Done:
    record = {"name": name, **_rule_record(rule)}
    line = [name, *("" if value is None else str(value) for value in _rule_record(rule).values())]
    return Done(f"{describe_limit(name)} {becomes}", [line], record)


def _describe(rule: LimitRule) -> str:
    parts = (
        "" if rule.max_running is None else f"{rule.max_running:,} at the same time",
        "" if rule.rate is None else f"{write_rate(rule.rate)}",
        "" if rule.max_length is None else f"{rule.max_length:,} waiting (when full it {_when_full(rule)})",
    )
    return ", ".join(part for part in parts if part) or "any number"
