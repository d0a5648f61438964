"""``cherga jobs enqueue``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import click

from cherga.cli.calls import ARG_HELP, FORCE_HELP, check_known, read_call
from cherga.cli.completing import complete_arguments, complete_queues, complete_tasks
from cherga.cli.exits import ExitCode
from cherga.cli.jobs.following import follow
from cherga.cli.options import with_app
from cherga.cli.output import Done, Output
from cherga.cli.parameters import NEW_ID, SPAN, TIME, Whole
from cherga.cli.values import json_text
from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.client.order import Order, UsingOptions, new_job, order_with
from cherga.client.records import job_record
from cherga.client.task import Task
from cherga.rules import options as check
from cherga.rules.codec import check_size, encode_argument
from cherga.rules.times import local
from cherga.words.job import JobState
from cherga.words.push import NewJob
from cherga.words.unique import Unique

PUBLISHED = ("queue", "priority", "tags", "description", "on_crash")


@click.command("enqueue")
@click.argument("task", shell_complete=complete_tasks)
@click.argument("args", nargs=-1)
@click.option("--arg", "named", multiple=True, metavar="KEY=VALUE", shell_complete=complete_arguments, help=ARG_HELP)
@click.option("--in", "run_in", type=SPAN, metavar="SPAN", help="Run after this long: 60, 90s, 5m, 2h, 1d.")
@click.option("--at", "run_at", type=TIME, metavar="TIME", help="Run at this time, ISO 8601.")
@click.option("--priority", type=Whole(-100, 100), metavar="N", help="-100 to 100; higher runs first.")
@click.option("--queue", metavar="NAME", shell_complete=complete_queues, help="Another queue than the task's.")
@click.option("--owner", metavar="NAME", help="Whose job it is.")
@click.option("--description", metavar="TEXT", help="A line for people.")
@click.option("--unique", metavar="KEY", help="Nothing, while an unfinished job holds this key.")
@click.option("--id", type=NEW_ID, metavar="ID", help="The job's id: enqueueing it twice is once.")
@click.option("--force", is_flag=True, help=FORCE_HELP)
@click.option("--wait", is_flag=True, help="Follow the job until it ends, as watch does.")
@click.option("--timeout", type=SPAN, metavar="SPAN", help="Wait at most this long, then exit code 8.")
@with_app
def enqueue(
    app: QueueTasks,
    out: Output,
    task: str,
    args: tuple[str, ...],
    named: tuple[str, ...],
    force: bool,
    wait: bool,
    timeout: float | None,
    **wish: Any,
) -> int:
    """Enqueue a job of TASK with ARGS.

    An argument is JSON where it can be read as JSON (7, true, null, [1, 2]), else text; '"7"' is the text 7. Write --
    before arguments that begin with a minus.
    """
    if timeout is not None and not wait:
        raise click.UsageError("expected --timeout only together with --wait")

    _refuse_pairs(app.task_named(task), args)
    values, keywords = read_call(args, named)
    job = _enqueue(app, task, values, keywords, _options(**wish), force)

    if not wait:
        out.done(_done(job, app.clock.now(), wish.get("id")))
        return ExitCode.OK

    return follow(app, out, job, timeout)


def _options(run_in: float | None, run_at: datetime | None, **wish: Any) -> UsingOptions:
    if run_in is not None and run_at is not None:
        raise click.UsageError("expected --in or --at, got both")

    given = {name: value for name, value in {**wish, "run_in": run_in, "run_at": run_at}.items() if value is not None}
    return cast(UsingOptions, given)


def _enqueue(
    app: QueueTasks, name: str, args: list[Any], kwargs: dict[str, Any], options: UsingOptions, force: bool
) -> Job[Any]:
    """The enqueue by the task where its code is here, which checks the arguments; else by its name."""
    if declared := app.task_named(name):
        job: Job[Any] = declared.using(**options).enqueue(*args, **kwargs)
        return job

    check_known(app, name, force)
    name, order = app.published(name)
    (job,) = app.send([_named_job(app, name, args, kwargs, order_with(order, name, options))])
    return job


def _refuse_pairs(task: Task[Any, Any] | None, args: Iterable[str]) -> None:
    """Raise ``click.UsageError`` for a text such as ``n=3``, where the task has an argument n."""
    names = task.signature.names if task else ()

    for text in args:
        name, is_pair, _ = text.partition("=")

        if is_pair and name in names:
            quoted = shlex.quote(json_text(text))
            raise click.UsageError(f"expected --arg {text} for the argument {name}, got {text!r} (as a text: {quoted})")


def _named_job(app: QueueTasks, name: str, args: list[Any], kwargs: dict[str, Any], order: Order) -> NewJob:
    what = f"arguments of task {name}"
    payload = check_size(encode_argument([args, kwargs], what), app.max_payload, what)
    unique = Unique(order.unique) if isinstance(order.unique, str) else None
    return new_job(check.name(name, "a task's name"), payload, order, unique)


def _done(job: Job[Any], now: float, asked_for: UUID | None) -> Done:
    record = {**job_record(job), "existing": job.existing}

    if job.existing and job.id == asked_for:
        words = f"not enqueued: job {job.id} is kept already, and is {job.status}"
    elif job.existing:
        words = f"not enqueued: job {job.id}, which is {job.status}, holds the unique key"
    elif job.status is JobState.SCHEDULED and job.row.run_at is not None:
        words = f"{job.task_name} is scheduled for {local(job.row.run_at, now)}: {job.id}"
    else:
        words = f"{job.task_name} is {job.status}: {job.id}"

    return Done(words, [[str(job.id)]], record, hint=f"cherga jobs watch {job.id}", good=not job.existing)
