"""``self.ctx`` of ``async def`` tasks: the same context, with the methods that wait made awaitable."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from cherga.client.context import Context
from cherga.rules.options import Duration, seconds


class AsyncContext:
    """Passes everything on to the job's context, but never blocks the loop."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    async def sleep(self, duration: Duration) -> bool:
        """Wait; a cancellation ends the wait, and the job with it."""
        await asyncio.sleep(seconds(duration, "the sleep"))
        return not self._context.cancelled

    async def get_metadata(self, cache: bool = True) -> Any:
        """The stored ``Job``, as ``app.get`` gives it; read once unless ``cache`` is False."""
        return await self._context.host.app.submitter.call(self._context.get_metadata, cache)

    async def get_task(self, uuid: UUID | str) -> Any:
        """Another job, None when it is not kept."""
        return await self._context.host.app.aget(uuid)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __repr__(self) -> str:
        return f"<ctx of job {self._context.job_id}>"
