"""``Task``: a declared function with its options, and the verbs that enqueue it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, get_args

from cherga.client.context import Context
from cherga.client.features import Features
from cherga.client.handle import Job
from cherga.client.order import Order, UniqueKey, UsingOptions, new_job, order_with
from cherga.rules import options as check
from cherga.rules.codec import check_size
from cherga.rules.decide import Policy
from cherga.rules.signature import Signature
from cherga.words.errors import ConfigError
from cherga.words.job import NewJob, Unique

P = ParamSpec("P")
R = TypeVar("R")


class Sender(Protocol):
    """What a task needs of its application: to store jobs."""

    max_payload: int

    def send(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    async def asend(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...


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

        if not isinstance(order.unique, bool | str | Unique) and not callable(order.unique):
            self._known(order.unique)

        self.__name__ = getattr(function, "__name__", name)
        self.__doc__ = function.__doc__
        self.__module__ = getattr(function, "__module__", __name__)
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

        unique = self._unique(order.unique, args, kwargs) if order.unique else None
        return new_job(self.name, payload, order, unique)

    def _unique(self, wish: UniqueKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Unique:
        if isinstance(wish, Unique):
            return wish

        if isinstance(wish, str):
            return Unique(wish)

        if callable(wish):
            return Unique(f"{self.name}:{wish(*args, **kwargs)}")

        names = () if isinstance(wish, bool) else self._known(wish)
        same = self.signature.fingerprint(args, kwargs, names)
        return Unique(f"{self.name}:{hashlib.blake2b(same, digest_size=16).hexdigest()}")

    def _known(self, names: Sequence[str]) -> Sequence[str]:
        for name in names:
            if name not in self.signature.names:
                expected = check.nearest(str(name), self.signature.names)
                raise ConfigError(f"task {self.name}: expected unique to name its parameters, got {name!r}{expected}")

        return names

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


def _context_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters annotated ``Context``, or ``Context | None``, which the worker fills in."""
    return tuple(name for name, hint in inspect.get_annotations(function).items() if _is_context(hint))


def _is_context(hint: Any) -> bool:
    if isinstance(hint, str):
        return hint.replace(" ", "").removeprefix("cherga.").removesuffix("|None") == "Context"

    return hint is Context or Context in get_args(hint)
