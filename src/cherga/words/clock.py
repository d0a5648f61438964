"""Clocks, the source of time. Nobody else in Cherga calls ``time`` or ``datetime.now``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2, 9999))


class Clock(Protocol):
    """Three clocks: one that people read, one that only measures, one that goes on while the machine sleeps."""

    def now(self) -> float:
        """Wall clock: seconds since 1970 in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; for durations within one process."""
        ...

    def uptime(self) -> float:
        """Seconds since the machine started, shared by all its processes; for leases on one host."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    if hasattr(time, "CLOCK_BOOTTIME"):
        uptime = staticmethod(partial(time.clock_gettime, time.CLOCK_BOOTTIME))  # suspended time included
    else:  # macOS, Windows: monotonic is shared by the host's processes there
        uptime = staticmethod(time.monotonic)


def moment(seconds: float | None) -> datetime | None:
    """The stored seconds as an aware datetime in UTC: the first or last that calendars know where they lie beyond, None where
    they are no number."""
    if seconds is None or seconds != seconds:
        return None

    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)
