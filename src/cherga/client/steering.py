"""Steering an application's jobs while workers run: limits, schedules and pauses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from cherga.client.handle import Job
from cherga.client.limits import NO_RULE, Limits, limit_name, rule_with
from cherga.client.schedules import Scheduled, Schedules, Timing, make_schedule
from cherga.client.submit import Submitter
from cherga.client.task import Prepared, Task
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.elsewhere import QUEUE, refused
from cherga.rules.pausing import same_words, write_arguments
from cherga.rules.settings import Settings
from cherga.words.clock import Clock
from cherga.words.departure import Wish
from cherga.words.errors import ConfigError
from cherga.words.limits import LimitRule
from cherga.words.push import NewJob
from cherga.words.shared import PauseScope

AnyTask = Task[Any, Any] | Prepared[Any, Any] | str
"""A task, one with options, or its name."""


class Steering(ABC):
    """Gives an application the verbs that change when and how much runs."""

    submitter: Submitter
    clock: Clock
    settings: Settings
    tasks: dict[str, Task[Any, Any]]
    aliases: dict[str, str]
    declared_limits: dict[str, LimitRule]

    @property
    @abstractmethod
    def broker(self) -> FullBroker:
        """The broker, opened at the first use."""

    @abstractmethod
    def send(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]:
        """Push jobs, all or none."""

    @abstractmethod
    def prepare(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> NewJob:
        """The job that an enqueue of this task would store."""

    # --- limits

    @property
    def limits(self) -> Limits:
        """The limits as they stand at the broker, and how to change them."""
        return Limits(self)

    def limit(self, *, queue: str, **rule: Any) -> None:
        """Declare a queue's limits: ``max_running``, ``rate``, ``max_length`` with ``overflow``. Raises ``ConfigError``.

        Workers store it when they start; ``app.limits`` changes it at run time.
        """
        if unknown := rule.keys() - QUEUE.words:
            raise refused(min(unknown), QUEUE)

        self.declared_limits[limit_name(queue=queue)] = rule_with(NO_RULE, **rule)

    # --- schedules

    @property
    def schedules(self) -> Schedules:
        """The stored schedules, and how to change them."""
        return Schedules(self)

    def schedule(
        self,
        name: str,
        task: AnyTask,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **timing: Unpack[Timing],
    ) -> Scheduled:
        """Enqueue the task with these arguments again and again: ``cron=…`` with ``timezone=…``, or ``every=…``.

        A schedule of that name that was made before at run time is changed. It stays until it is deleted, whatever is
        deployed. Raises ``ConfigError`` for a timing that is wrong, ``InvalidArguments`` for arguments that do not fit.
        """
        _check_call(task, args, kwargs)
        return self.schedules.store(name, make_schedule(self.prepare(task, args, kwargs), timing))

    async def aschedule(
        self,
        name: str,
        task: AnyTask,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **timing: Unpack[Timing],
    ) -> Scheduled:
        """The async twin of ``schedule``."""
        return await self.submitter.call(self.schedule, name, task, args, kwargs, **timing)

    # --- pauses

    def pause(
        self, *, queue: str | None = None, task: str | None = None, arguments: Mapping[str, Any] | None = None
    ) -> PauseScope:
        """Hand out no jobs of this queue, this task, or this task with these arguments; no jobs at all when none is named.

        What runs goes on, and enqueueing too. Raises ``ConfigError``.
        """
        scope = self.pause_scope(queue, task, arguments)
        self.broker.pause(scope, True)
        return scope

    def resume(
        self, *, queue: str | None = None, task: str | None = None, arguments: Mapping[str, Any] | None = None
    ) -> PauseScope:
        """Take back the ``pause`` of the same words. Raises ``ConfigError``."""
        scope = self.pause_scope(queue, task, arguments)

        for paused in self.resumed_by(scope):
            self.broker.pause(paused, False)

        return scope

    def pause_scope(self, queue: str | None, task: str | None, arguments: Mapping[str, Any] | None) -> PauseScope:
        """The scope to pause, with each argument as a job of the task would get it. Raises ``ConfigError``."""
        if arguments is not None and task is None:
            raise ConfigError("expected a task together with arguments: they are looked for in its jobs alone")

        return PauseScope(
            queue=None if queue is None else check.name(queue, "queue"),
            task=None if task is None else check.name(task, "task"),
            arguments=None if arguments is None else write_arguments(self._as_arrived(str(task), arguments)),
        )

    def resumed_by(self, scope: PauseScope) -> list[PauseScope]:
        """The pauses that a ``resume`` of these words takes back."""
        alike = [paused for paused in self.broker.paused() if same_words(paused, scope)] if scope.arguments else []
        return alike or [scope]

    def _as_arrived(self, task: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """A date for the text of one, where the task is declared here; what fits no parameter stays what it is."""
        declared = self.tasks.get(self.aliases.get(task, task))

        if declared is None or not isinstance(arguments, Mapping):
            return arguments

        return {name: declared.signature.as_arrived(name, value) for name, value in arguments.items()}

    def paused(self) -> list[PauseScope]:
        """The pauses that hold now."""
        return self.broker.paused()

    async def apause(self, **what: Any) -> PauseScope:
        """The async twin of ``pause``."""
        return await self.submitter.call(self.pause, **what)

    async def aresume(self, **what: Any) -> PauseScope:
        """The async twin of ``resume``."""
        return await self.submitter.call(self.resume, **what)

    async def apaused(self) -> list[PauseScope]:
        """The async twin of ``paused``."""
        return await self.submitter.call(self.paused)


def _check_call(task: object, args: object, kwargs: object) -> None:
    if not isinstance(task, Task | Prepared | str):
        raise ConfigError(f"expected a task, task.using(…) or a task's name to schedule, got {task!r}")

    if isinstance(args, str | bytes) or not isinstance(args, Iterable):  # the letters of a text would be meant
        raise ConfigError(f"expected args to be a tuple such as (7,), got {args!r}")

    if not (kwargs is None or isinstance(kwargs, Mapping)):
        raise ConfigError(f"expected kwargs to be a dictionary of arguments, got {kwargs!r}")
