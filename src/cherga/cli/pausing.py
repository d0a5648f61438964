"""``cherga queues pause`` and ``resume``: closing queues and tasks, and opening them again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from cherga.cli.calls import read_named
from cherga.cli.completing import complete_arguments, complete_queues, complete_tasks
from cherga.cli.known import known_queues, known_tasks
from cherga.cli.options import reading_options, with_app
from cherga.cli.output import Done, Output, note
from cherga.cli.parameters import NAME
from cherga.cli.values import to_json
from cherga.client.app import QueueTasks
from cherga.rules.describe import describe_scope, scope_arguments
from cherga.rules.options import nearest
from cherga.rules.pausing import write_arguments
from cherga.words.shared import PauseScope

F = TypeVar("F", bound=Callable[..., Any])


def scope_options(function: F) -> F:
    """Add the names of queues, ``--task`` and ``--arg``."""
    for option in (
        click.option(
            "--arg",
            "named",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=complete_arguments,
            help="Only its jobs with this argument; may be repeated.",
        ),
        click.option(
            "--task",
            type=NAME,
            metavar="NAME",
            shell_complete=complete_tasks,
            help="Only this task: in the queues named, or everywhere.",
        ),
        click.argument("names", nargs=-1, type=NAME, shell_complete=complete_queues, metavar="[NAME]..."),
    ):
        function = option(function)

    return function


@click.command("pause")
@scope_options
@click.option("--all", "everything", is_flag=True, help="Everything.")
@with_app
def pause(app: QueueTasks, out: Output, names: tuple[str, ...], everything: bool, **wish: Any) -> None:
    """Stop handing out jobs of these queues; what runs goes on, and enqueueing too.

    With --task mail --arg user_id=7 only the jobs of that task with this argument wait; the value is JSON where it can be read
    as JSON, else text.
    """
    scopes = _scopes(app, names, everything, **wish)

    for name in set(names) - known_queues(app):
        note(f"no task, job or worker uses queue {name!r} yet{nearest(name, known_queues(app))}")

    _note_unknown(app, scopes[0])
    _set(app, scopes, True)
    out.done(_pause_done("paused", scopes))


@click.command("resume")
@scope_options
@click.option("--all", "everything", is_flag=True, help="Everything, whatever it was paused by.")
@with_app
def resume(app: QueueTasks, out: Output, names: tuple[str, ...], everything: bool, **wish: Any) -> None:
    """Hand out jobs again: the reverse of the same pause command, and --all of every one."""
    paused = app.broker.paused()
    asked = _scopes(app, names, everything, **wish)
    scopes = paused if everything else [scope for each in asked for scope in app.resumed_by(each)]

    for scope in set(scopes) - set(paused):
        note(f"{describe_scope(scope)} was not paused")

    _set(app, scopes, False)

    for scope in app.broker.paused():
        if any(_covers(scope, resumed) for resumed in scopes):
            note(f"{describe_scope(scope)} is still paused")

    out.done(_pause_done("resumed", scopes))


def _scopes(
    app: QueueTasks, names: Sequence[str], everything: bool, task: str | None, named: Sequence[str]
) -> list[PauseScope]:
    if named and not task:
        raise click.UsageError("expected --arg only together with --task")

    if everything == bool(names or task):
        raise click.UsageError("expected the names of queues, --task, or --all alone")

    with reading_options():
        arguments = write_arguments(_arguments(app, str(task), named)) if named else None

    return [PauseScope(name, task, arguments) for name in names] or [PauseScope(None, task, arguments)]


def _arguments(app: QueueTasks, task: str, named: Sequence[str]) -> dict[str, Any]:
    """The arguments as jobs of the task would get them: 7 is a text where the task takes a text."""
    values = read_named(named)
    declared = app.tasks.get(app.aliases.get(task, task))

    if declared is None:
        return values

    texts = dict(text.split("=", 1) for text in named)
    return {name: declared.signature.as_arrived(name, value, texts[name]) for name, value in values.items()}


def _note_unknown(app: QueueTasks, scope: PauseScope) -> None:
    """A typing error would pause nothing."""
    if scope.task is not None and scope.task not in (known := known_tasks(app)):
        note(f"no task {scope.task!r} is known yet{nearest(scope.task, known)}")

    task = app.tasks.get(app.aliases.get(scope.task or "", scope.task or ""))

    if task is None:
        return

    for name in set(scope_arguments(scope)) - set(task.signature.names):
        note(f"task {scope.task} has no argument {name!r}{nearest(name, task.signature.names)}")


def _set(app: QueueTasks, scopes: Iterable[PauseScope], paused: bool) -> None:
    for scope in scopes:
        app.broker.pause(scope, paused)


def _covers(scope: PauseScope, other: PauseScope) -> bool:
    pairs = ((scope.queue, other.queue), (scope.task, other.task), (scope.arguments, other.arguments))
    return all(wide in {None, narrow} for wide, narrow in pairs)


def _pause_done(past: str, scopes: Sequence[PauseScope]) -> Done:
    return Done(
        f"{past} {', '.join(map(describe_scope, scopes))}" if scopes else "nothing was paused",
        [[scope.queue or "", scope.task or "", past, _arguments_text(scope)] for scope in scopes],
        [_record(scope, past == "paused") for scope in scopes],
    )


def _arguments_text(scope: PauseScope) -> str:
    return to_json(scope_arguments(scope)).decode() if scope.arguments else ""


def _record(scope: PauseScope, paused: bool) -> dict[str, Any]:
    return {"queue": scope.queue, "task": scope.task, "arguments": scope_arguments(scope) or None, "paused": paused}
