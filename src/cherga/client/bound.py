"""The task bound to the running job: the first argument of tasks declared with ``echo=True``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from cherga.client import foreign
from cherga.client.children import Child
from cherga.client.context import Context
from cherga.client.flow import Part
from cherga.client.sleeping import AsyncContext
from cherga.client.task import Task
from cherga.rules.retry import Retry
from cherga.words.errors import ConfigError


class BoundTask(foreign.Explaining):
    """The declaration's facts, the job's context, and a way to enqueue children."""

    _foreign = foreign.BOUND
    _awaits = False
    """The job runs on a loop, which nothing may hold up."""

    def __init__(self, task: Task[..., Any], ctx: Context) -> None:
        self.task = task
        self._context = ctx

    @property
    def task_name(self) -> str:
        return self.task.name

    @property
    def priority(self) -> int:
        """The running job's priority."""
        return self._context.job.priority

    @property
    def echo(self) -> bool:
        return self.task.features.echo

    @property
    def max_time(self) -> float | None:
        return self.task.policy.max_time

    @property
    def retry(self) -> int:
        return _RetryCount(self.task.policy.retry.max)

    @property
    def retry_on_exc(self) -> list[type[BaseException]]:
        return list(self.task.policy.retry.on)

    @property
    def retry_policy(self) -> Retry:
        return self.task.policy.retry

    @property
    def decode(self) -> Any:
        return self.task.features.decode

    @property
    def middlewares_before(self) -> list[Any]:
        return list(self.task.features.before)

    @property
    def middlewares_after(self) -> list[Any]:
        return list(self.task.features.after)

    @property
    def extra(self) -> Mapping[str, Any]:
        return self.task.features.extra

    @property
    def tags(self) -> tuple[str, ...]:
        return self.task.tags

    @property
    def description(self) -> str | None:
        return self.task.description

    def add_task(
        self, what: str | Task[..., Any] | Part[Any], /, *args: Any, priority: int | None = None, **kwargs: Any
    ) -> Child:
        """A child of this job, stored in the same atomic write that completes the job: a task or its name, with arguments, or a
        whole step, ``chain`` or ``group``.

        It is dropped when the attempt fails, so that a retry makes no second one. Awaiting the value returned (or calling
        its ``store()``) stores the child now instead, under an id that a retry finds again.
        """
        if isinstance(what, Part):
            _expect_nothing_else(what, args, kwargs, priority)
            return self._context.children.add_flow(what, self._awaits)

        return self._context.children.add(_name_of(what), args, kwargs, priority, self._awaits)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task_name} of job {self._context.job_id}>"


class _RetryCount(int):
    """The number of retries; called, as Celery's ``self.retry`` is, it answers with our word."""

    if not TYPE_CHECKING:

        def __call__(self, *args: object, **options: object) -> NoReturn:
            raise TypeError("self.retry is the number of retries; here it is raise RetryLater(seconds)")


def _name_of(task: object) -> str:
    if isinstance(task, str | Task):
        return task if isinstance(task, str) else task.name

    raise ConfigError(
        f"expected add_task to be given a task, its name, a step, chain or group, got {task!r}; declare a task with @app.task"
    )


def _expect_nothing_else(flow: Part[Any], *given: Any) -> None:
    if any(each not in ((), {}, None) for each in given):
        raise ConfigError(f"expected add_task({flow!r}) alone: its arguments and options stand in its steps")


class AsyncTask(BoundTask):
    """Bound to the job of an ``async def`` task: the methods of ``ctx`` that wait are awaited."""

    _awaits = True

    @property
    def ctx(self) -> AsyncContext:
        """The job's context."""
        return AsyncContext(self._context)


class SyncTask(BoundTask):
    """Bound to the job of a ``def`` task."""

    @property
    def ctx(self) -> Context:
        """The job's context."""
        return self._context
