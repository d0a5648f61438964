"""``self.ctx`` of ``async def`` tasks: the same context, with the methods that wait made awaitable."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

from cherga.client.context import Context
from cherga.client.public import public_names
from cherga.rules.options import Duration

T = TypeVar("T")


class AsyncContext:
    """Passes everything on to the job's context, but never blocks the loop."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def __dir__(self) -> list[str]:
        return public_names(Context)

    async def sleep(self, duration: Duration) -> bool:
        """Wait; a cancellation ends the wait, and the job with it."""
        return await self._context.asleep(duration)

    async def get_metadata(self, cache: bool = True) -> Any:
        """The stored ``Job``, as ``app.get`` gives it; read once unless ``cache`` is False."""
        return await self._context.host.app.submitter.call(self._context.get_metadata, cache)

    async def get_task(self, uuid: UUID | str) -> Any:
        """Another job, None when it is not kept."""
        return await self._context.host.app.aget(uuid)

    async def plugin_error(self, **details: Any) -> Any:
        """Raise an error event as ``Context.plugin_error`` does; handlers may be ``async def``."""
        return await self._context.host.aplugin_error(self._context, details)

    if TYPE_CHECKING:
        # What is passed on, for those who check types.
        job_id: UUID
        task_uuid: UUID
        task_name: str
        attempt: int
        fence: int
        owner: str | None
        cancelled: bool
        deadline: float | None
        remaining: float | None
        meta: dict[str, Any]

        def cancel(self, reason: str = "") -> NoReturn: ...
        async def asleep(self, duration: Duration) -> bool: ...
        def progress(self, done: float, total: float | None = None, note: str = "") -> None: ...
        def track(self, items: Iterable[T], total: int | None = None, note: str = "") -> Iterator[T]: ...
        def log(self, line: str) -> None: ...
        def emit(self, value: Any) -> None: ...
        def save_meta(self) -> None: ...
        def get_logger(self, name: str | None = None) -> logging.LoggerAdapter[logging.Logger]: ...
        def get_config(self) -> Any: ...
        def get_component(self, name: str) -> Any: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __repr__(self) -> str:
        return f"<ctx of job {self._context.job_id}>"
