"""Waiters for jobs, threads and coroutines: each costs a small object, and is shown what the lookout sees."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from msgspec import Struct

from cherga.words.job import WAITING_STATES, JobRow, Progress
from cherga.words.later import asyncio
from cherga.words.report import LiveEvent

LONGEST_LOOK = 5.0
"""Seconds between two looks at a job, should a wake-up have been lost."""
LONGEST_TIMER = 86_400.0
"""Seconds for which a loop is asked to keep a timer at most; loops refuse absurd ones."""
EVENTS = 100
"""Log lines and values read in one look."""


class Sight(Struct, frozen=True):
    """A job as it was seen."""

    job: JobRow
    after: int = 0
    events: Sequence[LiveEvent] = ()
    """The first of its stream after that position, for those who follow it."""
    of_group: Progress | None = None
    """The progress of the members of a group together, for those who follow it."""

    @property
    def full(self) -> bool:
        """More events may follow after these."""
        return len(self.events) >= EVENTS

    @property
    def mark(self) -> tuple[object, ...]:
        """Another one whenever the job has moved."""
        return (self.job.position, self.job.state, self.of_group)


class Waiter(ABC):
    """A waiter for a job. It hears of the first look, and then of the end, or, where it ``follows``, of every change."""

    __slots__ = ("_error", "_mark", "_seen", "_taken", "after", "follows", "id", "left", "unserved")

    def __init__(self, id: UUID, follows: bool = False, after: int = 0) -> None:
        self.id = id
        self.follows = follows
        self.after = after
        """The position up to which it knows the stream."""
        self.left = False
        """The waiter does not wait any more."""
        self.unserved = ""
        """The reason why no worker would run its job, where that has waited for some time."""
        self._seen: Sight | None = None
        self._taken: Sight | None = None
        self._mark: object = None
        self._error: Exception | None = None

    def offer(self, sight: Sight) -> None:
        """The updates that the lookout has seen."""
        first, self._seen = self._seen is None, sight

        if first or (self.follows and (sight.mark != self._mark or sight.events)) or sight.job.state.final:
            self._mark = sight.mark
            self.wake()

    @property
    def waits_for(self) -> JobRow | None:
        """The job as it was seen last, where it has not begun."""
        row = self._seen.job if self._seen else None
        return row if row and row.state in WAITING_STATES else None

    def warn(self, unserved: str) -> None:
        """True when any worker would run its job, and if not, the reason."""
        if unserved != self.unserved:
            self.unserved = unserved

            if self.follows:
                self.wake()

    def fail(self, error: Exception) -> None:
        """Say that the job cannot be seen."""
        self._error = error
        self.wake()

    def take(self) -> Sight | None:
        """The update since this was asked before, if any. Raises ``JobNotFound`` or a ``BrokerError``."""
        if self._error is not None:
            raise self._error

        seen, before = self._seen, self._taken
        self._taken = seen
        return None if seen is before else seen

    @abstractmethod
    def wake(self) -> None:
        """End the wait now; safe from any thread and signal handler."""

    @property
    @abstractmethod
    def gone(self) -> bool:
        """True when nobody can be there any more to take what is seen."""


class ThreadWaiter(Waiter):
    """A thread that waits."""

    __slots__ = ("_silence",)

    def __init__(self, id: UUID, follows: bool = False, after: int = 0) -> None:
        super().__init__(id, follows, after)
        # A plain lock and not an Event: striking it takes no other lock, so a signal handler may do it at any point.
        self._silence = threading.Lock()
        self._silence.acquire()

    def wait(self, timeout: float = LONGEST_LOOK) -> None:
        """Return when woken, or after so many seconds."""
        self._silence.acquire(timeout=max(0.0, timeout))

    def wake(self) -> None:
        with suppress(RuntimeError):  # raised when it was woken already
            self._silence.release()

    @property
    def gone(self) -> bool:
        return False


class LoopWaiter(Waiter):
    """A coroutine that waits; made on its loop."""

    __slots__ = ("_bell", "_loop", "_rung")

    def __init__(self, id: UUID, follows: bool = False, after: int = 0) -> None:
        super().__init__(id, follows, after)
        self._loop = asyncio.get_running_loop()
        self._bell: asyncio.Future[None] | None = None
        self._rung = False

    async def wait(self, timeout: float = math.inf) -> None:
        """Return when woken, or after so many seconds."""
        if not self._rung:
            self._bell = self._loop.create_future()
            timer = None if timeout == math.inf else self._loop.call_later(min(timeout, LONGEST_TIMER), self._ring)

            try:
                await self._bell
            finally:
                self._bell = None

                if timer is not None:
                    timer.cancel()

        self._rung = False

    def wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._ring)

    @property
    def gone(self) -> bool:
        return self._loop.is_closed()

    def _ring(self) -> None:
        self._rung = True

        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)
