"""Expectations of a test about enqueued jobs: finding them, and a good message when they are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from msgspec import Struct

from cherga.client.app import QueueTasks
from cherga.client.dotted import Target
from cherga.client.handle import Job
from cherga.client.task import Task
from cherga.rules.codec import ENCODE_ERRORS, decode, encode
from cherga.rules.options import nearest
from cherga.rules.times import span
from cherga.worker.failure import UNREADABLE

SHOWN = 20
"""Jobs in one message at most."""

Wanted = Task[..., Any] | Target
"""A task as a test names it: the task, its function, or a name."""

Arguments = dict[Any, Any]
"""Values by the name of their parameter, or by their place where the task is not declared here."""


class Filters(Struct, frozen=True):
    """The traits that a job must have beside its task and arguments; None does not restrict."""

    within: float | None = None
    queue: str | None = None
    owner: str | None = None
    count: int | None = None


class Expectation:
    """Jobs of one task, with at least these arguments, that pass these filters."""

    def __init__(self, app: QueueTasks, task: Wanted, args: tuple[Any, ...], kwargs: dict[str, Any], filters: Filters) -> None:
        self._app = app
        self._name = canonical_name(app, task)
        self._arguments = _given(app, self._name, args, kwargs)
        self._filters = filters

    def check(self, jobs: Sequence[Job[Any]], now: float) -> list[Job[Any]]:
        """The jobs that are meant. Raises ``AssertionError`` when there are not as many as expected."""
        __tracebackhide__ = True
        found = [job for job in jobs if self._fits(job, now)]
        count = self._filters.count

        if (count is None and not found) or (count is not None and len(found) != count):
            raise AssertionError(self._complain(found, jobs, now))

        return found

    def _fits(self, job: Job[Any], now: float) -> bool:
        filters = self._filters
        return (
            canonical_name(self._app, job.task_name) == self._name
            and (filters.queue is None or job.queue == filters.queue)
            and (filters.owner is None or job.owner == filters.owner)
            and (filters.within is None or _due_in(job, now) <= filters.within)
            and self._has_arguments(job)
        )

    def _has_arguments(self, job: Job[Any]) -> bool:
        actual = arguments_of(self._app, job)
        return all(name in actual and _same(value, actual[name]) for name, value in self._arguments.items())

    def _complain(self, found: Sequence[Job[Any]], jobs: Sequence[Job[Any]], now: float) -> str:
        count = self._filters.count
        wanted = "a job" if count is None else "1 job" if count == 1 else f"{count} jobs"
        seen = "nothing was enqueued" if not jobs else "\n".join(["enqueued were:", *_list(self._app, jobs, now)])
        return f"expected {wanted} {self}{self._hint()}, found {len(found) or 'none'}; {seen}"

    def _hint(self) -> str:
        if self._name in self._app.tasks:
            return ""

        return f" (no task of that name is declared{nearest(self._name, self._app.tasks)})"

    def __str__(self) -> str:
        filters = self._filters
        due = "" if filters.within is None else f" due within {filters.within:g} s"
        queue = "" if filters.queue is None else f" in queue {filters.queue}"
        owner = "" if filters.owner is None else f" of owner {filters.owner}"
        return f"{_call(self._name, self._arguments, self._is_complete())}{due}{queue}{owner}"

    def _is_complete(self) -> bool:
        """Every argument is given."""
        task = self._app.tasks.get(self._name)
        return task is not None and set(task.signature.names) <= self._arguments.keys()


def canonical_name(app: QueueTasks, task: Wanted) -> str:
    """The name that jobs of the task are stored under. Raises ``UnknownTask`` for a function that is none."""
    name = task if isinstance(task, str) else app.dotted.find(cast(Target, task))

    if name is None:
        raise app.dotted.refuse(cast(Target, task))

    return app.aliases.get(name, name)


def arguments_of(app: QueueTasks, job: Job[Any]) -> Arguments:
    """The arguments of a job, with the types of the signature where the task is declared here."""
    task = app.tasks.get(canonical_name(app, job.task_name))

    if task is not None:
        try:
            args, kwargs = task.signature.unpack(job.row.payload)
            return dict(task.signature.signature.bind(*args, **kwargs).arguments)
        except (*UNREADABLE, TypeError):
            pass

    return _plain_arguments(job.arguments)


def describe(app: QueueTasks, job: Job[Any], now: float) -> str:
    """A line about a job."""
    state = f"due in {span(wait)}" if (wait := _due_in(job, now)) else job.status.value
    owner = f", owner {job.owner}" if job.owner else ""
    return f"{_call(job.task_name, arguments_of(app, job))}  {state}, queue {job.queue}{owner}"


def _list(app: QueueTasks, jobs: Sequence[Job[Any]], now: float) -> list[str]:
    lines = [f"    {describe(app, job, now)}" for job in jobs[:SHOWN]]
    return lines if len(jobs) <= SHOWN else [*lines, f"    … and {len(jobs) - SHOWN} more"]


def _given(app: QueueTasks, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    task = app.tasks.get(name)

    if task is None:
        return dict(enumerate(args)) | kwargs

    try:
        return dict(task.signature.signature.bind_partial(*args, **kwargs).arguments)
    except TypeError as error:
        raise TypeError(f"expected arguments of task {name}{task.signature.signature}: {error}") from None


def _plain_arguments(stored: Any) -> Arguments:
    match stored:
        case dict():
            return stored
        case [list() as args, dict() as kwargs]:
            return dict(enumerate(args)) | kwargs
        case _:
            return {}


def _due_in(job: Job[Any], now: float) -> float:
    """Seconds until the job may run; 0 for one that could or did."""
    run_at = job.row.run_at
    return 0.0 if run_at is None or job.status.final else max(0.0, run_at - now)


def _same(expected: Any, actual: Any) -> bool:
    """Equal as they are, or as they are stored: a UUID is its text where the parameter has no type."""
    return bool(expected == actual) or _stored(expected) == _stored(actual)


def _stored(value: Any) -> Any:
    try:
        return decode(encode(value))
    except ENCODE_ERRORS:
        return value


def _call(name: str, arguments: Arguments, complete: bool = True) -> str:
    """The call as it would be written; three dots stand for arguments that may be anything."""
    shown = [repr(value) if isinstance(key, int) else f"{key}={value!r}" for key, value in arguments.items()]
    return f"{name}({', '.join(shown if complete else [*shown, '…'])})"
