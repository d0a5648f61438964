"""Cron texts and time zones. Opened with the first schedule that needs them: loading this takes milliseconds.

A text names times on the clock of a zone, and each of them is turned into instants here. (That library can do so too; but then
the next tick depends on where one begins to look, near clocks that are changed by half an hour.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from cherga.words.errors import ConfigError
from cherga.words.later import difflib

MINUTE = timedelta(minutes=1)
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Words of crontab files, and the fields that mean the same."""


def ticks_after(cron: str, timezone: str, after: float) -> Iterator[float]:
    """The instants that the text names, later than this one. Raises ``ConfigError``."""
    place = zone(timezone)
    moment = datetime.fromtimestamp(after, place)
    times = _times(cron, _without_zone(moment) - _to_come_again(moment))
    ticks = _by_the_clock(times, place) if _names_times_of_day(cron) else _as_time_passes(times, place)
    return (tick for tick in ticks if tick > after)


def look_back(cron: str, timezone: str, now: float, count: int, due: float) -> float:
    """An instant before the latest ``count`` ticks, or ``due`` where fewer have come since; found by going backwards."""
    place = zone(timezone)
    times = _times(cron, _without_zone(datetime.fromtimestamp(now, place)), reverse=True)
    seen = (first for first, second in (_instants(time, place) for time in times) if first <= second)
    earlier = list(islice(takewhile(lambda tick: tick > due, seen), count))
    return earlier[-1] - 1.0 if len(earlier) == count else due


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The time zone of this name. Raises ``ConfigError`` with the nearest that is known."""
    if name == "UTC":
        return UTC

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        raise ConfigError(f"expected timezone to be a name like 'Europe/Kyiv', got {name!r}{_nearest_zone(name)}") from None


def _nearest_zone(name: object) -> str:
    """The zone that may be meant; nothing where none is close, for there are hundreds of them."""
    zones = available_timezones()
    cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(zones, reverse=True)}
    find_close = difflib.get_close_matches
    close = find_close(str(name), zones, n=1) or find_close(str(name).lower().replace(" ", "_"), cities, n=1)
    return f"; did you mean {cities.get(close[0], close[0])!r}?" if close else ""


def _names_times_of_day(cron: str) -> bool:
    fields = _fields(cron).split()
    return len(fields) == 5 and not fields[0].startswith("*") and not fields[1].startswith("*")


def _by_the_clock(times: Iterator[datetime], place: tzinfo) -> Iterator[float]:
    """Each time once: at first when it comes twice, after the gap when it is left out."""
    last = None

    for time in times:
        while (tick := _instants(time, place))[0] > tick[1]:
            time += MINUTE

        if tick[0] != last:
            yield (last := tick[0])


def _as_time_passes(times: Iterator[datetime], place: tzinfo) -> Iterator[float]:
    """Each instant at which the clock shows one of the times: none when it is left out, two when it comes twice."""
    again: deque[float] = deque()

    for time in times:
        first, second = _instants(time, place)

        while again and again[0] < first:
            yield again.popleft()

        if first <= second:
            yield first

        if first < second:
            again.append(second)


def _instants(time: datetime, place: tzinfo) -> tuple[float, float]:
    """The moments when the clock shows this, by its offset before and after a change.

    Mostly they are the same. The first is earlier where the time comes twice, and later where it is left out.
    """
    there = time.replace(tzinfo=place)
    return there.timestamp(), there.replace(fold=1).timestamp()


def _to_come_again(moment: datetime) -> timedelta:
    """The time by which the clock is going to be put back over this time of day."""
    return max(timedelta(0), (moment.utcoffset() or timedelta(0)) - (moment.replace(fold=1).utcoffset() or timedelta(0)))


def _without_zone(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None, fold=0)


def _times(cron: str, start: datetime, reverse: bool = False) -> Iterator[datetime]:
    """The times on a clock that is never changed, later than ``start``, or earlier ones in reverse."""
    try:
        return CronSim(_fields(cron), start, reverse=reverse)
    except CronSimError as error:
        raise ConfigError(
            "expected cron to be five fields (minute hour day month weekday), six with seconds first, or a word such as "
            f"'@daily', got {cron!r}: {error}"
        ) from None


def _fields(cron: str) -> str:
    return NICKNAMES.get(cron.strip().lower(), cron)
