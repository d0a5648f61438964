"""Ticks: whatever schedule is due is enqueued. Any number of workers may do this; the broker lets each tick happen once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid5

from msgspec.structs import replace

from cherga.doors.broker import FullBroker
from cherga.rules.limits import queue_limit
from cherga.rules.schedule import following, plan, read_schedule, tick_head
from cherga.words.errors import ConfigError
from cherga.words.push import NewJob
from cherga.words.schedule import SCHEDULE, Schedule
from cherga.words.shared import Definition

logger = logging.getLogger("cherga.worker")

NAMESPACE = UUID("5b0c1c6e-6f0e-4f34-9b1e-8a53b7a1d6c2")
"""The namespace of ids of ticks (RFC 9562, version 5): the same tick has the same id, whoever enqueues it."""


class Scheduler:
    """Keeps what it has read of the stored schedules, and reads again only what changed."""

    def __init__(self, broker: FullBroker) -> None:
        self._broker = broker
        self._read: dict[bytes, Schedule | None] = {}
        self._told: set[str] = set()
        self._written: dict[str, tuple[Definition, float]] = {}

    def round(self, now: float) -> float | None:
        """Fire what is due at ``now`` of the broker's clock; seconds until the next tick, None when there is none."""
        stored = self._broker.definitions(SCHEDULE)

        if not stored:
            return None

        dues = self._broker.ticks()
        nexts = [self._fire(one, schedule, dues, now) for one, schedule in self._schedules(stored)]

        if self._written and self._amend(now):
            return 0.0

        return min((max(0.0, due - now) for due in nexts if due is not None), default=None)

    def _schedules(self, stored: list[Definition]) -> list[tuple[Definition, Schedule]]:
        self._read = {one.data: self._read[one.data] if one.data in self._read else read_schedule(one) for one in stored}
        found: list[tuple[Definition, Schedule]] = []

        for one in stored:
            schedule = self._read[one.data]

            if schedule is None:
                self._tell(one.name, "it cannot be read")
            elif not schedule.paused:
                found.append((one, schedule))

        return found

    def _fire(self, one: Definition, schedule: Schedule, dues: Mapping[str, float | None], now: float) -> float | None:
        """Fire a schedule as often as it is due; return when it is due next."""
        try:
            if one.name not in dues:
                return self._begin(one, schedule, now)

            due = dues[one.name]
            firings = [] if due is None else plan(schedule, due, now)
        except ConfigError as error:  # such as a time zone that this machine does not know
            self._tell(one.name, str(error))
            return None

        for firing in firings:
            group = [] if firing.tick is None else [tick_job(one.name, schedule, firing.tick)]

            if not self._write(one, firing.due, firing.following, group):
                return now  # another was first: read again

            self._tell_dropped(one.name, group)
            due = firing.following

        return due

    def _begin(self, one: Definition, schedule: Schedule, now: float) -> float | None:
        """A schedule that nobody has seen yet is due first at the next tick from now."""
        first = following(schedule, now)

        if first is not None:
            self._write(one, first, first, [])

        return first

    def _write(self, one: Definition, due: float, then: float | None, group: Sequence[NewJob]) -> bool:
        written = self._broker.tick(one.name, due, then, group)

        if written and then is not None:
            self._written[one.name] = one, then

        return written

    def _amend(self, now: float) -> bool:
        """A timing that was changed since it was read had its next due time forgotten, and this round has set one.

        That one belongs to the old timing, and may lie far behind the next tick of the new one. After this look nobody's
        change can be overwritten any more: it forgets what was written.
        """
        written, self._written = self._written, {}
        amended = False

        for new in self._broker.definitions(SCHEDULE, list(written)):
            old, due = written[new.name]

            if new.stamp != old.stamp:
                amended |= self._broker.tick(new.name, due, self._first(new, now), [])

        return amended

    def _first(self, one: Definition, now: float) -> float | None:
        schedule = read_schedule(one)

        try:
            return None if schedule is None else following(schedule, now)
        except ConfigError as error:
            self._tell(one.name, str(error))
            return None

    def _tell_dropped(self, name: str, group: Sequence[NewJob]) -> None:
        """A tick that adds no job is usual for a unique job, and worth a warning for any other."""
        for job, row in zip(group, self._broker.get([job.id for job in group]) if group else (), strict=True):
            level, why = (
                (logging.INFO, "its unique key is held") if job.unique else (logging.WARNING, f"queue {job.queue!r} is full")
            )

            # One that is not to be kept may have run and gone by now.
            if row is None and (job.unique or self._has_a_length(job.queue)):
                logger.log(
                    level,
                    "schedule %s: a tick added no job: %s",
                    name,
                    why,
                    extra={"action": "schedule.dropped", "schedule": name},
                )

    def _has_a_length(self, queue: str) -> bool:
        return any(use.rule.max_length is not None for use in self._broker.limits([queue_limit(queue)]))

    def _tell(self, name: str, why: str) -> None:
        """Once for each schedule: it is looked at often."""
        if name not in self._told:
            self._told.add(name)
            logger.error("schedule %s does not fire: %s", name, why, extra={"action": "schedule.broken", "schedule": name})


def tick_job(name: str, schedule: Schedule, tick: float) -> NewJob:
    """The job of one tick."""
    return replace(schedule.job, id=uuid5(NAMESPACE, f"{name}@{tick!r}"), head=tick_head(name, schedule.job, tick))
