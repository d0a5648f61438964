"""The handle on the job that runs here."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from cherga.client.context import current
from cherga.client.handle import Job, Source
from cherga.words.errors import NoCurrentJob

_source: ContextVar[Source] = ContextVar("cherga_source")

set_source = _source.set


def current_source() -> Source | None:
    """The application whose job runs here; None outside a job."""
    return _source.get(None)


def get_current_job() -> Job[Any] | None:
    """The job that runs here, read from the broker; None outside a job."""
    try:
        context, source = current(), _source.get()
    except (NoCurrentJob, LookupError):
        return None

    (row,) = source.broker.get([context.job_id])
    return None if row is None else Job(row, source)
