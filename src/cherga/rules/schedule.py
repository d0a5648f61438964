"""Ticks of schedules. Pure: ``now`` is an argument, and the same schedule gives the same ticks on every machine.

A cron text is read in its time zone, and each tick is kept as an instant. Where clocks are put forward, a time of day that
does not exist that day fires at the first instant after the gap; where they are put back, a time of day that comes twice
fires the first time alone. Texts whose minute or hour begins with ``*``, and those of six fields, follow the passing time:
in an hour that is left out they do not fire, in one that comes twice they fire twice. (Debian's cron has these rules.)
``every`` counts from 1970, whatever the clocks on the wall do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice, takewhile
from types import ModuleType

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cherga.rules.options import LONGEST
from cherga.rules.reading import read_or
from cherga.words.errors import ConfigError
from cherga.words.push import JobHead, NewJob
from cherga.words.schedule import CatchUp, Schedule
from cherga.words.shared import Definition

SHORTEST = 0.1
"""Seconds between two ticks at least."""
GRACE = 60.0
"""A tick that is at most so many seconds late has not been missed yet."""
UTC_NAME = "UTC"

_read = msgspec.msgpack.Decoder(Schedule).decode
_read_head = msgspec.msgpack.Decoder(JobHead).decode
_pack = msgspec.msgpack.Encoder().encode


class Firing(Struct, frozen=True):
    """A call of ``Broker.tick``: if the next due time is ``due``, make it ``following``, and enqueue for ``tick``."""

    due: float
    following: float | None
    tick: float | None
    """The tick to enqueue for; None: nothing is enqueued, the ticks up to now are passed over."""


def read_schedule(definition: Definition) -> Schedule | None:
    """The stored schedule; None when it cannot be read, or would come true at no time that there is."""
    schedule = read_or(_read, definition.data, None)

    if schedule is None or schedule.every is None:
        return schedule

    return schedule if SHORTEST <= schedule.every <= LONGEST else None


def tick_head(name: str, job: NewJob, tick: float | None) -> bytes:
    """The packed head of a job that a schedule enqueues."""
    head = _read_head(job.head) if job.head else JobHead()
    return _pack(replace(head, schedule=name, tick=tick))


def check_timing(cron: str | None, every: float | None, timezone: str) -> None:
    """Raise ``ConfigError`` that says what is wrong with the timing of a schedule."""
    if cron is None and every is None:
        raise ConfigError("expected cron or every, for the times at which it runs, got neither")

    if cron is not None and every is not None:
        raise ConfigError(f"expected cron or every, one of them, got cron={cron!r} and every={every!r}")

    if timezone != UTC_NAME:
        _cron().zone(timezone)

    if every is not None:
        _check_every(every)
    elif next(_cron().ticks_after(cron, timezone, 0.0), None) is None:
        raise ConfigError(f"expected a cron text that some day comes true, got {cron!r}: no such time in fifty years")


def following(schedule: Schedule, after: float) -> float | None:
    """The first tick after this instant, None when there is none any more."""
    return next(_ticks(schedule, after), None)


def upcoming(schedule: Schedule, after: float, count: int) -> list[float]:
    """The next ticks after this instant, at most ``count``."""
    return list(islice(_ticks(schedule, after), count))


def moment_of(tick: float, timezone: str) -> datetime:
    """The tick on the clock of that zone."""
    return datetime.fromtimestamp(tick, UTC if timezone == UTC_NAME else _cron().zone(timezone))


def plan(schedule: Schedule, due: float, now: float) -> list[Firing]:
    """The action for a schedule whose next due time is ``due``; none while that has not come."""
    if due > now:
        return []

    most = schedule.cap if schedule.catch_up is CatchUp.ALL else 1
    ticks = _missed(schedule, due, now, max(1, most))
    after = following(schedule, now)

    if schedule.catch_up is CatchUp.SKIP and now - ticks[-1] > GRACE:
        return [Firing(due, after, None)]

    followers = [*ticks[1:], after]
    return [Firing(at, then, tick) for at, then, tick in zip([due, *ticks[1:]], followers, ticks, strict=True)]


def _missed(schedule: Schedule, due: float, now: float, most: int) -> list[float]:
    """The latest ticks from ``due`` to ``now``, at least one, at most ``most``; never by going through years of them."""
    start = max(due, _look_back(schedule, now, most, due))
    ticks = deque([due] if start == due else [], maxlen=most)
    ticks.extend(takewhile(lambda tick: tick <= now, _ticks(schedule, start)))
    return list(ticks) or [due]


def _look_back(schedule: Schedule, now: float, most: int, due: float) -> float:
    """An instant before the latest ``most`` ticks."""
    if schedule.every is not None:
        return now - schedule.every * (most + 1)

    found: float = _cron().look_back(schedule.cron, schedule.timezone, now, most, due)
    return found


def _ticks(schedule: Schedule, after: float) -> Iterator[float]:
    if schedule.every is not None:
        return _interval_ticks(schedule.every, after)

    found: Iterator[float] = _cron().ticks_after(schedule.cron, schedule.timezone, after)
    return found


def _interval_ticks(every: float, after: float) -> Iterator[float]:
    number = math.floor(after / every) - 1  # the quotient may have been rounded up to a tick that is still to come

    while True:
        number += 1
        tick = number * every

        if tick > after:
            yield tick


def _check_every(every: float) -> None:
    if isinstance(every, bool) or not math.isfinite(every) or every < SHORTEST:
        raise ConfigError(f"expected every to be {SHORTEST} seconds or more, got {every!r}")


def _cron() -> ModuleType:
    # Opened by name: most applications have no schedule and need not load it.
    return import_module("cherga.rules.cron")
