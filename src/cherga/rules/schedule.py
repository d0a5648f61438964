"""When schedules fire. Pure: ``now`` is an argument, and the same schedule gives the same ticks on every machine.

A cron text is read in its time zone, and each tick is kept as an instant. Where clocks are put forward, a time of day that
does not exist that day fires at the first instant after the gap; where they are put back, a time of day that comes twice
fires the first time alone. Schedules by the hour or more often follow the passing time. (Debian's cron has these rules.)
``every`` counts from 1970, whatever the clocks on the wall do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from msgspec import Struct

from cherga.rules.options import nearest
from cherga.words.errors import ConfigError
from cherga.words.schedule import CatchUp, Schedule

SHORTEST = 0.1
"""Seconds between two ticks at least."""
GRACE = 60.0
"""A tick that is at most so many seconds late has not been missed yet."""
LOOK_BACK = 4 * 3600.0
"""Seconds; more than clocks are ever put forward or back."""


class Firing(Struct, frozen=True):
    """One call of ``Broker.tick``: if the next due time is ``due``, make it ``following``, and enqueue for ``tick``."""

    due: float
    following: float | None
    tick: float | None
    """None: nothing is enqueued, the ticks up to now are passed over."""


def check_timing(cron: str | None, every: float | None, timezone: str) -> None:
    """Raise ``ConfigError`` that says what is wrong with the timing of a schedule."""
    if (cron is None) == (every is None):
        raise ConfigError(f"expected cron or every, one of them, got cron={cron!r} and every={every!r}")

    _zone(timezone)

    if every is not None:
        _check_every(every)
    elif cron is not None and next(_cron_ticks(cron, timezone, 0.0), None) is None:
        raise ConfigError(f"expected a cron text that some day comes true, got {cron!r}: no such time in fifty years")


def following(schedule: Schedule, after: float) -> float | None:
    """The first tick after this instant, None when there is none any more."""
    return next(_ticks(schedule, after), None)


def upcoming(schedule: Schedule, after: float, count: int) -> list[float]:
    """The next ticks after this instant, at most ``count``."""
    return list(islice(_ticks(schedule, after), count))


def plan(schedule: Schedule, due: float, now: float) -> list[Firing]:
    """What to do about a schedule whose next due time is ``due``; nothing while that has not come."""
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
    start = max(due, _look_back(schedule, now, most))
    ticks = deque([due] if start == due else [], maxlen=most)

    for tick in _ticks(schedule, start):
        if tick > now:
            break

        ticks.append(tick)

    return list(ticks) or [due]


def _look_back(schedule: Schedule, now: float, most: int) -> float:
    """An instant before the latest ``most`` ticks."""
    if schedule.every is not None:
        return now - schedule.every * (most + 1)

    earlier = _iterate(schedule.cron or "", schedule.timezone, now, reverse=True)
    ticks = list(islice(earlier, most))
    return ticks[-1] - LOOK_BACK if len(ticks) == most else 0.0


def _ticks(schedule: Schedule, after: float) -> Iterator[float]:
    if schedule.every is not None:
        return _interval_ticks(schedule.every, after)

    return _cron_ticks(schedule.cron or "", schedule.timezone, after)


def _interval_ticks(every: float, after: float) -> Iterator[float]:
    number = math.floor(after / every)

    while True:
        number += 1
        tick = number * every

        if tick > after:
            yield tick


def _cron_ticks(cron: str, timezone: str, after: float) -> Iterator[float]:
    return (tick for tick in _iterate(cron, timezone, after) if tick > after)


def _iterate(cron: str, timezone: str, start: float, reverse: bool = False) -> Iterator[float]:
    moment = datetime.fromtimestamp(start, _zone(timezone))

    try:
        found = CronSim(cron, moment, reverse=reverse)
    except CronSimError as error:
        raise ConfigError(
            f"expected cron to be five fields (minute hour day month weekday) or six with seconds first, got {cron!r}: {error}"
        ) from None

    return (tick.timestamp() for tick in found)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    if name == "UTC":
        return ZoneInfo("UTC")

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        known = available_timezones()
        raise ConfigError(
            f"expected timezone to be a name like 'Europe/Kyiv', got {name!r}{nearest(str(name), known)}"
        ) from None


def _check_every(every: float) -> None:
    if isinstance(every, bool) or not math.isfinite(every) or every < SHORTEST:
        raise ConfigError(f"expected every to be {SHORTEST} seconds or more, got {every!r}")


def moment_of(tick: float, timezone: str) -> datetime:
    """The tick on the clock of that zone."""
    return datetime.fromtimestamp(tick, UTC).astimezone(_zone(timezone))
