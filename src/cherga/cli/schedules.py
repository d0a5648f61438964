"""The ``cherga schedules`` group: what is enqueued again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

from cherga.cli.calls import ARG_HELP, FORCE_HELP, check_known, read_call
from cherga.cli.completing import complete_arguments, complete_schedules, complete_tasks, complete_zones
from cherga.cli.lazy import Entry, LazyGroup, show_help
from cherga.cli.options import reading_options, watch_option, with_app
from cherga.cli.output import Cell, Column, Done, Listing, Output
from cherga.cli.parameters import NAME, SPAN, Whole
from cherga.cli.values import call_text, shorten, unpack
from cherga.client.app import QueueTasks
from cherga.client.records import job_record
from cherga.client.schedules import Scheduled, Timing
from cherga.rules.times import from_now, iso, local
from cherga.words.schedule import CatchUp

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = (
    Column("NAME", share=2),
    Column("JOB", share=2),
    Column("WHEN", share=3),
    Column("NEXT"),
    Column("CATCH UP", from_width=110),
    Column("FROM", from_width=90),
    Column("PAUSED"),
)

COMMANDS = {
    "list": Entry("cherga.cli.schedules:list_schedules", "List schedules, and when they fire next."),
    "add": Entry("cherga.cli.schedules:add", "Enqueue a task again and again."),
    "change": Entry("cherga.cli.schedules:change", "Let a schedule fire at other times."),
    "pause": Entry("cherga.cli.schedules:pause", "Let schedules fire no more."),
    "resume": Entry("cherga.cli.schedules:resume", "Let schedules fire again."),
    "run": Entry("cherga.cli.schedules:run", "Enqueue a schedule's job now."),
    "delete": Entry("cherga.cli.schedules:delete", "Delete schedules that were made at run time."),
}


@click.command("schedules", cls=LazyGroup, entries=COMMANDS)
@click.pass_context
def schedules(ctx: click.Context) -> None:
    """List, add, change, pause, resume, run and delete schedules."""
    ctx.invoke(show_help)


def timing_options(function: F) -> F:
    """Add ``--cron``, ``--every``, ``--timezone``, ``--catch-up`` and ``--catch-up-cap``."""
    ways = click.Choice([way.value for way in CatchUp])

    for option in (
        click.option("--catch-up-cap", type=Whole(min=1), metavar="N", help="Missed ticks at most, for --catch-up all."),
        click.option("--catch-up", type=ways, metavar="WAY", help="Missed ticks: skip them, enqueue the last, or all."),
        click.option(
            "--timezone", metavar="ZONE", shell_complete=complete_zones, help="The time zone of --cron, such as Europe/Kyiv."
        ),
        click.option("--every", type=SPAN, metavar="SPAN", help="The time between two ticks: 90s, 5m, 2h, 1d."),
        click.option("--cron", metavar="TEXT", help='Five fields, "0 3 * * *", or six with seconds first.'),
    ):
        function = option(function)

    return function


# --- list


@click.command("list")
@watch_option
@with_app
def list_schedules(app: QueueTasks, out: Output) -> None:
    """List the schedules that the code declares and those made at run time, by name.

    In a pipe: name, task, timing, next tick, what becomes of missed ticks, "code" or "run time", and "yes" where it is paused,
    with tabs between them.
    """
    out.listing(make_listing(app.schedules.all(), app.clock.now()))


def make_listing(found: Sequence[Scheduled], now: float) -> Listing:
    """The table of these schedules."""
    return Listing(
        columns=COLUMNS,
        rows=[_row(scheduled, now) for scheduled in found],
        data=[schedule_record(scheduled) for scheduled in found],
        empty='no schedules yet; add one: cherga schedules add NAME TASK --cron "0 3 * * *"',
    )


def _row(scheduled: Scheduled, now: float) -> list[Cell]:
    return [
        Cell(scheduled.name, style="bold"),
        Cell(scheduled.task_name, shown=_call(scheduled)),
        Cell(scheduled.when),
        _next(scheduled, now),
        Cell(scheduled.schedule.catch_up.value),
        Cell("code" if scheduled.from_code else "run time"),
        Cell("yes" if scheduled.paused else "", style="yellow"),
    ]


def _call(scheduled: Scheduled) -> str:
    return f"{scheduled.task_name}({shorten(call_text(unpack(scheduled.schedule.job.payload)), 200)})"


def _next(scheduled: Scheduled, now: float) -> Cell:
    at = scheduled.next_at

    if at is None:
        return Cell("", shown="" if scheduled.paused else "never", style="dim")

    return Cell(iso(at.timestamp()) or "", shown=from_now(at.timestamp(), now))


def schedule_record(scheduled: Scheduled) -> dict[str, Any]:
    """A schedule as ``--json`` prints it."""
    schedule, at = scheduled.schedule, scheduled.next_at

    return {
        "name": scheduled.name,
        "task": scheduled.task_name,
        "arguments": unpack(schedule.job.payload),
        "queue": schedule.job.queue,
        "cron": schedule.cron,
        "every": schedule.every,
        "timezone": schedule.timezone,
        "catch_up": schedule.catch_up.value,
        "catch_up_cap": schedule.cap,
        "paused": scheduled.paused,
        "from_code": scheduled.from_code,
        "next_at": at and iso(at.timestamp()),
    }


# --- add and change


@click.command("add")
@click.argument("name", type=NAME, shell_complete=complete_schedules)
@click.argument("task", shell_complete=complete_tasks)
@click.argument("args", nargs=-1)
@click.option("--arg", "named", multiple=True, metavar="KEY=VALUE", shell_complete=complete_arguments, help=ARG_HELP)
@timing_options
@click.option("--force", is_flag=True, help=FORCE_HELP)
@with_app
def add(
    app: QueueTasks,
    out: Output,
    name: str,
    task: str,
    args: tuple[str, ...],
    named: tuple[str, ...],
    force: bool,
    **timing: Any,
) -> None:
    """Enqueue TASK with ARGS again and again, under the schedule's NAME; one of that name made before is changed.

    Arguments are as for "cherga jobs enqueue". The schedule stays until it is deleted, whatever is deployed.
    """
    if (timing["cron"] is None) == (timing["every"] is None):
        raise click.UsageError("expected --cron or --every, one of them", click.get_current_context())

    values, keywords = read_call(args, named)
    check_known(app, task, force)

    with reading_options():
        scheduled = app.schedule(name, task, values, keywords, **_given(timing))

    out.done(_done(app, scheduled, f"{name} enqueues {_call(scheduled)} {_rhythm(scheduled)}"))


@click.command("change")
@click.argument("name", shell_complete=complete_schedules)
@timing_options
@with_app
def change(app: QueueTasks, out: Output, name: str, **timing: Any) -> None:
    """Let the schedule NAME fire at other times from now on; what is not given stays as it is."""
    given = _given(timing)

    if not given:
        raise click.UsageError("expected what to change: --cron, --every, --timezone, --catch-up or --catch-up-cap")

    scheduled = _find(app, name, "changed")

    with reading_options():
        scheduled.change(**given)

    out.done(_done(app, scheduled, f"{name} now enqueues {_call(scheduled)} {_rhythm(scheduled)}"))


def _given(timing: dict[str, Any]) -> Timing:
    return cast(Timing, {name: value for name, value in timing.items() if value is not None})


def _rhythm(scheduled: Scheduled) -> str:
    return scheduled.when if scheduled.schedule.cron is None else f"at {scheduled.when}"


# --- pause, resume, run and delete


@click.command("pause")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_schedules)
@with_app
def pause(app: QueueTasks, out: Output, names: tuple[str, ...]) -> None:
    """Let these schedules fire no more, until they are resumed; a deploy does not change that."""
    for scheduled in (found := _find_all(app, names)):
        scheduled.pause()

    out.done(_all_done("paused", found))


@click.command("resume")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_schedules)
@with_app
def resume(app: QueueTasks, out: Output, names: tuple[str, ...]) -> None:
    """Let these schedules fire again; what becomes of missed ticks is what each one's --catch-up says."""
    for scheduled in (found := _find_all(app, names)):
        scheduled.resume()

    out.done(_all_done("resumed", found))


