"""Runners of functions: ``def`` on threads (``threads.py``), ``async def`` on one loop in a thread of its own (``loop.py``).

User code runs nowhere else, so that a blocked loop or a busy interpreter holds up no lease and no other part of the engine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from cherga.client.mishaps import tell
from cherga.worker.assignment import Assignment

logger = logging.getLogger("cherga.worker")

NOT_WAITED_FOR = -1


class Runner(Protocol):
    """Runs assignments, a limited number at a time; further ones wait inside."""

    refill_below: int
    """Ring when no more than this many wait; ``NOT_WAITED_FOR``: do not ring."""
    lent: int
    """Slots lent by jobs that wait for other jobs."""

    @property
    def ahead(self) -> int | None:
        """Jobs wanted beside those that fill the slots, as the last look at the room found; at three quarters more are due.

        None: the runner itself sees to it that no more are claimed than can be written.
        """
        ...

    def start(self) -> None: ...
    def submit(self, assignments: Sequence[Assignment]) -> None: ...
    def in_hand(self) -> int:
        """The number that run or wait here."""
        ...

    def room(self) -> int:
        """The number to claim."""
        ...

    def waiting(self) -> int:
        """The number that have not started."""
        ...

    def take_back(self) -> list[Assignment]:
        """The jobs that never started."""
        ...

    def hurry(self) -> None:
        """Start what waits for more than a slot: nothing more is claimed for now."""
        ...

    def let_go(self) -> list[Assignment]:
        """The same, because they would wait too long; no more are wanted ahead until the pace is known again."""
        ...

    def cancel(self, assignment: Assignment) -> bool:
        """End the function where that is possible; False where it can only be asked."""
        ...

    def stop(self) -> None: ...


def tell_broken(assignment: Assignment, error: BaseException) -> None:
    """A job has ended, and that could not be put down. Its runner goes on, even where the fault lies in the logging."""
    with suppress(Exception):
        extra = {"action": "job.broken", "job_id": str(assignment.job.id)}
        tell(logger, "job %s: its end could not be put down", assignment.job.id, error=error, extra=extra)
