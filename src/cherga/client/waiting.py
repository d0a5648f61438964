"""Jobs that wait for jobs: the worker is told, so that it lends the slot, or says that the wait could never end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

from cherga.words.control import TaskWish
from cherga.words.errors import WouldDeadlock


class Stopped(TaskWish):
    """The job was asked to stop while it waited, or between two values: it ends here, as the worker has decided."""


class Wait(Protocol):
    """A wait of a job for another one."""

    def check(self) -> None:
        """Ask the broker what stands in the way, which takes its time. Raises ``WouldDeadlock`` for a wait without end."""
        ...

    def lend(self, wake: Callable[[], None]) -> AbstractContextManager[Callable[[], None]]:
        """Lend the slot within this. Gives what to call before each look: it raises ``Stopped`` once this job is to stop;
        ``wake`` is called then. Raises ``WouldDeadlock``.
        """
        ...


class Waits(Protocol):
    """The worker, as a job that waits sees it."""

    def on_loop(self) -> bool:
        """True when the caller runs on the loop of all async jobs, and so holds them up."""
        ...

    def begin(self, job: Any) -> AbstractContextManager[Wait]:
        """Wait for the job within this."""
        ...


class _Outside:
    """A wait outside a job: nothing is to be seen to, and nobody stops it."""

    def check(self) -> None:
        """There is nothing to check."""

    def lend(self, wake: Callable[[], None]) -> AbstractContextManager[Callable[[], None]]:
        """There is no slot."""
        return nullcontext(_go_on)


OUTSIDE = _Outside()

_waits: ContextVar[Waits | None] = ContextVar("cherga_waits", default=None)

set_waits = _waits.set
"""Say which worker's jobs run here."""


def waiting_for(job: Any) -> AbstractContextManager[Wait]:
    """Wait for a job within this; it gives ``OUTSIDE`` where no job waits."""
    waits = _waits.get()
    return nullcontext(OUTSIDE) if waits is None else waits.begin(job)


def on_loop() -> bool:
    """True when this runs in an ``async def`` task, on the loop of its worker.

    A loop by itself says nothing: a function may see one in a notebook or inside ``sync_playwright``, and wait all the same.
    """
    waits = _waits.get()
    return waits is not None and waits.on_loop()


def refuse_on_loop(call: str, instead: str) -> None:
    """Raise ``WouldDeadlock`` in an ``async def`` task, for a call that waits."""
    if on_loop():
        raise WouldDeadlock(
            f"this is an async def task: expected it to {instead}; {call} would hold up every async job of this worker"
        )


def _go_on() -> None:
    """The wait goes on: nobody stops one outside a job."""
