"""The clock of a testing block: it runs as the machine's does, and a test can set it ahead."""

from __future__ import annotations

from cherga.words.clock import SystemClock


class TravelClock:
    """A ``cherga.words.clock.Clock`` whose wall clock is ``ahead`` of the machine's by so many seconds.

    What only measures is left alone, so that a journey ends no lease and no running job.
    """

    monotonic = staticmethod(SystemClock.monotonic)
    uptime = staticmethod(SystemClock.uptime)

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        """Seconds since 1970 in UTC."""
        return SystemClock.now() + self.ahead
