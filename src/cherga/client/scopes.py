"""Open dependencies: those of one job, and those that many jobs share."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from msgspec import Struct

from cherga.client.mishaps import tell
from cherga.words.later import asyncio, futures, inspect

logger = logging.getLogger("cherga.depends")

LONGEST_CLOSING = 5.0
"""Seconds that the closing of one shared dependency may take."""

LONGEST_WAIT_ELSEWHERE = 0.5
"""Seconds to wait for a loop that is not the closer's own."""

Function = Callable[..., Any]
Inside = Callable[[], AbstractContextManager[object]]
Settle = Callable[[Any], Awaitable[Any]]


class Scope:
    """Open dependencies of one job; each is opened once, and closed in reverse order."""

    __slots__ = ("_exits", "_values")

    def __init__(self) -> None:
        self._values: dict[Function, Any] = {}
        self._exits: list[Callable[..., Any]] = []

    def get(self, function: Function) -> tuple[bool, Any]:
        """True when it is open, and its value."""
        return function in self._values, self._values.get(function)

    async def enter(self, function: Function, made: Any, settle: Settle, is_async: bool) -> Any:
        """Open what the dependency's function gave, remember and return its value."""
        manager = manager_of(function, made)

        if manager is None:
            value = await settle(made)
        elif hasattr(manager, "__aenter__"):
            # A thread has the loop open and close it, which is to be done in one task.
            manager = manager if is_async else Keeping(manager, contextvars.copy_context())
            value = await settle(manager.__aenter__())
            self._exits.append(manager.__aexit__)
        else:
            value = manager.__enter__()
            self._exits.append(manager.__exit__)

        self._values[function] = value
        return value

    async def close(self, error: BaseException | None, settle: Settle) -> None:
        """Close everything that is open, whatever is raised meanwhile.

        Each learns the job's error, or what was raised by one that was closed before it; the last thing raised is raised
        again, as nested ``with`` statements do. An error that one of them swallows is still the job's error.
        """
        last = error

        while self._exits:
            try:
                await settle(self._exits.pop()(*_told(last)))
            except BaseException as raised:
                last = raised

        self._values.clear()

        if last is not None and last is not error:
            raise last


class Opened(Struct, frozen=True):
    """A shared dependency: its value, what closes it, and whether it belongs to the loop that it was opened on."""

    value: Any
    leave: Callable[..., Any] | None
    on_loop: bool


class OpeningFailed(Exception):
    """If the opener fails, each waiter retries on its own."""


class SharedScope:
    """Dependencies that many jobs share: each is opened once, whoever asks first, and all are closed in reverse order.

    ``fresh`` gives the context variables that they are opened in, which must be no job's.
    """

    def __init__(self, fresh: Callable[[], contextvars.Context] = contextvars.Context) -> None:
        self._fresh = fresh
        self._lock = threading.Lock()
        self._opened: dict[Function, futures.Future[Opened]] = {}

    @property
    def used(self) -> bool:
        """Something is open."""
        return bool(self._opened)

    def get(self, function: Function) -> tuple[bool, Any]:
        """True when it is open, and its value."""
        future = self._opened.get(function)
        is_open = future is not None and future.done() and not future.exception()
        return is_open, future.result().value if future is not None and is_open else None

    async def open_once(
        self, function: Function, open_it: Callable[[], Awaitable[Opened]], settle: Settle, is_async: bool
    ) -> Any:
        """Its value, opened by the first who asks; the others wait, and try for themselves when that fails."""
        while True:
            future, is_mine = self._reserve(function)

            if is_mine:
                return await self._open(function, future, open_it, is_async)

            try:
                return (await settle(_shielded(future))).value
            except OpeningFailed:
                continue

    async def close(self, only_on_loop: bool = False) -> None:
        """Close what is open, in reverse order; errors are logged and hold up nothing.

        ``only_on_loop`` leaves open what does not need the loop, for a process that goes on without this worker.
        """
        with self._lock:
            opened = {f: future.result() for f, future in self._opened.items() if future.done() and not future.exception()}
            leaving = [f for f, each in opened.items() if each.on_loop or not only_on_loop]

            for function in leaving:
                del self._opened[function]

        for function in reversed(leaving):
            await _leave(function, opened[function])

    def keep_open(self, manager: Any, inside: Inside) -> Awaitable[Opened]:
        """Open an async context manager in a task of its own, which closes it too: some must be left where they are entered."""
        return self._kept(Keeping(Surrounded(manager, inside), self._fresh()))

    def leaving(self, leave: Callable[..., Any], inside: Inside) -> Callable[..., Any]:
        """The closer of a dependency: as it was opened, with variables that are no job's, in the application's context."""

        def leave_inside(*told: Any) -> Any:
            with inside():
                return leave(*told)

        return partial(self._fresh().run, leave_inside)

    async def _kept(self, keeping: Keeping) -> Opened:
        return Opened(await keeping.__aenter__(), keeping.__aexit__, True)

    def forget(self) -> None:
        """Open dependencies belong to another process: after a fork."""
        self._lock = threading.Lock()
        self._opened = {}

    def _reserve(self, function: Function) -> tuple[futures.Future[Opened], bool]:
        with self._lock:
            future = self._opened.get(function)

            if future is not None:
                return future, False

            self._opened[function] = future = futures.Future()
            return future, True

    async def _open(
        self, function: Function, future: futures.Future[Opened], open_it: Callable[[], Awaitable[Opened]], is_async: bool
    ) -> Any:
        opening = self._opening(function, future, open_it)

        if not is_async:
            return await opening

        # In a task of its own: the job that happens to be first may be cancelled, the others still want it.
        return await asyncio.shield(asyncio.create_task(opening, context=self._fresh()))

    async def _opening(
        self, function: Function, future: futures.Future[Opened], open_it: Callable[[], Awaitable[Opened]]
    ) -> Any:
        try:
            opened = await open_it()
        except BaseException:
            with self._lock:
                self._opened.pop(function, None)

            future.set_exception(OpeningFailed())
            raise

        # Those opened last are closed first, and an inner one is reserved later than the one that needs it.
        with self._lock:
            self._opened[function] = self._opened.pop(function, future)

        future.set_result(opened)
        return opened.value


