"""Tasks by their names: enqueued here, and perhaps declared by workers alone, who publish how they want it done."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cherga.client.dotted import DottedTasks
from cherga.client.flow import NamedTask, Step
from cherga.client.foreign import Uncalled
from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from cherga.client.order import Order, as_published, order_with
from cherga.client.publish import KEYED, PUBLISHED, find_published
from cherga.client.steering import AnyTask
from cherga.client.submit import Submitter
from cherga.client.task import Task
from cherga.client.waiting import refuse_on_loop
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.options import Duration
from cherga.words.departure import Wish
from cherga.words.errors import ConfigError
from cherga.words.push import GROUP_TASK, NewJob

logger = logging.getLogger("cherga.client")


class Published(Struct, frozen=True):
    """A task as workers have told of it."""

    name: str
    order: Order
    keyed: bool = False
    """The task makes keys of its arguments."""


class ByName(ABC):
    """Gives an application the verbs that take a task's name."""

    tasks: dict[str, Task[Any, Any]]
    dotted: DottedTasks
    submitter: Submitter
    max_payload: int

    @property
    @abstractmethod
    def broker(self) -> FullBroker:
        """The broker, opened at the first use."""

    @abstractmethod
    def send(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]:
        """Push jobs, all or none."""

    @abstractmethod
    async def asend(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]:
        """The async twin of ``send``."""

    @abstractmethod
    def group_handle(self, job: Job[Any], callback: Job[Any] | None) -> GroupJob[Any]:
        """The handle on a group, from the job that waits for its members."""

    def add_task(
        self,
        task: str | Task[..., Any],
        /,
        *args: Any,
        priority: int | None = None,
        timeout: Duration | None = None,
        **kwargs: Any,
    ) -> Job[Any]:
        """Enqueue a task, or by its name; it need not be declared here.

        ``priority`` overrides the task's; ``timeout`` waits that long for the end of the job and returns it refreshed
        (raises ``ResultTimeout``). A task that neither this process nor a worker has declared is stored all the same: a
        worker that knows it will run it.
        """
        wait = None if timeout is None else check.seconds(timeout, "timeout")

        if wait is not None:
            refuse_on_loop("add_task(…, timeout=…)", "await app.aadd_task(…)")

        (job,) = self.send((self._named_job(_name_of(task), args, kwargs, priority),))

        if wait is not None:
            job.await_end(wait)

        return job

    async def aadd_task(
        self,
        task: str | Task[..., Any],
        /,
        *args: Any,
        priority: int | None = None,
        timeout: Duration | None = None,
        **kwargs: Any,
    ) -> Job[Any]:
        """The async twin of ``add_task``."""
        wait = None if timeout is None else check.seconds(timeout, "timeout")
        (new,) = await self.aaddressed((self.draft(_name_of(task), args, kwargs, priority),))
        (job,) = await self.asend((new if priority is None else replace(new, priority=priority),))

        if wait is not None:
            await job.aawait_end(wait)

        return job

    def s(self, name: str, /, *args: Any, **kwargs: Any) -> Step[Any]:
        """A step by name, for ``chain`` and ``group``; the task need not be declared here. See ``Task.s``."""
        task = self.task_named(name)
        return task.s(*args, **kwargs) if task else Step(NamedTask(name, self), Order(), args, kwargs)

    def prepare(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> NewJob:
        """The job that an enqueue of this task, or of the task of this name, would store."""
        if not isinstance(task, str):
            return task.prepare(args, kwargs)

        return self._named_job(task, tuple(args), dict(kwargs or {}), None)

    def _named_job(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None) -> NewJob:
        return self.build_named(name, args, kwargs, partial(_with_priority, priority=priority))

    def build_named(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Order], Order]) -> NewJob:
        """A job by name, in the order that its task, or a worker, or else the defaults say, with what the caller changes."""
        if (task := self.task_named(name)) is not None:
            return task.build(change(task.order), args, kwargs)

        told = self._find_published(name)

        if told.keyed and (known := self.dotted.fetch(name)) is not None:
            task = self.tasks[known]
            return task.build(change(task.order), args, kwargs)

        return NamedTask(told.name, self).build(change(self._without_keys(told).order), args, kwargs)

    def task_named(self, name: str) -> Task[Any, Any] | None:
        """The task that is declared here under this name, an alias, or the dotted name of where it stands."""
        known = name if isinstance(name, str) and name in self.tasks else self.dotted.declared(check.task_name(name))
        return None if known is None else self.tasks[known]

    # --- tasks that are not declared here

    def published(self, name: str) -> tuple[str, Order]:
        """Name and order of a task that is not declared here, as workers have published them, else the defaults."""
        told = self._without_keys(self._find_published(name))
        return told.name, told.order

    def _without_keys(self, told: Published) -> Published:
        """The same, with a word in the log, once, where jobs lack what only the code of their task can make."""
        if told.keyed and told.name not in self.dotted.keyless:
            self.dotted.keyless.add(told.name)
            logger.warning(
                "task %s makes unique or limit keys of its arguments, which a sender without its code cannot: its jobs are "
                "stored without them; import the module that declares it, or list that with tasks_from",
                told.name,
                extra={"action": "task.keyless", "task_name": told.name},
            )

        return told

    def _find_published(self, name: str) -> Published:
        found = find_published(self.broker, name)

        if found is None:
            return Published(name, Order())

        facts = msgspec.msgpack.decode(found.data, type=dict[str, Any], strict=False)
        order = order_with(Order(), found.name, cast(Any, {k: v for k, v in facts.items() if k in PUBLISHED}))
        return Published(found.name, order, bool(facts.get(KEYED)))

    def draft(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None) -> NewJob:
        """A job by name, to be ``addressed`` before it is stored."""
        if (task := self.task_named(name)) is not None:
            return task.build(_with_priority(task.order, priority), args, kwargs)

        return NamedTask(name, self).build(_with_priority(Order(), priority), args, kwargs)

    def undeclared(self, jobs: Sequence[NewJob]) -> list[str]:
        """The tasks of these jobs that are not declared here: workers may have published how they want to be enqueued."""
        return [name for name in {job.task: None for job in jobs} if name != GROUP_TASK and self.task_named(name) is None]

    def addressed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """The jobs, those of undeclared tasks as workers have published it. Asks the broker where there are such."""
        names = self.undeclared(jobs)
        return _as_published(jobs, self._all_published(names)) if names else jobs

    async def aaddressed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """The async twin of ``addressed``."""
        names = self.undeclared(jobs)
        return _as_published(jobs, await self.submitter.call(self._all_published, names)) if names else jobs

    def _all_published(self, names: Sequence[str]) -> dict[str, tuple[str, Order]]:
        return {name: self.published(name) for name in names}


def _name_of(task: object) -> str:
    if isinstance(task, Task):
        return task.name

    if isinstance(task, Uncalled):
        raise ConfigError(f"expected a task or its name, got {task!r}; store it with its own enqueue(…)")

    if callable(task):
        raise ConfigError(
            f"expected a task or its name, got {check.shown(task)}; declare it with @app.task, then call its enqueue(…)"
        )

    return check.task_name(task)  # type: ignore[arg-type] # whatever it is, the answer says so


def _with_priority(order: Order, priority: int | None) -> Order:
    return order if priority is None else replace(order, priority=check.priority(priority))


def _as_published(jobs: Sequence[NewJob], found: Mapping[str, tuple[str, Order]]) -> list[NewJob]:
    return [as_published(job, *found[job.task]) if job.task in found else job for job in jobs]
