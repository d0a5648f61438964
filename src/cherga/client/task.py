"""``Task``: a declared function with its options, and the verbs that enqueue it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from msgspec.structs import replace

from cherga.client import foreign
from cherga.client.batches import Batch, element_of
from cherga.client.depends import context_parameters
from cherga.client.features import Features
from cherga.client.flow import Step
from cherga.client.handle import Job
from cherga.client.keys import Call, check_names, check_text, given_text, key_text, make_fed_limit_key
from cherga.client.order import Order, UsingOptions, new_job, order_with
from cherga.client.origin import place_of
from cherga.client.returns import results_of
from cherga.rules import options as check
from cherga.rules.codec import check_size
from cherga.rules.decide import Policy
from cherga.rules.elsewhere import JOB, ours
from cherga.rules.signature import Signature
from cherga.words.departure import Wish
from cherga.words.errors import ConfigError, InvalidArguments
from cherga.words.later import inspect
from cherga.words.limits import LimitRule
from cherga.words.push import NewJob
from cherga.words.schedule import Schedule
from cherga.words.unique import Unique

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
C = TypeVar("C")
T = TypeVar("T")

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Sender(Protocol):
    """The parts of an application that a task needs, to store jobs."""

    max_payload: int

    def send(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]: ...
    async def asend(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]: ...


class Enqueuing(foreign.Explaining, ABC, Generic[P, R]):
    """The verbs that store jobs, written once for tasks and for what ``using`` gives."""

    _foreign = foreign.TASK
    _internal = (
        "build build_fed check_keys features fill find_home home injected key_text order plain policy prepare reconciled "
        "results rule schedule sender signature"
    )

    @abstractmethod
    def _aim(self) -> tuple[Task[P, R], Order]:
        """The task to enqueue, and how."""

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Store one job and return its handle.

        Raises ``InvalidArguments``, ``EnqueueRefused``, ``EnqueueUnknown``, or a ``BrokerError``.
        """
        task, order = self._aim()
        return task.sender.send((task.build(order, args, kwargs),), order.wish)[0]

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """The async twin of ``enqueue``."""
        task, order = self._aim()
        return (await task.sender.asend((task.build(order, args, kwargs),), order.wish))[0]

    def enqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[R]]:
        """Store one job for each tuple of arguments, all or none, in one round trip."""
        task, order = self._aim()
        return task.sender.send(_many(task, order, calls), order.wish)

    async def aenqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[R]]:
        """The async twin of ``enqueue_many``."""
        task, order = self._aim()
        return await task.sender.asend(_many(task, order, calls), order.wish)

    # A step is given all arguments, or all but the first, which a chain fills in.
    @overload
    def s(self, /, *args: P.args, **kwargs: P.kwargs) -> Step[R]: ...
    @overload
    def s(self: Enqueuing[Concatenate[Any, Q], R], /, *args: Q.args, **kwargs: Q.kwargs) -> Step[R]: ...
    def s(self, /, *args: Any, **kwargs: Any) -> Step[R]:
        """A step for ``chain`` and ``group``: in a chain, the result before it becomes the first argument."""
        task, order = self._aim()
        return Step(task, order, args, kwargs)

    def si(self, /, *args: P.args, **kwargs: P.kwargs) -> Step[R]:
        """A step with all its arguments: it waits for the one before it in a chain, but takes nothing from it."""
        task, order = self._aim()
        return Step(task, order, args, kwargs, takes=False)

    def prepare(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> NewJob:
        """The job that an enqueue would store, for a schedule. Raises ``InvalidArguments`` or ``ConfigError``."""
        task, order = self._aim()

        if order.id is not None:
            raise ConfigError(f"task {task.name}: expected a schedule without id: each of its jobs has one of its own")

        return task.build(order, tuple(args), dict(kwargs or {}))

    @abstractmethod
    def using(self, **options: Unpack[UsingOptions]) -> Prepared[P, R]:
        """The same task with other options for what is enqueued through the value returned."""


class Task(Enqueuing[P, R]):
    """A declared function: ``task.enqueue(…)`` stores a job, ``task(…)`` calls the function here and now, with no job."""

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
        """The declared function."""
        self.name = name
        """The name under which its jobs are stored."""
        self.policy = policy
        self.order = order
        self.features = features
        self.plain = features.plain
        """True when nothing stands between the worker and the function."""
        self.is_async = features.is_async
        """The function is a coroutine function or an async generator."""
        self.injected = context_parameters(function)
        self.signature = self._signature()
        self.results = results_of(features, function)
        self.sender = sender
        self.rule: tuple[str, LimitRule] | None = None
        """The limit that its options declare, with its name."""
        self.schedule: Schedule | None = None
        """The schedule on which it is enqueued again and again."""
        self.find_home: Callable[[], Task[Any, Any]] | None = None
        self._full = _without_self(function, features)
        self._fills_by_name = not any(_stands_in_the_way(p) for p in _behind_the_first(self._full, self._filled_in()))
        self._placed = _kinds_placed(self.signature.signature)

        self.check_keys(order)
        self.__name__ = getattr(function, "__name__", name)
        self.__doc__ = function.__doc__
        self.__module__ = getattr(function, "__module__", __name__)
        self.__wrapped__ = function

    @property
    def queue(self) -> str:
        """The queue of its jobs."""
        return self.order.queue

    @property
    def priority(self) -> int:
        """The priority of its jobs."""
        return self.order.priority

    @property
    def description(self) -> str | None:
        """The description of its jobs, for people."""
        return self.order.head.description

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of its jobs."""
        return self.order.head.tags

    @property
    def extra(self) -> Mapping[str, Any]:
        """Keywords of the declaration that Cherga has no use for."""
        return self.features.extra

    @property
    def place(self) -> str:
        """File and line of the declaration."""
        return place_of(self.function)

    def using(self, **options: Unpack[UsingOptions]) -> Prepared[P, R]:
        """The same task with other options for what is enqueued through the value returned."""
        return Prepared(self, (options,))

    def home(self) -> Task[P, R]:
        """The application's own task, where this one was declared apart from it, in a router or as a shared task."""
        return self if self.find_home is None else self.find_home()

    def reconciled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """The arguments with each given once: what is named takes the place of what stands at its position."""
        parameters = list(self.signature.signature.parameters.values())[: len(args)]
        at = {p.name: place for place, p in enumerate(parameters) if p.kind in self._placed}
        placed = list(args)

        for name in at.keys() & kwargs.keys():
            placed[at[name]] = kwargs[name]

        return tuple(placed), {name: value for name, value in kwargs.items() if name not in at}

    def fill(self, args: tuple[Any, ...], kwargs: dict[str, Any], found: dict[str, Any]) -> Arguments:
        """The arguments together with what the worker fills in."""
        if self._fills_by_name:
            return args, {**kwargs, **found}

        given = {**self.signature.signature.bind(*args, **kwargs).arguments, **found}
        ordered = OrderedDict((name, given[name]) for name in self._full.parameters if name in given)
        full = inspect.BoundArguments(self._full, ordered)
        return full.args, full.kwargs

    def build(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        """The job to push. Raises ``InvalidArguments``."""
        try:
            payload, arrived = self.signature.packed(args, kwargs)
        except InvalidArguments as error:
            raise self._with_hint(error, kwargs) from error

        if len(payload) > self.sender.max_payload:
            check_size(payload, self.sender.max_payload, f"arguments of task {self.name}")

        if not order.unique and order.key is None:
            return new_job(self.name, payload, order, None)

        return self._with_keys(payload, order, Call(self.name, self.signature, arrived, args, kwargs))

    def build_fed(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        """The job to push whose first argument is another job's result. Raises ``InvalidArguments`` or ``ConfigError``."""
        if not isinstance(order.unique, bool | str | Unique) or order.unique is True:
            raise ConfigError(
                f"task {self.name}: expected no unique made of arguments for a step that is fed a result, for they are not "
                "known yet; make the step with si(…), or set using(unique='a text of your own')"
            )

        keys = () if order.key is None else (make_fed_limit_key(order.key, self.name, self.signature, kwargs),)
        payload = check_size(self.signature.pack_fed(args, kwargs), self.sender.max_payload, f"arguments of task {self.name}")
        return new_job(
            self.name, payload, order, self._unique(order, Call(self.name, self.signature, None, args, kwargs)), keys
        )

    def _aim(self) -> tuple[Task[P, R], Order]:
        home = self.home()
        return home, home.order

    def _with_hint(self, error: InvalidArguments, kwargs: dict[str, Any]) -> InvalidArguments:
        """The error, and what is meant where the call is made as in another system."""
        hint = self._meant([name for name in kwargs if name not in self.signature.names])
        return InvalidArguments(f"{error}; {hint}") if hint else error

    def _meant(self, strange: Sequence[str]) -> str:
        if "args" in strange or "kwargs" in strange:
            return "give the arguments as they are, as in enqueue(1, name=2)"

        if options := [word for name in strange if (word := ours(name, JOB))]:
            return f"options such as {options[0]} go into using({options[0]}=…)"

        return _SELF if self.signature.names[:1] == ("self",) else ""

    def _with_keys(self, payload: bytes, order: Order, call: Call) -> NewJob:
        keys = () if order.key is None else (call.make_limit_key(order.key),)
        return new_job(self.name, payload, order, self._unique(order, call), keys)

    def _unique(self, order: Order, call: Call) -> Unique | None:
        held = Unique("", order.hold, order.period, order.conflict)
        return call.make_unique(order.unique, held) if order.unique else None

    def key_text(self, key: Any) -> str:
        """A value of the task's ``key`` as the names of its limits have it, in whatever spelling it is given."""
        names = self.order.key

        if names is None or callable(names) or len(names) != 1:
            return given_text(key, self.name)

        return key_text(self.name, self.signature, names[0], key)

    def check_keys(self, order: Order) -> None:
        """Raise ``ConfigError`` when the keys name what is no parameter."""
        if isinstance(order.unique, str):
            check_text(self.name, order.unique, self.signature)
        elif not isinstance(order.unique, bool | Unique) and not callable(order.unique):
            check_names(self.name, "unique", order.unique, self.signature)

        if order.key is not None and not callable(order.key):
            check_names(self.name, "key", order.key, self.signature)

    def _signature(self) -> Signature:
        """The signature of a call as a sender makes it."""
        if self.features.batch is not None:
            return Signature(element_of(self.function, self._filled_in()), self.name)

        return Signature(self.function, self.name, injected=self._filled_in(), skip=1 if self.features.echo else 0)

    def _filled_in(self) -> frozenset[str]:
        """Parameters that the worker fills in, and senders cannot pass."""
        return frozenset({*self.injected, *(need.parameter for need in self.features.needs)})

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


_SELF = "its self is a parameter like any other; @app.task(echo=True) has the worker fill it in"


class FunctionTask(Task[P, R]):
    """A task made of a ``def``."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function here and now, with no job."""
        result: R = self.function(*args, **kwargs)
        return result


class CoroutineTask(Task[P, R]):
    """A task made of an ``async def``."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the plain coroutine function here and now, with no job."""
        result: Coroutine[Any, Any, R] = self.function(*args, **kwargs)
        return result


class CalledTask(Task[P, R], Generic[P, R, C]):
    """A task whose plain call gives something else (C) than its jobs: a generator, or what ``decode`` turns into R."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the plain function here and now, with no job."""
        result: C = self.function(*args, **kwargs)
        return result


class EchoTask(Task[P, R], Generic[P, R, C]):
    """A task of ``echo=True``: a plain call is given what stands in for the bound task, jobs get theirs from the worker."""

    def __call__(self, bound: Any, /, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the plain function here and now, with no job."""
        result: C = self.function(bound, *args, **kwargs)
        return result


class BatchTask(Task[[T], R], Generic[T, R, C]):
    """A task of ``batch=…``: a job is enqueued with one value, and a call receives those of many."""

    def __call__(self, batch: list[T], /, *args: Any, **kwargs: Any) -> C:
        """Call the plain function here and now with a ``Batch`` of these values, and no job."""
        result: C = self.function(batch if isinstance(batch, Batch) else Batch(batch), *args, **kwargs)
        return result


class Prepared(foreign.Uncalled, Enqueuing[P, R]):
    """A task with options for its next jobs; made by ``using``."""

    def __init__(self, task: Task[P, R], steps: tuple[UsingOptions, ...]) -> None:
        self._task = task
        self._steps = steps
        self._order = _ordered(task, steps)

    def using(self, **options: Unpack[UsingOptions]) -> Prepared[P, R]:
        """The same task with these options and further ones."""
        return Prepared(self._task, (*self._steps, options))

    def __repr__(self) -> str:
        return f"<Task {self._task.name} using {', '.join(name for step in self._steps for name in step) or 'nothing'}>"

    def _aim(self) -> tuple[Task[P, R], Order]:
        home = self._task.home()
        return home, self._order if home is self._task else _ordered(home, self._steps)


def _ordered(task: Task[Any, Any], steps: tuple[UsingOptions, ...]) -> Order:
    order = task.order

    for options in steps:
        order = replace(order_with(order, task.name, options), given=order.given | set(options))

    task.check_keys(order)
    return order


def _many(task: Task[P, R], order: Order, calls: Iterable[tuple[Any, ...]]) -> list[NewJob]:
    if order.id is not None:
        raise ConfigError("expected no id for enqueue_many: one id names one job")

    if not isinstance(calls, Iterable):
        raise InvalidArguments(
            f"task {task.name}: expected a list with a tuple of arguments for each job, got {check.shown(calls)}"
        )

    return [task.build(order, _arguments(task, args), {}) for args in calls]


def _arguments(task: Task[Any, Any], args: object) -> tuple[Any, ...]:
    """The arguments of one of many calls. A text or a mapping has parts too, which nobody means."""
    if type(args) is tuple:
        return args

    if isinstance(args, Iterable) and not isinstance(args, str | bytes | Mapping):
        return tuple(args)

    raise InvalidArguments(
        f"task {task.name}: expected a tuple of arguments for each job, as in enqueue_many([(1,), (2,)]), "
        f"got {check.shown(args)}"
    )


def _without_self(function: Callable[..., Any], features: Features) -> inspect.Signature:
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:]) if features.echo else signature


def _behind_the_first(signature: inspect.Signature, filled: frozenset[str]) -> Iterator[inspect.Parameter]:
    """The first parameter that the worker fills in, and all behind it that a sender may give by position."""
    parameters = list(signature.parameters.values())
    first = next((at for at, p in enumerate(parameters) if p.name in filled), len(parameters))
    return (p for p in parameters[first:] if p.name not in filled or p.kind is p.POSITIONAL_ONLY)


def _kinds_placed(signature: inspect.Signature) -> set[Any]:
    """Kinds of parameters that can be meant by name. Beside ``**options`` a name may be that of an option."""
    kinds: set[Any] = {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    return kinds if takes_any else {*kinds, inspect.Parameter.POSITIONAL_ONLY}


def _stands_in_the_way(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.VAR_POSITIONAL)