def manager_of(function: Function, made: Any) -> Any:
    """The context manager in what a dependency's function gave, if it is one to be entered.

    Generators, what ``@contextmanager`` and its async twin make, and instances of a class that is the dependency itself. A
    function that returns a session returns it as it is.
    """
    if inspect.isasyncgen(made):
        return asynccontextmanager(lambda: made)()

    if inspect.isgenerator(made):
        return contextmanager(lambda: made)()

    is_manager = hasattr(made, "__aenter__") or hasattr(made, "__enter__")
    return made if is_manager and (inspect.isclass(function) or _wraps_a_generator(function)) else None


class Surrounded:
    """An async context manager that is opened, and later closed, inside the application's context."""

    def __init__(self, manager: Any, inside: Inside) -> None:
        self._manager = manager
        self._inside = inside

    async def __aenter__(self) -> Any:
        with self._inside():
            return await self._manager.__aenter__()

    async def __aexit__(self, *told: Any) -> Any:
        with self._inside():
            return await self._manager.__aexit__(*told)


class Keeping:
    """An async context manager that is opened and closed in one task of its own, whoever opens and closes it."""

    def __init__(self, manager: Any, context: contextvars.Context) -> None:
        self._manager = manager
        self._context = context

    async def __aenter__(self) -> Any:
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[Any] = self._loop.create_future()
        self._closing: asyncio.Future[BaseException | None] = self._loop.create_future()
        self._task = asyncio.create_task(self._live(), context=self._context)

        try:
            return await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task, self._opened])
            raise

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if asyncio.get_running_loop() is self._loop:
            await self._close(error)
        elif not self._loop.is_closed():  # another one, as in tests, may be held up by whoever closes
            closing = asyncio.run_coroutine_threadsafe(self._close(error), self._loop)
            await asyncio.wait([asyncio.wrap_future(closing)], timeout=LONGEST_WAIT_ELSEWHERE)

    async def _close(self, error: BaseException | None) -> None:
        self._closing.set_result(error)
        await self._task

    async def _live(self) -> None:
        error = None

        try:
            async with self._manager as value:
                self._opened.set_result(value)

                if (error := await self._closing) is not None:
                    raise error
        except BaseException as raised:
            if not self._opened.done():
                self._opened.set_exception(raised)
                self._opened.exception()  # whoever wanted it may have left
            elif raised is not error:
                raise


async def _leave(function: Function, opened: Opened) -> None:
    if opened.leave is None:
        return

    try:
        left = opened.leave(None, None, None)

        if inspect.isawaitable(left):
            await asyncio.wait_for(left, LONGEST_CLOSING)
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        tell(logger, "the dependency %s could not be closed", name, error=error, extra={"action": "depends.close"})


async def _shielded(future: futures.Future[Opened]) -> Opened:
    return await asyncio.shield(asyncio.wrap_future(future))


def _told(error: BaseException | None) -> tuple[Any, Any, Any]:
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)


def _wraps_a_generator(function: Function) -> bool:
    inner = getattr(function, "__wrapped__", None)
    return inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)
