"""The handle on the job that runs here."""

from __future__ import annotations

from typing import Any

from cherga.client.applications import current_source
from cherga.client.context import Context, current
from cherga.client.handle import Job, Source
from cherga.words.errors import NoCurrentJob
from cherga.words.job import JobRow


class CurrentJob(Job[Any]):
    """The job that runs here: what it puts into ``meta`` can be stored."""

    __slots__ = ("_context",)

    def __init__(self, row: JobRow, source: Source, context: Context) -> None:
        super().__init__(row, source)
        self._context = context

    @property
    def meta(self) -> dict[str, Any]:
        """The same dictionary as ``ctx.meta``; store changes with ``save_meta``."""
        return self._context.meta

    @meta.setter
    def meta(self, values: dict[str, Any]) -> None:
        self._context.meta = values

    def save_meta(self) -> None:
        """Store ``meta`` as it is now: soon, at most ten times a second, and the last value always."""
        self._context.save_meta()


def get_current_job() -> Job[Any] | None:
    """The job that runs here, read from the broker; None outside a job."""
    try:
        context, source = current(), current_source()
    except NoCurrentJob:
        return None

    if source is None:
        return None

    (row,) = source.broker.get([context.job_id])
    return None if row is None else CurrentJob(row, source, context)
