"""Middleware: one callable type, composed from the outside in. It takes what comes next and gives what stands before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from cherga.client.context import Context
from cherga.client.fitting import fits
from cherga.client.order import check_head, pack_head
from cherga.client.scopes import Settle
from cherga.client.task import Task
from cherga.words.errors import ConfigError
from cherga.words.later import inspect
from cherga.words.push import JobHead, NewJob


class Call:
    """A call of a task, as middleware sees it: change ``args`` and ``kwargs`` before it, read ``result`` after it.

    ``await call.settle(value)`` awaits whatever can be awaited, in ``def`` tasks too: the thread waits for the worker's loop.
    """

    __slots__ = ("args", "ctx", "kwargs", "result", "settle", "task")

    def __init__(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], ctx: Context, settle: Settle
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.ctx = ctx
        self.settle = settle
        self.result: Any = None

    @property
    def task_name(self) -> str:
        return self.task.name


Handler = Callable[[Call], Awaitable[Any]]


class Middleware(Protocol):
    """Around every job of an application: ``def wrap(following): async def handle(call): …; return await following(call)``."""

    def __call__(self, following: Handler, /) -> Callable[[Call], Any]: ...


W = TypeVar("W", bound=Callable[..., Any])


def check_wrap(wrap: W, name: str) -> W:
    """A middleware. Raises ``ConfigError`` for what cannot wrap anything."""
    if not callable(wrap) or not fits(wrap, None):
        raise ConfigError(f"expected {name} to be a function that takes what comes next, got {wrap!r}")

    return wrap


def around(middleware: Middleware, following: Handler) -> Handler:
    """The handler that a middleware makes of the one inside it; it may be ``def`` where it needs to await nothing."""
    handle = middleware(following)

    if not callable(handle):
        raise TypeError(f"expected the middleware {middleware!r} to return a function that handles a call, got {handle!r}")

    async def handler(call: Call) -> Any:
        made = handle(call)
        return await made if inspect.isawaitable(made) else made

    return handler


class Outgoing:
    """A job on its way to the broker: ``headers`` may be changed, the rest read."""

    __slots__ = ("headers", "job")

    def __init__(self, job: NewJob) -> None:
        self.job = job
        self.headers = dict(_head(job).headers)

    @property
    def task_name(self) -> str:
        return self.job.task

    @property
    def queue(self) -> str:
        return self.job.queue

    @property
    def owner(self) -> str | None:
        return self.job.owner


EnqueueHandler = Callable[[Outgoing], NewJob]
EnqueueMiddleware = Callable[[EnqueueHandler], EnqueueHandler]
"""Around every enqueue of an application: ``def wrap(following): def handle(outgoing): …; return following(outgoing)``."""


def outgoing(jobs: Sequence[NewJob], middlewares: Sequence[EnqueueMiddleware]) -> list[NewJob]:
    """The jobs after all middleware has seen them."""
    handler: EnqueueHandler = _packed

    for wrap in reversed(middlewares):
        handler = wrap(handler)

    return [_stored(handler(Outgoing(job))) for job in jobs]


def _stored(made: Any) -> NewJob:
    if not isinstance(made, NewJob):
        raise TypeError(f"expected middleware around enqueue to return what comes next, following(outgoing); got {made!r}")

    return made


def _packed(outgoing: Outgoing) -> NewJob:
    head = _head(outgoing.job)

    if outgoing.headers == head.headers:
        return outgoing.job

    changed = replace(head, headers=outgoing.headers)
    check_head(changed)
    return replace(outgoing.job, head=pack_head(changed))


def _head(job: NewJob) -> JobHead:
    return msgspec.msgpack.decode(job.head, type=JobHead) if job.head else JobHead()
