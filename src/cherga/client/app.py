"""``QueueTasks``: an application's tasks, and the client side of its broker."""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from importlib import import_module
from typing import Any, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload
from uuid import UUID

import msgspec
from msgspec.structs import replace

from cherga.brokers import connect
from cherga.client.handle import Job
from cherga.client.ids import as_id
from cherga.client.live import Watch
from cherga.client.order import Order, UniqueKey, new_job, on_crash, order_with
from cherga.client.submit import Submitter
from cherga.client.task import CoroutineTask, FunctionTask, Task
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.codec import check_size
from cherga.rules.decide import Policy
from cherga.rules.options import Duration
from cherga.rules.retry import Retry, exception_kinds
from cherga.rules.settings import BrokerSettings, Settings
from cherga.rules.settings import check as check_settings
from cherga.rules.signature import pack_unbound
from cherga.words.clock import Clock, SystemClock
from cherga.words.errors import ConfigError, DuplicateTask, EnqueueRefused, TaskError
from cherga.words.job import Definition, JobFilter, JobRow, JobState, NewJob, PushAnswer

P = ParamSpec("P")
R = TypeVar("R")

BROKER_URL = "CHERGA_BROKER_URL"
DEFAULT_URL = "sqlite:///cherga.db"


class TaskOptions(TypedDict, total=False):
    """The keywords of ``@app.task``."""

    queue: str
    priority: int
    retry: int | Retry
    retry_on_exc: Iterable[type[BaseException]]
    max_time: Duration | None
    unique: UniqueKey
    result_ttl: Duration
    failure_ttl: Duration
    on_crash: str
    tags: Iterable[str]
    description: str
    aliases: Iterable[str]


class TaskDecorator(Protocol):
    """What ``@app.task(...)`` gives: it turns a function into a task and keeps its types."""

    # Every coroutine function is also a function: the first overload that fits is meant.
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> FunctionTask[P, R]: ...


