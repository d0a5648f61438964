"""Successes in the log: a line for each while they are few, a line a second for each task while they are many."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from contextlib import suppress
from uuid import UUID

from msgspec import Struct

from cherga.words.claim import ClaimedJob
from cherga.words.clock import Clock
from cherga.worker.turns import Turns

logger = logging.getLogger("cherga.job")

FEW = 10
"""Successes in a second that have a line each."""
SPAN = 1.0
"""Seconds that one line sums up."""
MOST_WAITING = 50_000
"""Successes put down for the log's thread; where it cannot keep up, or is held up, jobs help it."""


class Success(Struct, frozen=True, gc=False):
    """The facts about a job for a line of its own."""

    task: str
    id: UUID
    attempt: int
    seconds: float


class Successes:
    """The thread that writes the lines; a job only puts its success down. Without the thread each is written at once.

    Whoever wants a line for each, however many they are, sets the level of the logger ``cherga.job`` to DEBUG.
    """

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self.many = False
        """Only how many they are is of interest at the moment."""
        self._waiting: deque[Success | str] = deque()
        """The successes that wait to be told; of many, the names of their tasks."""
        self._counted: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._came = threading.Event()
        self._ending = threading.Event()
        self._turns = Turns("log", self._turn)
        self._runs = False
        self._since = 0.0
        self._told = 0
        """Lines since then."""

    def start(self) -> None:
        """Write on a thread, where there is room for one and anybody reads of successes."""
        if logger.isEnabledFor(logging.INFO):
            with suppress(RuntimeError, MemoryError):
                self._turns.start()
                self._runs = True

    def stop(self, timeout: float | None = None) -> None:
        """Write what is there. From now on each is written at once."""
        if not self._runs:
            return

        self._runs = False
        self._ending.set()
        self._turns.end()
        self._came.set()

        if self._turns.join(timeout):  # else the log takes nothing, from nobody
            self._sum_up()

    def note(self, job: ClaimedJob, seconds: float) -> None:
        """The job has succeeded, after so many seconds."""
        if not self._runs:
            _tell(Success(job.task, job.id, job.attempt, seconds))
            return

        self._waiting.append(job.task if self.many else Success(job.task, job.id, job.attempt, seconds))

        if not self._came.is_set():
            self._came.set()

        if len(self._waiting) >= MOST_WAITING:
            self._relieve()

    def _turn(self) -> None:
        if self.many:
            self._ending.wait(SPAN)
            self._sum_up()
        else:
            self._came.wait()
            self._came.clear()  # before the look: what comes from here on rings again
            self._tell_each()

    def _tell_each(self) -> None:
        """Tell each, as long as they are few; the others wait for the end of their second."""
        while (first := self._take()) is not None:
            if isinstance(first, str) or not self._may_tell():
                self._waiting.appendleft(first)
                self._since = self._monotonic()
                self.many = True
                return

            _tell(first)

    def _may_tell(self) -> bool:
        now = self._monotonic()

        if now - self._since >= SPAN:
            self._since, self._told = now, 0

        self._told += 1
        return self._told <= FEW or logger.isEnabledFor(logging.DEBUG)

    def _sum_up(self) -> None:
        """A line for each task. Few that are known by their ids have lines of their own after all."""
        few = self._take_few()
        self._gather()

        with self._counting:
            counted, self._counted = self._counted, Counter()

        for success in few:
            _tell(success)

        now = self._monotonic()
        seconds, self._since, self._told = now - self._since, now, 0

        for task, number in sorted(counted.items()):
            _tell_number(task, number, seconds)

        self.many = counted.total() > FEW

    def _take_few(self) -> list[Success]:
        """The successes that are there, if they are few and known."""
        there = list(self._waiting) if len(self._waiting) <= FEW and not self._counted else []
        few = [each for each in there if isinstance(each, Success)]

        if len(few) < len(there):
            return []

        for _ in few:
            self._waiting.popleft()

        return few

    def _gather(self) -> None:
        """Count those that are there by now."""
        with self._counting:
            for _ in range(len(self._waiting)):
                if (each := self._take()) is not None:
                    self._counted[each if isinstance(each, str) else each.task] += 1

    def _relieve(self) -> None:
        """Too many wait: whoever comes now does a part of the work."""
        if not logger.isEnabledFor(logging.DEBUG):
            self.many = True
            self._gather()
        elif isinstance(first := self._take(), Success):
            _tell(first)

    def _take(self) -> Success | str | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None


def _tell(success: Success) -> None:
    logger.info(
        "%s %s succeeded in %.3f s",
        success.task,
        success.id,
        success.seconds,
        extra={
            "action": "job.succeeded",
            "job_id": str(success.id),
            "task_name": success.task,
            "attempt": success.attempt,
        },
    )


def _tell_number(task: str, number: int, seconds: float) -> None:
    span = "second" if seconds < 1.5 * SPAN else f"{seconds:.0f} seconds"
    extra = {"action": "jobs.succeeded", "task_name": task, "count": number}
    logger.info("%s %s succeeded in the last %s", f"{number:,}", task, span, extra=extra)
