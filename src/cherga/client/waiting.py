"""Jobs that wait for jobs: the worker is told, so that it lends the slot, or says that the wait could never end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

from cherga.words.control import TaskWish


class Stopped(TaskWish):
    """The job was asked to stop while it waited, or between two values: it ends here, as the worker has decided."""


class Waits(Protocol):
    """The worker, as a job that waits sees it."""

    def during(self, job: Any, wake: Callable[[], None], blocking: bool) -> AbstractContextManager[Callable[[], None]]:
        """Wait for the job within this. Gives what to call before each look: it raises ``Stopped`` once this job is to stop;
        ``wake`` is called then. ``blocking``: the thread waits, not a coroutine. Raises ``WouldDeadlock``.
        """
        ...


_waits: ContextVar[Waits | None] = ContextVar("cherga_waits", default=None)

set_waits = _waits.set
"""Say which worker's jobs run here."""


def waiting_for(job: Any, wake: Callable[[], None], blocking: bool) -> AbstractContextManager[Callable[[], None]]:
    """Wait for a job within this; outside a job nothing is to be seen to."""
    waits = _waits.get()
    return nullcontext(_go_on) if waits is None else waits.during(job, wake, blocking)


def _go_on() -> None:
    """Nobody stops a wait outside a job."""
