"""The caretaker: what is due becomes ready, what is dead is freed, what is old goes, schedules fire.

Any number may run; none is the leader.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from uuid import UUID

from cherga.doors.broker import FullBroker, Topic
from cherga.rules.notices import next_words
from cherga.rules.settings import BrokerSettings
from cherga.words.clock import Clock
from cherga.words.errors import BrokerError
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.session import Death
from cherga.words.settlement import Settlement
from cherga.worker.logs import count_of
from cherga.worker.scheduler import Scheduler
from cherga.worker.turns import Turns

logger = logging.getLogger("cherga.worker")

PAGE = 1000
PRUNE_PAGE = 500
SHOWN = 5
"""Jobs that a line in the log names."""
SWEEPS_PER_PRUNE = 6
SHORTEST_SWEEP = 1.0
"""Seconds to the next sweep, at least, when a session is about to end before its turn."""
MARGIN = 0.05


class Caretaker:
    """A thread that sleeps until the next job is due, a sweep is, or somebody schedules something sooner."""

    def __init__(self, broker: FullBroker, settings: BrokerSettings, clock: Clock, scheduler: Scheduler | None = None) -> None:
        self._broker = broker
        self._sweep_interval = settings.sweep
        self._crash_cap = settings.crash_cap
        self._clock = clock
        self._scheduler = scheduler or Scheduler(broker)
        self._listener = broker.listen([Topic.DUE])
        self._deaths: list[Death] = []
        self._last_words: list[Settlement] = []
        self._lock = threading.Lock()
        self._sweeps = 0
        self._next_sweep = clock.monotonic()
        self._stopping = False
        self._turns = Turns("caretaker", self._turn)

    def start(self) -> None:
        self._turns.start()

    def bury(self, deaths: Sequence[Death], last_words: Sequence[Settlement] = ()) -> None:
        """Write what the dead said of their jobs at last, and free the others, now."""
        with self._lock:
            self._deaths.extend(deaths)
            self._last_words.extend(last_words)

        self._listener.wake()

    def stop(self) -> None:
        """End the thread; what was buried is still freed."""
        self._stopping = True
        self._turns.end()
        self._listener.wake()
        self._turns.join()
        self._guard(self._reap)
        self._listener.close()

    def _turn(self) -> None:
        self._guard(self._reap)
        next_in = self._guard(self._promote)
        self._guard(self._sweep)
        left = max(0.0, self._next_sweep - self._clock.monotonic())
        self._listener.wait(left if next_in is None else min(left, next_in))

    def _guard(self, work: Callable[[], float | None]) -> float | None:
        """A broker that is away is tried again at the next turn."""
        try:
            return work()
        except BrokerError as error:
            logger.warning("caretaker: %s", error, extra={"action": "caretaker.retry"})
        except Exception:
            logger.exception("caretaker failed", extra={"action": "caretaker.retry"})

        return 1.0

    def _promote(self) -> float | None:
        """Seconds until the next job or schedule is due; 0 when there may be more to do now."""
        promoted = self._broker.promote(PAGE)
        next_tick = self._scheduler.round(promoted.now)

        if promoted.count >= PAGE:
            return 0.0

        return min((seconds for seconds in (promoted.next_in, next_tick) if seconds is not None), default=None)

    def _write_last_words(self) -> None:
        with self._lock:
            words, self._last_words = self._last_words, []

        if not words:
            return

        try:
            self._broker.settle(words)
        except BrokerError:
            with self._lock:
                self._last_words[:0] = words

            raise
        except Exception:
            logger.exception("the ends of %s cannot be written", count_of(len(words), "job"), extra={"action": "settle.failed"})

    def _reap(self) -> None:
        self._write_last_words()

        with self._lock:
            deaths, self._deaths = self._deaths, []

        if not deaths:
            return

        try:
            freed = self._broker.reap(deaths, PAGE)
        except BaseException:
            with self._lock:
                self._deaths[:0] = deaths

            raise

        self._tell(freed)
        self._free_rest(len(freed))

    def _sweep(self) -> None:
        if self._clock.monotonic() < self._next_sweep:
            return

        self._next_sweep = self._clock.monotonic() + self._sweep_interval
        self._tell(freed := self._broker.reap((), PAGE))
        self._free_rest(len(freed))
        self._next_sweep = min(self._next_sweep, self._clock.monotonic() + self._next_end())

        if self._sweeps % SWEEPS_PER_PRUNE == 0:
            while self._broker.prune(PRUNE_PAGE) >= PRUNE_PAGE and not self._stopping:
                pass

        self._sweeps += 1

    def _free_rest(self, freed: int) -> None:
        """After a full page the next one, and what is due in between, for a dead session may have had any number of jobs."""
        while freed >= PAGE:
            self._guard(self._promote)
            self._tell(page := self._broker.reap((), PAGE))
            freed = len(page)

    def _next_end(self) -> float:
        """Seconds until the first session ends unless it is renewed, and is worth a sweep of its own."""
        soonest = min((worker.expires_in for worker in self._broker.workers()), default=self._sweep_interval)
        return max(SHORTEST_SWEEP, soonest) + MARGIN

    def _tell(self, freed: list[UUID]) -> None:
        """Say what was taken back from the dead, and what comes next; a worker that knows the tasks tells each by itself."""
        if not freed:
            return

        rows = [row for row in self._broker.get(freed[:SHOWN]) if row is not None]
        died = any(row.reason is Reason.LOST or (row.reason is not Reason.INTERRUPTED and row.crashes) for row in rows)
        more = f"; and {len(freed) - len(rows):,} more" if len(freed) > len(rows) else ""
        logger.warning(
            "recovered %s from a %s worker (%s%s)",
            count_of(len(freed), "job"),
            "dead" if died else "stopped",
            "; ".join(self._told(row) for row in rows),
            more,
            extra={"action": "reap", "job_ids": [str(id) for id in freed[:SHOWN]]},
        )

    def _told(self, row: JobRow) -> str:
        wait = (row.run_at or 0.0) - self._clock.now() if row.state is JobState.SCHEDULED else 0.0
        return f"{row.task} {row.id}: {next_words(row.state, row.reason, row.crashes, self._crash_cap, wait)}"
