"""``Queue``: enqueueing the way RQ does it, for people who come with ``queue.enqueue("app.tasks.example", 23)``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, cast
from uuid import UUID

from msgspec.structs import replace

from cherga.client import foreign
from cherga.client.applications import application_of
from cherga.client.dotted import DottedTasks, Target
from cherga.client.handle import Job, Source
from cherga.client.ids import as_id
from cherga.client.order import Order, UsingOptions, order_with, with_head
from cherga.client.publish import find_published
from cherga.client.task import Task
from cherga.rules import options as check
from cherga.rules.codec import check_size, encode_argument, encode_to_show
from cherga.rules.elsewhere import RQ_JOB, refusal
from cherga.rules.options import Duration
from cherga.words.errors import ConfigError, JobNotFound
from cherga.words.job import JobState
from cherga.words.push import Edge, NewJob

RESULT_TTL = 500.0
"""Seconds that a result is kept when nobody says otherwise, as people know it from RQ."""
MOST_JOBS = 1000


class Application(Source, Protocol):
    """The parts of an application that a queue needs."""

    tasks: dict[str, Task[Any, Any]]
    dotted: DottedTasks

    def build_named(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Order], Order]
    ) -> NewJob: ...
    @property
    def max_payload(self) -> int: ...
    def send(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    async def asend(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    def jobs(self, *, queue: str, states: Iterable[JobState], limit: int) -> list[Job[Any]]: ...


class Queue(foreign.Explaining):
    """A named line of jobs, seen from the side that fills it.

    ``connection`` is the application, by default the current one. A function may be given as itself, as a declared task, or by
    name: that of a task, the dotted one of where it stands, or that of a function in a module listed with ``app.tasks_from``.

    ``enqueue`` and its kin take RQ's job options among the function's own keywords: ``job_timeout``, ``result_ttl`` (500
    seconds unless set, here or by the task), ``failure_ttl``, ``ttl``, ``description``, ``job_id``, ``depends_on``,
    ``at_front``, ``meta``, ``retry``, ``on_success``, ``on_failure``. With ``args=(…)`` and ``kwargs={…}`` every other keyword
    is an option.
    """

    _foreign = foreign.QUEUE

    def __init__(self, name: str = "default", connection: Application | None = None) -> None:
        self.name = check.name(name, "queue")
        self.connection: Application = application_of(connection)

    def enqueue(self, function: Target, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Store a job and return its handle.

        Raises ``UnknownTask`` for what is no task of the application, ``ConfigError`` for an option that is wrong, and what
        ``Task.enqueue`` raises.
        """
        return self._send(function, args, kwargs, {})

    def enqueue_in(self, delay: Duration, function: Target, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Store a job as ``enqueue`` does, to run after a delay."""
        return self._send(function, args, kwargs, {"run_in": delay})

    def enqueue_at(self, moment: datetime, function: Target, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Store a job as ``enqueue`` does, to run at an aware datetime."""
        return self._send(function, args, kwargs, {"run_at": moment})

    async def aenqueue(self, function: Target, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """The async twin of ``enqueue``."""
        return await self._asend(function, args, kwargs, {})

    async def aenqueue_in(self, delay: Duration, function: Target, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """The async twin of ``enqueue_in``."""
        return await self._asend(function, args, kwargs, {"run_in": delay})

    async def aenqueue_at(self, moment: datetime, function: Target, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """The async twin of ``enqueue_at``."""
        return await self._asend(function, args, kwargs, {"run_at": moment})

    @property
    def count(self) -> int:
        """The number of jobs of this queue that are ready to run."""
        rows = self.connection.broker.counts()
        return sum(row.count for row in rows if row.queue == self.name and row.state is JobState.READY)

    @property
    def jobs(self) -> list[Job[Any]]:
        """The jobs of this queue that are ready to run, oldest first; the newest thousand of them."""
        return self.connection.jobs(queue=self.name, states=[JobState.READY], limit=MOST_JOBS)[::-1]

    def fetch_job(self, id: UUID | str) -> Job[Any] | None:
        """The job of that id, None when it is not kept or belongs to another queue."""
        try:
            job = Job.fetch(id, self.connection)
        except JobNotFound:
            return None

        return job if job.queue == self.name else None

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"

    # --- from a call to a job

    def _send(self, function: Target, args: tuple[Any, ...], kwargs: dict[str, Any], start: UsingOptions) -> Job[Any]:
        return self.connection.send((self._build(function, args, kwargs, start),))[0]

    async def _asend(self, function: Target, args: tuple[Any, ...], kwargs: dict[str, Any], start: UsingOptions) -> Job[Any]:
        new = await self.connection.submitter.call(self._build, function, args, kwargs, start)
        return (await self.connection.asend((new,)))[0]

    def _build(self, function: Target, args: tuple[Any, ...], kwargs: dict[str, Any], start: UsingOptions) -> NewJob:
        name = self._name_of(function)
        args, kwargs, options = _split(name, args, kwargs, self.connection.tasks.get(name))
        return self.connection.build_named(name, args, kwargs, lambda order: self._order(order, name, options, start))

    def _name_of(self, function: Target) -> str:
        name = self.connection.dotted.find(function)

        if name is None and isinstance(function, str) and find_published(self.connection.broker, function) is not None:
            return function

        if name is None:
            raise self.connection.dotted.refuse(function)

        return name

    def _order(self, order: Order, name: str, options: dict[str, Any], start: UsingOptions) -> Order:
        own = order.head.keeping is not None and order.head.keeping.result_ttl is not None
        usual: UsingOptions = {"queue": self.name} if own else {"queue": self.name, "result_ttl": RESULT_TTL}
        given: UsingOptions = {**usual, **_using(name, options), **start}
        order = order_with(order, name, given)
        head = replace(order.head, **self._head_fields(name, options))
        return with_head(order, head)

    def _head_fields(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {}

        if (meta := options.get("meta")) is not None:
            fields["meta"] = check_size(_pack_meta(name, meta), self.connection.max_payload, f"task {name}: meta")

        for option in ("on_success", "on_failure"):
            if (function := options.get(option)) is not None:
                fields[option] = self._name_of(function)

        return fields


# --- RQ's options and what they are here

_SAME = ("description", "retry")
_OPTIONS = RQ_JOB.words
_ELSEWHERE = {
    "pipeline": "use enqueue_many of a task to store several jobs in one round trip",
    "repeat": "let the task enqueue itself again, or raise Snooze",
    "on_stopped": "connect a handler with app.on.cancelled",
}


def _split(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], task: Task[Any, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """The function's arguments, and the options that stood among them."""
    _refuse(name, kwargs, task)
    options = {key: value for key, value in kwargs.items() if key in _OPTIONS}

    if "args" not in options and "kwargs" not in options:
        return args, {key: value for key, value in kwargs.items() if key not in _OPTIONS}, options

    if args or (extra := set(kwargs) - _OPTIONS):
        what = "arguments by position" if args else f"the keyword {min(extra)!r}"
        hint = "" if args else f": {error}" if (error := refusal(min(extra), RQ_JOB)) else ""
        raise ConfigError(
            f"task {name}: expected all arguments in args=(…) and kwargs={{…}} where either is given, got {what}{hint}"
        )

    return tuple(options.get("args") or ()), dict(options.get("kwargs") or {}), options


def _refuse(name: str, kwargs: Mapping[str, Any], task: Task[Any, Any] | None) -> None:
    """Raise ``ConfigError`` for what is meant as an option and is none, and for what may mean two things."""
    known = None if {"args", "kwargs"} & kwargs.keys() else task
    parameters = known.signature.names if known else ()
    takes_others = known is None or _takes_any(known)

    for key in kwargs:
        if key in _ELSEWHERE and key not in parameters:
            raise ConfigError(f"task {name}: the option {key!r} does not exist here; {_ELSEWHERE[key]}")

        if key in _OPTIONS and key in parameters:
            raise ConfigError(
                f"task {name}: {key!r} is a parameter of the task and an option of enqueue; pass arguments as args=(…), "
                "kwargs={…}"
            )

        if not (takes_others or key in _OPTIONS or key in parameters) and (error := refusal(key, RQ_JOB)) is not None:
            raise ConfigError(f"task {name}: {error}")


def _takes_any(task: Task[Any, Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in task.signature.signature.parameters.values())


def _using(name: str, options: Mapping[str, Any]) -> UsingOptions:
    """The options as ``using`` takes them. None leaves what the task says."""
    given = {key: value for key, value in options.items() if value is not None}

    try:
        same = {key: given[key] for key in _SAME if key in given}
        kept = {key: _kept(given[key], key) for key in ("result_ttl", "failure_ttl") if key in given}
        changed = {_NAMES[key][0]: _NAMES[key][1](given[key]) for key in _NAMES if key in given}
    except ConfigError as error:
        raise ConfigError(f"task {name}: {error}") from None

    return cast(UsingOptions, {**same, **kept, **changed, **_front(given)})


def _front(given: Mapping[str, Any]) -> dict[str, int]:
    return {"priority": check.HIGHEST_PRIORITY} if given.get("at_front") else {}


def _kept(value: Any, option: str) -> float:
    """-1 keeps for good, or nearly so."""
    return check.LONGEST if value == -1 else check.seconds(value, option)


def _limit(value: Any) -> Duration | None:
    """Seconds, a ``timedelta``, ``"90"``, ``"30s"``, ``"5m"`` or ``"1h"``; -1 for no limit."""
    if value == -1:
        return None

    if not isinstance(value, str):
        return _above_zero(value)

    if not (match := re.fullmatch(r"(\d+)([smh]?)", value)):
        raise ConfigError(f'expected job_timeout to be seconds or a text as "90", "30s", "5m" or "1h", got {value!r}')

    return _above_zero(int(match[1]) * _UNITS[match[2]])


def _above_zero(limit: Duration) -> Duration:
    if check.seconds(limit, "job_timeout") == 0:
        raise ConfigError(f"expected job_timeout to be more than 0 seconds, or -1 for no limit, got {limit!r}")

    return limit


def _id(value: Any) -> UUID:
    try:
        return as_id(value)
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(f"expected job_id to be a UUID or its text (uuid5 makes one of any name), got {value!r}") from None


def _parents(value: Any) -> list[Job[Any] | Edge]:
    """A job, its id, or several of either."""
    parents = value if isinstance(value, list | tuple) else [value]

    try:
        return [parent if isinstance(parent, Job | Edge) else Edge(as_id(parent)) for parent in parents]
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(f"expected depends_on to be a job, its id, or a list of them, got {value!r}") from None


def _pack_meta(name: str, meta: Any) -> bytes:
    if not isinstance(meta, dict):
        raise ConfigError(f"task {name}: expected meta to be a dictionary, got {meta!r}")

    return encode_argument(meta, f"task {name}: meta", encode_to_show)


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_NAMES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "job_timeout": ("max_time", _limit),
    "ttl": ("expires", lambda value: check.seconds(value, "ttl")),
    "job_id": ("id", _id),
    "depends_on": ("after", _parents),
}
"""Options that have another name in ``using``, and how their values are read."""
