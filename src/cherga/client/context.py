"""``ctx``: what a job can see of itself and tell the world while it runs."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, cast
from uuid import UUID

import msgspec

from cherga.client import foreign
from cherga.client.applications import current_source
from cherga.client.children import Children
from cherga.client.public import public_names
from cherga.client.travelling import TRACEPARENT
from cherga.client.waiting import on_loop, refuse_on_loop
from cherga.rules.codec import check_size, decode, encode, encode_to_show
from cherga.rules.options import Duration, seconds, shown
from cherga.rules.reading import read_or
from cherga.rules.settings import Settings
from cherga.words.claim import ClaimedJob
from cherga.words.clock import Clock
from cherga.words.control import TaskCancelError
from cherga.words.errors import NoCurrentJob
from cherga.words.job import Progress
from cherga.words.later import asyncio, inspect
from cherga.words.push import JobHead
from cherga.words.report import EVENTS_KEPT, EventKind

P = ParamSpec("P")
T = TypeVar("T")

LOG_LINE_LIMIT = 16_384
"""Characters of one log line or note that are kept."""
NOT_YET = float("-inf")
"""Before everything that a monotonic clock shows, which may begin at 0."""
_DEFAULTS = Settings()

_encode_progress = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(JobHead).decode


_FIRST_CHILD = tuple(threading.Lock() for _ in range(64))
"""Threads that a job has started may ask for its first children at once."""


class Reporter(Protocol):
    """Takes what a job tells and stores it, coalesced."""

    def touch(self, context: Context) -> None:
        """The context has something new."""
        ...


class Host(Protocol):
    """The worker around a job, as far as its context shows it."""

    @property
    def app(self) -> Any: ...
    def component(self, name: str) -> Any: ...
    def plugin_error(self, context: Context, details: dict[str, Any]) -> Any: ...
    async def aplugin_error(self, context: Context, details: dict[str, Any]) -> Any: ...


class Context(foreign.Explaining):
    """An attempt, seen from inside. Safe to use from the threads that the job starts."""

    __slots__ = (
        "_bell",
        "_clock",
        "_host",
        "_meta",
        "_metadata",
        "_reporter",
        "cancel_message",
        "cancelled",
        "deadline",
        "events",
        "job",
        "latest_meta",
        "latest_progress",
        "queued",
        "reported_at",
        "sent_meta",
        "sent_progress",
        "waiting_children",
        "wakers",
    )

    _foreign = foreign.CONTEXT
    _internal = (
        "cancel_message cancel_now children events host job latest_meta latest_progress queued reported_at sent_meta "
        "sent_progress take_events take_unsent waiting_children wakers waking"
    )

    is_batch = False
    """The call is for many jobs; what is said here of one job is said of the first."""

    def __init__(
        self, job: ClaimedJob, clock: Clock, reporter: Reporter, deadline: float | None = None, host: Host | None = None
    ) -> None:
        self.job = job
        self.cancelled = False
        """Somebody asked this job to stop, or its time is up."""
        self.cancel_message: str | None = None
        self.deadline = deadline
        """The time when ``max_time`` is over, on the monotonic clock; None: never."""
        self.latest_progress: bytes | None = None
        self.sent_progress: bytes | None = None
        self.latest_meta: bytes | None = None
        self.sent_meta: bytes | None = None
        self.events: deque[tuple[EventKind, bytes]] | None = None
        self.queued = False
        self.reported_at = NOT_YET
        self._clock = clock
        self._reporter = reporter
        self._host = host
        self.waiting_children: Children | None = None
        """The children that this attempt has asked for and not yet stored; None when it never asked for any."""
        self._metadata: Any = None
        self._meta: dict[str, Any] | None = None
        self._bell: threading.Event | None = None
        self.wakers: list[Callable[[], object]] | None = None
        """The functions that end the waits of this job when it is to stop."""

    # --- who am I

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        return self.job.id

    @property
    def task_uuid(self) -> UUID:
        """The job's id, by another name."""
        return self.job.id

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.job.task

    @property
    def attempt(self) -> int:
        """1 for the first try."""
        return self.job.attempt

    @property
    def fence(self) -> int:
        """Grows with every claim of this job: hand it to outside systems that can refuse an older one."""
        return self.job.claims

    @property
    def owner(self) -> str | None:
        """The job's owner, such as ``"user:7"``."""
        return self.job.owner

    @property
    def head(self) -> JobHead:
        """Description, tags and headers given at enqueue."""
        return _decode_head(self.job.head) if self.job.head else JobHead()

    @property
    def headers(self) -> dict[str, str]:
        """The headers that travelled with the job: those given to ``using``, and those of the place where it was enqueued."""
        return self.head.headers if self.job.head else {}

    @property
    def traceparent(self) -> str | None:
        """The trace that the job belongs to, as the header ``traceparent`` has it; hand it to the services that it calls."""
        return self.headers.get(TRACEPARENT)

    @property
    def remaining(self) -> float | None:
        """Seconds until ``max_time`` is over; None: no limit."""
        return None if self.deadline is None else self.deadline - self._clock.monotonic()

    # --- what is around me

    @property
    def host(self) -> Host:
        """The worker. Raises ``NoCurrentJob`` for a context that was made without one."""
        if self._host is None:
            raise NoCurrentJob("expected a context made by a worker")

        return self._host

    @property
    def children(self) -> Children:
        """The children that this attempt has asked for and not yet stored."""
        if self.waiting_children is None:
            # One of many: jobs that run at the same time must not wait for each other here.
            with _FIRST_CHILD[self.job.sequence % len(_FIRST_CHILD)]:
                self.waiting_children = self.waiting_children or Children(self, self.host.app)

        return self.waiting_children

    def get_logger(self, name: str | None = None) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the job's id and task."""
        logger = logging.getLogger(name or f"cherga.task.{self.job.task}")
        return logging.LoggerAdapter(logger, {"job_id": str(self.job.id), "task_name": self.job.task})

    def get_config(self) -> Any:
        """The application's settings."""
        return self.host.app.settings

    def get_metadata(self, cache: bool = True) -> Any:
        """The stored ``Job``, as ``app.get`` gives it; read once unless ``cache`` is False."""
        if self._metadata is None or not cache:
            self._metadata = self.host.app.get(self.job.id)

        return self._metadata

    def get_task(self, uuid: UUID | str) -> Any:
        """Another job, None when it is not kept."""
        return self.host.app.get(uuid)

    def get_component(self, name: str) -> Any:
        """``"storage"`` and ``"broker"`` give the broker, ``"worker"`` the session, ``"config"`` the settings; else None."""
        return self.host.component(name)

    def plugin_error(self, **details: Any) -> Any:
        """Raise an error event on purpose: a handler of ``app.on.plugin_error`` may return what is then returned here.

        Raises ``PluginError`` when no handler does.
        """
        return self.host.plugin_error(self, details)

    def cancel(self, reason: str = "") -> NoReturn:
        """End this job as cancelled, with this reason. Never a retry."""
        raise TaskCancelError(reason)

    # --- telling the world

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the job is. Cheap: at most ten values a second are stored, and always the last.

        Raises ``TypeError`` for what is no number.
        """
        all_of_it = None if total is None else _number(total, "total")
        self.latest_progress = _encode_progress(Progress(_number(done, "done"), all_of_it, _storable(note)))
        self._reporter.touch(self)

    def track(self, items: Iterable[T], total: int | None = None, note: str = "") -> Iterator[T]:
        """Yield the items and report progress after each. ``total`` is taken from ``len`` where there is one."""
        if total is None:
            total = len(items) if isinstance(items, Sized) else None

        self.progress(0, total, note)

        for done, item in enumerate(items, 1):
            yield item
            self.progress(done, total, note)

    @property
    def meta(self) -> dict[str, Any]:
        """The values that the job wants to keep beside its result; store changes with ``save_meta``."""
        if self._meta is None:
            kept = read_or(decode, self.job.meta or self.head.meta, None)
            self._meta = kept if isinstance(kept, dict) else {}

        return self._meta

    @meta.setter
    def meta(self, values: dict[str, Any]) -> None:
        if not isinstance(values, dict):
            raise TypeError(f"expected meta to be a dictionary, got {shown(values)}")

        self._meta = values

    def save_meta(self) -> None:
        """Store ``meta`` as it is now. Raises ``PayloadTooLarge`` when it is over ``max_payload``, and stores nothing."""
        self.latest_meta = self._sized(encode_to_show(self.meta), "meta")
        self._reporter.touch(self)

    def log(self, line: str) -> None:
        """Add a line to the job's live stream; the last thousand are kept."""
        self._add_event(EventKind.LOG, encode(_storable(line)))

    def emit(self, value: Any) -> None:
        """Add a value to the job's stream, for ``job.stream()`` and the browser; the last thousand are kept.

        Raises ``TypeError`` for a value that cannot be encoded, ``PayloadTooLarge`` for one over ``max_payload``.
        """
        self._add_event(EventKind.VALUE, self._sized(encode_to_show(value), "the emitted value"))

    def _sized(self, data: bytes, what: str) -> bytes:
        limit = self._host.app.settings.max_payload if self._host is not None else _DEFAULTS.max_payload
        return check_size(data, limit, what)

    def _add_event(self, kind: EventKind, data: bytes) -> None:
        if self.events is None:
            self.events = deque(maxlen=EVENTS_KEPT)

        self.events.append((kind, data))
        self._reporter.touch(self)

    def take_unsent(self) -> tuple[bytes | None, bytes | None]:
        """Progress and meta where they changed since they were last taken; called by the settler thread alone."""
        progress = meta = None

        # Read once, compare by identity: a value set meanwhile by the job is another object and is taken next time.
        if (latest := self.latest_progress) is not self.sent_progress:
            progress = self.sent_progress = latest

        if (latest := self.latest_meta) is not self.sent_meta:
            meta = self.sent_meta = latest

        return progress, meta

    def take_events(self) -> tuple[tuple[EventKind, bytes], ...]:
        """The events not yet taken, oldest first."""
        if not self.events:
            return ()

        return tuple(self.events.popleft() for _ in range(len(self.events)))

    # --- being stopped

    def cancel_now(self, message: str | None = None) -> None:
        """Let the job know that it should stop; called by the worker."""
        self.cancel_message = message
        self.cancelled = True

        if self._bell is not None:
            self._bell.set()

        for wake in list(self.wakers or ()):
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Within this, ``wake`` is called when the job is asked to stop."""
        wakers = self.wakers = self.wakers or []
        wakers.append(wake)

        try:
            yield
        finally:
            wakers.remove(wake)

    def sleep(self, duration: Duration) -> bool:
        """Wait, but not longer than until somebody cancels the job. False when that happened.

        In ``async def`` tasks await ``asleep``: this would hold up all others, and raises ``WouldDeadlock``.
        """
        refuse_on_loop("ctx.sleep(…)", "await ctx.asleep(…)")

        if self._bell is None:
            self._bell = threading.Event()

        if self.cancelled:
            self._bell.set()

        return not self._bell.wait(seconds(duration, "the sleep"))

    async def asleep(self, duration: Duration) -> bool:
        """The async twin of ``sleep``. An ``async def`` task is cancelled in it when somebody cancels the job."""
        left = seconds(duration, "the sleep")

        await (asyncio.sleep(left) if on_loop() else self._asleep(left))
        return not self.cancelled

    async def _asleep(self, left: float) -> None:
        """On a loop that the job runs by itself, where nobody cancels coroutines."""
        loop, bell = asyncio.get_running_loop(), asyncio.Event()

        with self.waking(lambda: loop.call_soon_threadsafe(bell.set)), suppress(TimeoutError):
            if not self.cancelled:
                await asyncio.wait_for(bell.wait(), left)

    def bind(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function, wrapped to be called in this job's name: for threads and callbacks that start with no context.

        Each call elsewhere than on the job's own thread is inside an application context of its own, as the job is: a session
        is its own, and closed after it. A coroutine function runs as a task of its own.
        """
        origin, own_thread = contextvars.copy_context(), threading.get_ident()

        def bound(*args: P.args, **kwargs: P.kwargs) -> T:
            if threading.get_ident() == own_thread and _current.get(None) is self:
                return function(*args, **kwargs)

            return origin.copy().run(self._call_inside, function, args, kwargs)

        async def abound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await asyncio.create_task(self._acall_inside(function, args, kwargs), context=origin.copy())

        return cast(Callable[P, T], abound) if inspect.iscoroutinefunction(function) else bound

    def _call_inside(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with self._surroundings():
            return function(*args, **kwargs)

    async def _acall_inside(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._surroundings():
            return await function(*args, **kwargs)

    def _surroundings(self) -> AbstractContextManager[object]:
        """The application's own context, made anew."""
        surroundings: AbstractContextManager[object] = nullcontext() if self._host is None else self._host.app.surroundings()
        return surroundings


def _storable(text: object) -> str:
    """Text of a job must not end it: half characters, as in odd file names, are shown by their codes."""
    return str(text)[:LOG_LINE_LIMIT].encode("utf-8", "backslashreplace").decode()


def _number(value: float, what: str) -> float:
    """A stored number must be readable by those who watch, too, of whom nobody expects anything else."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"expected {what} of the progress to be a number, got {value!r}") from None


_current: ContextVar[Context] = ContextVar("cherga_job")

set_current = _current.set


def current() -> Context:
    """The context of the job that runs here. Raises ``NoCurrentJob`` outside a job."""
    try:
        return _current.get()
    except LookupError:
        raise NoCurrentJob(
            "expected to be called inside a job, but none runs here; threads and callbacks that a job starts need ctx.bind"
        ) from None


def current_parent(source: object) -> Context | None:
    """The context of the job that runs here, if it is one of this application. Nobody knows which job of a batch enqueues."""
    context = _current.get(None) if current_source() is source else None
    return None if context is None or context.is_batch else context


class CurrentContext:
    """``ctx``: stands for the context of whichever job runs here."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(current(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(current(), name, value)

    def __dir__(self) -> list[str]:
        return public_names(Context)

    def __repr__(self) -> str:
        context = _current.get(None)
        return f"<ctx of job {context.job_id}>" if context else "<ctx outside a job>"


ctx = cast(Context, CurrentContext())
"""The context of the job that runs here; raises ``NoCurrentJob`` outside a job."""
