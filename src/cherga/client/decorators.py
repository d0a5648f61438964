"""The types of declaring: what ``@app.task(...)`` makes of which function. There is nothing in here to run.

A function fits several overloads; the first one that fits is meant. With ``echo=True`` the first parameter is the worker's to
fill in, so senders do not see it. A generator's job gives what it returns, else the list of its (handled) values; with
``decode`` a job gives what that makes of the result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from cherga.client.batches import Batch
from cherga.client.bound import AsyncTask, SyncTask
from cherga.client.task import BatchTask, CalledTask, CoroutineTask, EchoTask, FunctionTask

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")
H = TypeVar("H")
D = TypeVar("D")
T = TypeVar("T")
C = TypeVar("C")

Streaming = Generator[Y, Any, None]


class TaskDecorator(Protocol):
    """Turns a function into a task and keeps its types."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, Streaming[Y]], /) -> CalledTask[P, list[Y], Streaming[Y]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, Generator[Y, Any, R]], /) -> CalledTask[P, R, Generator[Y, Any, R]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[Y]], /) -> CalledTask[P, list[Y], AsyncIterator[Y]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, Iterator[Y]], /) -> CalledTask[P, list[Y], Iterator[Y]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> FunctionTask[P, R]: ...


class HandledDecorator(Protocol[H]):
    """With a ``generate_handler`` that gives H."""

    @overload
    def __call__(self, function: Callable[P, Streaming[Y]], /) -> CalledTask[P, list[H], Streaming[Y]]: ...
    @overload
    def __call__(self, function: Callable[P, Generator[Y, Any, R]], /) -> CalledTask[P, R, Generator[Y, Any, R]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> CalledTask[P, list[H], R]: ...


class BatchDecorator(Protocol):
    """With ``batch``: T is what one job gives to the list, R what it gets of the list that is returned."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Batch[T], ...], Coroutine[Any, Any, list[R]]], /
    ) -> BatchTask[T, R, Coroutine[Any, Any, list[R]]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Batch[T], ...], Coroutine[Any, Any, C]], /
    ) -> BatchTask[T, Any, Coroutine[Any, Any, C]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Batch[T], ...], list[R]], /) -> BatchTask[T, R, list[R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Batch[T], ...], C], /) -> BatchTask[T, Any, C]: ...


class DecodedDecorator(Protocol[D]):
    """With a ``decode`` that gives D."""

    def __call__(self, function: Callable[P, R], /) -> CalledTask[P, D, R]: ...


class EchoDecorator(Protocol):
    """With ``echo=True``."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncTask, P], Coroutine[Any, Any, R]], /
    ) -> EchoTask[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[SyncTask, P], Streaming[Y]], /) -> EchoTask[P, list[Y], Streaming[Y]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[SyncTask, P], Generator[Y, Any, R]], /
    ) -> EchoTask[P, R, Generator[Y, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncTask, P], AsyncIterator[Y]], /
    ) -> EchoTask[P, list[Y], AsyncIterator[Y]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[SyncTask, P], Iterator[Y]], /) -> EchoTask[P, list[Y], Iterator[Y]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[SyncTask, P], R], /) -> EchoTask[P, R, R]: ...


class EchoHandledDecorator(Protocol[H]):
    """With ``echo=True`` and a ``generate_handler`` that gives H."""

    @overload
    def __call__(self, function: Callable[Concatenate[SyncTask, P], Streaming[Y]], /) -> EchoTask[P, list[H], Streaming[Y]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[SyncTask, P], Generator[Y, Any, R]], /
    ) -> EchoTask[P, R, Generator[Y, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncTask, P], AsyncIterator[Y]], /
    ) -> EchoTask[P, list[H], AsyncIterator[Y]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[SyncTask, P], R], /) -> EchoTask[P, list[H], R]: ...


class EchoDecodedDecorator(Protocol[D]):
    """With ``echo=True`` and a ``decode`` that gives D."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncTask, P], Coroutine[Any, Any, R]], /
    ) -> EchoTask[P, D, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncTask, P], AsyncIterator[Y]], /
    ) -> EchoTask[P, D, AsyncIterator[Y]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[SyncTask, P], R], /) -> EchoTask[P, D, R]: ...