@click.command("run")
@click.argument("name", shell_complete=complete_schedules)
@with_app
def run(app: QueueTasks, out: Output, name: str) -> None:
    """Enqueue the job of the schedule NAME now, beside its ticks."""
    job = _find(app, name).run_now()
    sentence = f"{job.task_name} is {job.status}: {job.id}"
    record = {**job_record(job), "existing": job.existing}
    out.done(Done(sentence, [[str(job.id)]], record, hint=f"cherga jobs watch {job.id}", good=not job.existing))


@click.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_schedules)
@with_app
def delete(app: QueueTasks, out: Output, names: tuple[str, ...]) -> None:
    """Delete these schedules, which were made at run time. The jobs that they have enqueued stay."""
    for scheduled in (found := _find_all(app, names, "deleted")):
        scheduled.delete()

    out.done(_all_done("deleted", found))


def _find_all(app: QueueTasks, names: tuple[str, ...], to_be: str = "") -> list[Scheduled]:
    """The schedules of these names, all looked up before anything is done to one."""
    return [_find(app, name, to_be) for name in dict.fromkeys(names)]


def _find(app: QueueTasks, name: str, to_be: str = "") -> Scheduled:
    """The schedule of that name; ``to_be`` says what can be done to those made at run time alone."""
    with reading_options():
        scheduled = app.schedules.get(name)

    if to_be and scheduled.from_code:
        raise click.ClickException(f"schedule {name} was not {to_be}: the code declares it; change it there, or pause it")

    return scheduled


def _done(app: QueueTasks, scheduled: Scheduled, sentence: str) -> Done:
    at, now = scheduled.next_at, app.clock.now()
    times = f"next {local(at.timestamp(), now)}, {from_now(at.timestamp(), now)}" if at else "it is paused"
    return Done(sentence, [[cell.text for cell in _row(scheduled, now)]], schedule_record(scheduled), hint=times)


def _all_done(past: str, found: list[Scheduled]) -> Done:
    names = [scheduled.name for scheduled in found]
    data = [{"name": name, past: True} for name in names]
    return Done(f"{past} {', '.join(names)}", [[name, past] for name in names], data)
