"""A clock that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    """A ``cherga.words.clock.Clock`` for tests. ``now`` begins at 1 January 2030, 00:00 UTC."""

    def __init__(self, now: float = 1_893_456_000.0) -> None:
        self._now = now
        self._monotonic = 0.0
        self._uptime = 0.0

    def now(self) -> float:
        """Seconds since 1970 in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    def uptime(self) -> float:
        """Seconds since the pretended start of the machine."""
        return self._uptime

    def advance(self, seconds: float) -> None:
        """Let time pass on all three clocks. Raises ``ValueError`` for a negative number."""
        self._monotonic += _positive(seconds)
        self.suspend(seconds)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: the monotonic clock stands still meanwhile."""
        self._now += _positive(seconds)
        self._uptime += seconds

    def set_wall(self, now: float) -> None:
        """Set the wall clock alone, forwards or backwards, as a time server does."""
        self._now = now


def _positive(seconds: float) -> float:
    if seconds < 0:
        raise ValueError(f"expected seconds of 0 or more, got {seconds}; use set_wall to turn the wall clock back")

    return seconds