class QueueTasks:
    """An application's tasks and its broker; one object serves sync and async code.

    ``name`` is the broker's namespace. ``broker_url`` defaults to the environment's ``CHERGA_BROKER_URL``, else to
    ``sqlite:///cherga.db`` in the working directory. Further keywords are the fields of ``Settings`` and
    ``BrokerSettings``. The broker is opened at the first use, and again in each forked process.
    """

    def __init__(self, name: str = "cherga", broker_url: str | None = None, **settings: Any) -> None:
        self.tasks: dict[str, Task[Any, Any]] = {}
        self.aliases: dict[str, str] = {}
        self._options: dict[str, TaskOptions] = {}
        self.around_job: list[Callable[[], AbstractContextManager[object]]] = []
        """Makes the context managers that each job runs in, outermost first."""
        self.clock: Clock = SystemClock()
        self.job_logger = logging.getLogger("cherga.job")
        """Where failures and ends of jobs are logged; an application may put its own logger here."""
        self._lock = threading.RLock()
        self._broker: FullBroker | None = None
        self.configure(name, broker_url, **settings)
        self.submitter = Submitter(lambda groups: self.broker.push(groups))

    def configure(self, name: str | None = None, broker_url: str | None = None, **settings: Any) -> None:
        """Set name, broker and settings before the first use. Raises ``ConfigError`` that names what is wrong.

        Tasks that were declared before take their defaults (``max_time`` and how long jobs are kept) from these settings.
        """
        if self._broker is not None:
            raise ConfigError(f"expected {self.name} to be configured before its broker was opened")

        self.name = check.name(self.name if name is None else name, "the application's name")
        self.broker_url = broker_url or os.environ.get(BROKER_URL) or DEFAULT_URL
        self.given_settings = settings
        self.settings = make_settings(self.name, settings)
        self.max_payload = self.settings.max_payload

        for task in self.tasks.values():
            task.policy = replace(self._policy(self._options[task.name]), retry=task.policy.retry)

    name = "cherga"

    # --- declaring

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, R], /) -> FunctionTask[P, R]: ...
    @overload
    def task(self, name_: str, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    @overload
    def task(self, *, name: str | None = None, **options: Unpack[TaskOptions]) -> TaskDecorator: ...

    def task(self, function: Any = None, *, name: str | None = None, **options: Unpack[TaskOptions]) -> Any:
        """Declare a function as a task: ``@app.task``, ``@app.task("name")`` or ``@app.task(retry=5, …)``.

        Raises ``DuplicateTask`` for a name that is taken and ``ConfigError`` for an option that is wrong, both with the
        place in the code.
        """
        if callable(function):
            return self._declare(function, name, options)

        return lambda real: self._declare(real, name or function, options)

    def _declare(self, function: Callable[..., Any], name: str | None, options: TaskOptions) -> Task[Any, Any]:
        if not callable(function):
            raise TaskError(f"expected a function to declare as a task, got {function!r}")

        own_name: str = getattr(function, "__name__", repr(function))
        name = check.name(name or own_name, "a task's name")

        try:
            policy, order, aliases = self._policy(options), self._order(name, options), _aliases(options)
        except ConfigError as error:
            code = getattr(function, "__code__", None)
            where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
            raise ConfigError(f"task {name}{where}: {error}") from None

        make = CoroutineTask if inspect.iscoroutinefunction(function) else FunctionTask
        task = self._add(make(function, name, self, policy, order), aliases)
        self._options[name] = options
        return task

    def _add(self, task: Task[Any, Any], aliases: Iterable[str]) -> Task[Any, Any]:
        for name in (task.name, *aliases):
            other = self.tasks.get(self.aliases.get(name, name))

            if other is not None and other.place != task.place:
                raise DuplicateTask(f"the task name {name!r} is taken: {other.place} and {task.place}")

        self.tasks[task.name] = task
        self.aliases.update(dict.fromkeys(aliases, task.name))
        return task

    def _policy(self, options: TaskOptions) -> Policy:
        settings = self.settings
        limit = options.get("max_time", settings.max_time)

        return Policy(
            retry=_retry(options),
            max_time=None if limit is None else check.seconds(limit, "max_time") or None,
            result_ttl=check.seconds(options.get("result_ttl", settings.result_ttl), "result_ttl"),
            failure_ttl=check.seconds(options.get("failure_ttl", settings.failure_ttl), "failure_ttl"),
            on_crash=on_crash(options.get("on_crash", "retry")),
        )

    def _order(self, name: str, options: TaskOptions) -> Order:
        if unknown := set(options) - set(TaskOptions.__annotations__):
            word = min(unknown)
            raise ConfigError(f"unknown option {word!r}{check.nearest(word, TaskOptions.__annotations__)}")

        shared: dict[str, Any] = {
            key: options[key] for key in ("queue", "priority", "unique", "tags", "description") if key in options
        }

        if options.get("on_crash") == "fail":
            shared["on_crash"] = "fail"

        return order_with(Order(), name, cast(Any, shared))

    # --- enqueueing

    def send(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        """Push jobs, all or none, and return their handles."""
        if not jobs:
            return []

        (answer,) = self.broker.push((jobs,))
        return self._handles(jobs, answer, self._known_before(answer))

    async def asend(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        """The async twin of ``send``, coalesced with what other coroutines send meanwhile."""
        if not jobs:
            return []

        answer = await self.submitter.push(jobs, self.settings.enqueue_timeout)
        return self._handles(jobs, answer, await self.submitter.call(self._known_before, answer) if _stale(answer) else {})

    def add_task(
        self, name: str, /, *args: Any, priority: int | None = None, timeout: Duration | None = None, **kwargs: Any
    ) -> Job[Any]:
        """Enqueue by name; the task need not be declared here.

        ``priority`` overrides the task's; ``timeout`` waits that long for the end of the job and returns it refreshed
        (raises ``ResultTimeout``). A task that neither this process nor a worker has declared is stored all the same: a
        worker that knows it will run it.
        """
        (job,) = self.send((self._named_job(name, args, kwargs, priority),))

        if timeout is not None:
            job.await_end(timeout)

        return job

    async def aadd_task(
        self, name: str, /, *args: Any, priority: int | None = None, timeout: Duration | None = None, **kwargs: Any
    ) -> Job[Any]:
        """The async twin of ``add_task``."""
        new = await self.submitter.call(self._named_job, name, args, kwargs, priority)
        (job,) = await self.asend((new,))

        if timeout is not None:
            await job.aawait_end(timeout)

        return job

    def _named_job(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None) -> NewJob:
        task = self.tasks.get(self.aliases.get(name, name))
        order = task.order if task else self._published_order(name)

        if priority is not None:
            order = replace(order, priority=check.priority(priority))

        if task:
            return task.build(order, args, kwargs)

        payload = check_size(pack_unbound(name, args, kwargs), self.max_payload, f"arguments of task {name}")
        return new_job(check.name(name, "a task's name"), payload, order, None)

    def _published_order(self, name: str) -> Order:
        """What workers have published about a task that is not declared here, else the defaults."""
        found = self.broker.definitions("task", [name])

        if not found:
            return Order()

        published = msgspec.msgpack.decode(found[0].data, type=dict[str, Any], strict=False)
        return order_with(Order(), name, cast(Any, {k: v for k, v in published.items() if k in _PUBLISHED}))

    def _handles(self, jobs: Sequence[NewJob], answer: PushAnswer, known: dict[UUID, JobRow]) -> list[Job[Any]]:
        if answer.refused is not None:
            raise EnqueueRefused(answer.refused)

        now = self.clock.now()
        return [
            Job(known.get(pushed.id) or _snapshot(job, pushed.id, pushed.state, now), self, pushed.existing)
            for job, pushed in zip(jobs, answer.jobs, strict=True)
        ]

    def _known_before(self, answer: PushAnswer) -> dict[UUID, JobRow]:
        """The rows of jobs that were there before: the sender cannot know what stands in them."""
        ids = _stale(answer)
        return {row.id: row for row in self.broker.get(ids) if row is not None} if ids else {}

    # --- looking

    def get(self, id: UUID | str) -> Job[Any] | None:
        """The job of that id, None when it is not kept. Raises ``ValueError`` for a text that is no UUID."""
        (row,) = self.broker.get([as_id(id)])
        return None if row is None else Job(row, self)

    async def aget(self, id: UUID | str) -> Job[Any] | None:
        """The async twin of ``get``."""
        return await self.submitter.call(self.get, id)

    def jobs(
        self,
        *,
        owner: str | None = None,
        task: str | None = None,
        queue: str | None = None,
        states: Iterable[JobState | str] = (),
        unfinished: bool = False,
        limit: int = 100,
        before: Job[Any] | None = None,
    ) -> list[Job[Any]]:
        """Jobs that match, newest first; ``before`` gives the page after that job."""
        where = JobFilter(
            states=frozenset(JobState(state) for state in states), queue=queue, task=task, owner=owner, unfinished=unfinished
        )
        # A job that was just enqueued does not know its place yet.
        below = (before.row.sequence or before.refresh().row.sequence) if before else None
        return [Job(row, self) for row in self.broker.find(where, limit, below)]

    async def ajobs(self, **where: Any) -> list[Job[Any]]:
        """The async twin of ``jobs``."""
        return await self.submitter.call(self.jobs, **where)

    def watch(self, id: UUID | str, after: int = 0) -> Watch:
        """The job's live updates, for ``for`` and ``async for``; ends when the job is final."""
        return Watch(self, id, after)

    # --- the broker

    @property
    def broker(self) -> FullBroker:
        """The broker, opened at the first use. Raises ``ConfigError`` or ``BrokerError`` when it cannot be."""
        if self._broker is None:
            self._open()

        return cast(FullBroker, self._broker)

    def _open(self) -> None:
        with self._lock:
            if self._broker is None:
                broker = connect(self.broker_url, self.settings.broker)
                broker.open()
                self._broker = broker

    def close(self) -> None:
        """Give back threads and connections; the next use opens them again."""
        self.submitter.close()

        with self._lock:
            if self._broker is not None:
                self._broker.close()
                self._broker = None

    # --- working

    def worker(self, **options: Any) -> AbstractContextManager[Any]:
        """Embedded mode: run jobs in threads of this process for as long as the ``with`` block lasts.

        Options: ``queues``, ``threads``, ``concurrency``, ``name``. It has neither hog-proof leases nor recycling: a task
        that keeps the interpreter busy can hold up the heartbeat.
        """
        # Opened by name, like a broker: the worker's floor lies above this one, and clients never load it.
        embedded = import_module("cherga.worker.embedded").EmbeddedWorker
        return cast(AbstractContextManager[Any], embedded(self, **options))

    def publish(self) -> None:
        """Store what is declared here, for senders by name."""
        self.broker.define([_definition(task) for task in self.tasks.values()])

    def result_type(self, task: str) -> Any:
        """The type a task returns, as far as this process knows."""
        known = self.tasks.get(self.aliases.get(task, task))
        return known.signature.hints.get("return", Any) if known else Any

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.tasks)} tasks>"


_PUBLISHED = ("queue", "priority", "tags", "description", "on_crash")


def make_settings(name: str, given: dict[str, Any]) -> Settings:
    """Settings from keywords. Raises ``ConfigError`` for an unknown one or one out of its limits."""
    given = {key: value.total_seconds() if isinstance(value, timedelta) else value for key, value in given.items()}
    inner = {key: value for key, value in given.items() if key in BrokerSettings.__struct_fields__ and key != "namespace"}
    outer = {key: value for key, value in given.items() if key in Settings.__struct_fields__ and key != "broker"}

    if unknown := set(given) - set(inner) - set(outer):
        word = min(unknown)
        known = {*Settings.__struct_fields__, *BrokerSettings.__struct_fields__} - {"broker", "namespace"}
        raise ConfigError(f"unknown setting {word!r}{check.nearest(word, known)}")

    try:
        settings = msgspec.convert({**outer, "broker": {**inner, "namespace": name}}, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting is wrong: {error}") from error

    check_settings(settings)
    return settings


def _retry(options: TaskOptions) -> Retry:
    """``retry=5`` and ``retry_on_exc=[…]``, or a whole ``Retry``."""
    wish = options.get("retry", 0)
    retry = wish if isinstance(wish, Retry) else Retry(max=check.count(wish, "retry"))

    if "retry_on_exc" not in options:
        return retry

    return replace(retry, on=exception_kinds(options["retry_on_exc"], "retry_on_exc"))


def _aliases(options: TaskOptions) -> list[str]:
    return [check.name(alias, "an alias") for alias in check.texts(options.get("aliases", ()), "aliases")]


def _stale(answer: PushAnswer) -> list[UUID]:
    """Ids of jobs that were there before this push, or that it ended at once."""
    return [job.id for job in answer.jobs if job.existing or job.state.final]


def _definition(task: Task[Any, Any]) -> Definition:
    head = task.order.head
    facts: dict[str, Any] = {"queue": task.queue, "priority": task.priority, "tags": head.tags, "description": head.description}

    if head.overrides is not None and head.overrides.on_crash is not None:
        facts["on_crash"] = head.overrides.on_crash

    return Definition("task", task.name, msgspec.msgpack.encode({k: v for k, v in facts.items() if v is not None}))


def _snapshot(job: NewJob, id: UUID, state: JobState, now: float) -> JobRow:
    """The row as far as the sender knows it, without asking the broker."""
    return JobRow(
        id=id,
        sequence=0,
        task=job.task,
        queue=job.queue,
        priority=job.priority,
        state=state,
        owner=job.owner,
        payload=job.payload,
        head=job.head,
        unique=job.unique,
        limit_keys=job.limit_keys,
        pending=len(job.edges),
        enqueued_at=now,
        run_at=job.run_at if job.delay is None else now + job.delay,
        expires_at=job.expires_at if job.expires_in is None else now + job.expires_in,
    )
