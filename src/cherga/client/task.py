"""``Task``: a declared function with its options, and the verbs that enqueue it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, ParamSpec, Protocol, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cherga.client.context import Context
from cherga.client.features import Features
from cherga.client.handle import Job
from cherga.client.ids import as_id, new_id
from cherga.rules import options as check
from cherga.rules.codec import check_size
from cherga.rules.decide import Policy
from cherga.rules.options import Duration
from cherga.rules.signature import Signature
from cherga.words.errors import ConfigError
from cherga.words.job import Edge, JobHead, NewJob, OnCrash, Overrides, Unique

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

UniqueKey = bool | str | Sequence[str] | Callable[..., str] | Unique
"""True: task and arguments. A text: that key. Names: those arguments. A function: what it makes of the arguments."""

_encode = msgspec.msgpack.Encoder().encode
_EMPTY_HEAD = JobHead()
_NO_OVERRIDES = Overrides()


class Sender(Protocol):
    """What a task needs of its application: to store jobs."""

    max_payload: int

    def send(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    async def asend(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...


class UsingOptions(TypedDict, total=False):
    """The keywords of ``using``."""

    queue: str
    priority: int
    run_in: Duration
    run_at: datetime
    expires: Duration | datetime
    owner: str
    description: str
    tags: Iterable[str]
    headers: Mapping[str, str]
    id: UUID | str
    after: Iterable[Job[Any] | Edge]
    unique: UniqueKey
    retry: int
    max_time: Duration | None
    result_ttl: Duration
    failure_ttl: Duration
    on_crash: str


class Order(Struct, frozen=True, kw_only=True):
    """How the jobs of one enqueue are to be stored: a task's own options, or those with what ``using`` set."""

    queue: str = "default"
    priority: int = 0
    delay: float | None = None
    run_at: float | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    owner: str | None = None
    id: UUID | None = None
    edges: tuple[Edge, ...] = ()
    unique: UniqueKey = False
    head: JobHead = _EMPTY_HEAD
    packed_head: bytes | None = None


