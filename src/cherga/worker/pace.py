"""How fast jobs go, and so how many to claim ahead: short jobs stream, long ones are never hoarded."""

from __future__ import annotations

_WEIGHT = 0.05


class Pace:
    """The mean run time of a runner's jobs, and what will start within ``lookahead`` seconds at that rate."""

    def __init__(self, slots: int, lookahead: float) -> None:
        self._slots = slots
        self._lookahead = lookahead
        self._mean: float | None = None

    def took(self, seconds: float) -> None:
        """A job took this long. Lost updates between threads do no harm: it is an estimate."""
        mean = self._mean
        self._mean = seconds if mean is None else mean + _WEIGHT * (seconds - mean)

    def forget(self) -> None:
        """What was measured no longer holds: claim nothing ahead until a job has ended."""
        self._mean = None

    def ahead(self) -> int:
        """Jobs that the slots will start within the lookahead, beside those that fill them."""
        if self._mean is None:
            return 0

        return int(self._slots * self._lookahead / max(self._mean, 1e-6))
