"""Completion at the Tab key: ids of jobs, tasks and queues of the application that the line names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import click
from click.shell_completion import CompletionItem, get_completion_class

from cherga.cli.known import known_tasks
from cherga.cli.opening import open_app
from cherga.cli.target import Target, read_environment
from cherga.client.app import QueueTasks
from cherga.words.schedule import SCHEDULE

COMPLETE = "_CHERGA_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what SHELL needs to complete commands, ids, tasks and queues.

    For bash, in ~/.bashrc: eval "$(cherga completion bash)". For zsh the same in ~/.zshrc. For fish:
    cherga completion fish > ~/.config/fish/completions/cherga.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "cherga", COMPLETE).source())


def offer(ctx: click.Context, find: Callable[[QueueTasks], Iterable[CompletionItem]]) -> list[CompletionItem]:
    """The names that ``find`` finds in the application that the line names; none where that cannot be opened.

    A line that is being typed is no place for messages, so whatever the application prints is left out.
    """
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            with open_app(_target(ctx)) as app:
                return list(find(app))
        except (Exception, SystemExit):
            return []


def complete_tasks(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of tasks that the code or a worker has told."""
    return offer(ctx, lambda app: _items(known_tasks(app), begun))


def complete_queues(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Queues with jobs or tasks."""
    return offer(ctx, lambda app: _items({count.queue for count in app.broker.counts()} | _queues(app), begun))


def complete_schedules(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of schedules that are stored."""
    return offer(ctx, lambda app: _items((definition.name for definition in app.broker.definitions(SCHEDULE)), begun))


def complete_arguments(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of the arguments of the task that the line names, as far as its code is here."""

    def find(app: QueueTasks) -> list[CompletionItem]:
        # An option that still waits for its value leaves the words of the line unread.
        name = ctx.params.get("task") or next(iter(ctx.args), None)
        task = app.task_named(name) if name else None
        return _items((f"{name}=" for name in task.signature.names), begun) if task else []

    return offer(ctx, find)


def complete_zones(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of time zones."""
    return _items(available_timezones(), begun)


def _queues(app: QueueTasks) -> set[str]:
    return {task.queue for task in app.tasks.values()}


def _items(names: Iterable[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names) if name.startswith(begun)]


def _target(ctx: click.Context) -> Target:
    """The target as the command will choose it; at this point no command has run, and only the words of the line are known."""
    target = Target()

    for each in (ctx, ctx.find_root()):
        target = target.else_take(_named(each.params))

    return target.else_take(read_environment(os.environ))


def _named(params: dict[str, Any]) -> Target:
    return Target(params.get("app_name"), params.get("url"), params.get("namespace"))