class Task(Generic[P, R]):
    """A declared function. ``enqueue`` stores a job; the subclasses keep what a plain call returns."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        sender: Sender,
        policy: Policy,
        order: Order,
        features: Features,
    ) -> None:
        self.function = function
        self.name = name
        self.policy = policy
        self.order = order
        self.features = features
        self.plain = features.plain
        """Nothing stands between the worker and the function."""
        self.is_async = features.is_async
        self.injected = _context_parameters(function)
        self.signature = Signature(function, name, injected=self._filled_in(), skip=1 if features.echo else 0)
        self._sender = sender
        self.__name__ = getattr(function, "__name__", name)
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    @property
    def queue(self) -> str:
        return self.order.queue

    @property
    def priority(self) -> int:
        return self.order.priority

    @property
    def description(self) -> str | None:
        return self.order.head.description

    @property
    def tags(self) -> tuple[str, ...]:
        return self.order.head.tags

    @property
    def extra(self) -> Mapping[str, Any]:
        """Keywords of the declaration that Cherga has no use for."""
        return self.features.extra

    @property
    def place(self) -> str:
        """File and line of the declaration."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(self.function)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Store one job and return its handle.

        Raises ``InvalidArguments``, ``EnqueueRefused``, ``EnqueueUnknown``, or a ``BrokerError``.
        """
        return self._sender.send((self.build(self.order, args, kwargs),))[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """The async twin of ``enqueue``."""
        return (await self._sender.asend((self.build(self.order, args, kwargs),)))[0]

    def enqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[R]]:
        """Store one job for each tuple of arguments, all or none, in one round trip."""
        return self._sender.send([self.build(self.order, args, {}) for args in calls])

    async def aenqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[R]]:
        """The async twin of ``enqueue_many``."""
        return await self._sender.asend([self.build(self.order, args, {}) for args in calls])

    def using(self, **options: Unpack[UsingOptions]) -> Prepared[P, R]:
        """The same task with other options for what is enqueued through the value returned."""
        return Prepared(self, order_with(self.order, self.name, options))

    def build(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        """The job to push. Raises ``InvalidArguments``."""
        payload = self.signature.pack(args, kwargs)

        if len(payload) > self._sender.max_payload:
            check_size(payload, self._sender.max_payload, f"arguments of task {self.name}")

        unique = self._unique(order.unique, payload, args, kwargs) if order.unique else None
        return new_job(self.name, payload, order, unique)

    def _unique(self, wish: UniqueKey, payload: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Unique:
        if isinstance(wish, Unique):
            return wish

        if isinstance(wish, str):
            return Unique(wish)

        if callable(wish):
            return Unique(f"{self.name}:{wish(*args, **kwargs)}")

        if not isinstance(wish, bool):
            named = self.signature.named(args, kwargs)
            payload = _encode([repr(named[name]) for name in wish])

        return Unique(f"{self.name}:{hashlib.blake2b(payload, digest_size=16).hexdigest()}")

    def _filled_in(self) -> frozenset[str]:
        """Parameters that the worker fills in, and senders cannot pass."""
        return frozenset({*self.injected, *(need.parameter for need in self.features.needs)})

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class FunctionTask(Task[P, R]):
    """A task made of a ``def``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function here and now, with no job."""
        result: R = self.function(*args, **kwargs)
        return result


class CoroutineTask(Task[P, R]):
    """A task made of an ``async def``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the plain coroutine function here and now, with no job."""
        result: Coroutine[Any, Any, R] = self.function(*args, **kwargs)
        return result


class Prepared(Generic[P, R]):
    """A task with options for its next jobs; made by ``Task.using``."""

    def __init__(self, task: Task[P, R], order: Order) -> None:
        self._task = task
        self._order = order

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """As ``Task.enqueue``."""
        return self._task._sender.send((self._task.build(self._order, args, kwargs),))[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """As ``Task.aenqueue``."""
        return (await self._task._sender.asend((self._task.build(self._order, args, kwargs),)))[0]

    def enqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[R]]:
        """As ``Task.enqueue_many``."""
        return self._task._sender.send(self._many(calls))

    async def aenqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[R]]:
        """As ``Task.aenqueue_many``."""
        return await self._task._sender.asend(self._many(calls))

    def using(self, **options: Unpack[UsingOptions]) -> Prepared[P, R]:
        """These options and further ones."""
        return Prepared(self._task, order_with(self._order, self._task.name, options))

    def _many(self, calls: Iterable[tuple[Any, ...]]) -> list[NewJob]:
        if self._order.id is not None:
            raise ConfigError("expected no id for enqueue_many: one id names one job")

        return [self._task.build(self._order, args, {}) for args in calls]


def new_job(task: str, payload: bytes, order: Order, unique: Unique | None) -> NewJob:
    """A job to push, from its parts."""
    return NewJob(
        id=order.id or new_id(),
        task=task,
        payload=payload,
        queue=order.queue,
        priority=order.priority,
        delay=order.delay,
        run_at=order.run_at,
        expires_in=order.expires_in,
        expires_at=order.expires_at,
        owner=order.owner,
        unique=unique,
        edges=order.edges,
        head=order.packed_head,
    )


def order_with(order: Order, task: str, given: UsingOptions) -> Order:
    """The order with these options set. Raises ``ConfigError`` that names the one which is wrong."""
    try:
        changes = _order_fields(given)
        head = replace(order.head, **_head_fields(given, order.head))
    except ConfigError as error:
        raise ConfigError(f"task {task}: {error}") from None

    return replace(order, **changes, head=head, packed_head=pack_head(head))


def pack_head(head: JobHead) -> bytes | None:
    """The packed head, None when the job uses none of it."""
    return None if head == _EMPTY_HEAD else _encode(head)


def _order_fields(given: UsingOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    if unknown := set(given) - set(UsingOptions.__annotations__):
        word = min(unknown)
        raise ConfigError(f"unknown option {word!r}{check.nearest(word, UsingOptions.__annotations__)}")

    if "queue" in given:
        fields["queue"] = check.name(given["queue"], "queue")

    if "priority" in given:
        fields["priority"] = check.priority(given["priority"])

    if "id" in given:
        fields["id"] = as_id(given["id"])

    if "after" in given:
        fields["edges"] = tuple(job if isinstance(job, Edge) else Edge(job.id) for job in given["after"])

    fields.update({name: given[name] for name in ("owner", "unique") if name in given})
    return fields | _time_fields(given)


def _time_fields(given: UsingOptions) -> dict[str, float]:
    fields: dict[str, float] = {}

    if "run_in" in given:
        fields["delay"] = check.seconds(given["run_in"], "run_in")

    if "run_at" in given:
        fields["run_at"] = check.timestamp(given["run_at"], "run_at")

    if "expires" in given:
        expires = given["expires"]

        if isinstance(expires, datetime):
            fields["expires_at"] = check.timestamp(expires, "expires")
        else:
            fields["expires_in"] = check.seconds(expires, "expires")

    return fields


def _head_fields(given: UsingOptions, head: JobHead) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    if "description" in given:
        fields["description"] = str(given["description"])

    if "tags" in given:
        fields["tags"] = tuple(given["tags"])

    if "headers" in given:
        fields["headers"] = {**head.headers, **given["headers"]}

    if changes := _override_fields(given):
        fields["overrides"] = replace(head.overrides or _NO_OVERRIDES, **changes)

    return fields


def _override_fields(given: UsingOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    if "retry" in given:
        fields["retry"] = check.count(given["retry"], "retry")

    if "max_time" in given:
        limit = given["max_time"]
        fields["max_time"] = 0.0 if limit is None else check.seconds(limit, "max_time")

    if "result_ttl" in given:
        fields["result_ttl"] = check.seconds(given["result_ttl"], "result_ttl")

    if "failure_ttl" in given:
        fields["failure_ttl"] = check.seconds(given["failure_ttl"], "failure_ttl")

    if "on_crash" in given:
        fields["on_crash"] = on_crash(given["on_crash"])

    return fields


def on_crash(value: str) -> OnCrash:
    """``"retry"`` or ``"fail"``."""
    try:
        return OnCrash(value)
    except ValueError:
        raise ConfigError(f"expected on_crash to be 'retry' or 'fail', got {value!r}") from None


def _context_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters annotated ``Context``, which the worker fills in."""
    found = inspect.get_annotations(function)
    return tuple(name for name, hint in found.items() if hint is Context or hint in {"Context", "cherga.Context"})
