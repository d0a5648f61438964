"""The pace of jobs, and so the number to claim ahead: short jobs stream, long ones are never hoarded."""

from __future__ import annotations

from cherga.words.clock import Clock

SHORTEST = 1e-6
FEWEST = 100
"""Jobs over which the mean is taken, at least; with many slots more, for those of one size end in bursts."""


class Pace:
    """The mean time between two ends of a runner that has work, and what will start within ``lookahead`` seconds at that rate.

    Ends, not run times: what a job costs is also what stands around it, and coroutines share one thread.
    """

    def __init__(self, slots: int, lookahead: float, most: int, clock: Clock) -> None:
        self._lookahead = lookahead
        self._most = most
        self._window = max(FEWEST, 2 * slots)
        self._mean = 0.0
        self._seen = 0
        self._last = 0.0
        self._monotonic = clock.monotonic

    def resume(self) -> None:
        """There is work again, after there was none."""
        self._last = self._monotonic()

    def ended(self) -> float:
        """A job has ended, at the time that is returned. Lost updates between threads do no harm: it is an estimate."""
        now = self._monotonic()
        interval = now - self._last
        self._last = now

        if self._seen < self._window:
            self._seen += 1

        self._mean += (interval - self._mean) / self._seen
        return now

    def ended_together(self, count: int) -> None:
        """Jobs have ended since the last time, this many."""
        now = self._monotonic()
        interval = (now - self._last) / count
        self._last = now
        self._seen = min(self._window, self._seen + count)
        self._mean += (interval - self._mean) * min(1.0, count / self._seen)

    def forget(self) -> None:
        """Measurements no longer hold: claim nothing ahead until a job has ended."""
        self._seen = 0

    def ahead(self, busy: bool) -> int:
        """Jobs that will start within the lookahead, beside those that fill the slots; ``busy``: something runs now."""
        silent = busy and self._monotonic() - self._last > self._lookahead

        if silent or not self._seen:
            return 0

        return min(self._most, int(self._lookahead / max(self._mean, SHORTEST)))
