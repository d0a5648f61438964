"""Restarts of worker processes: at once the first time, later and later while they die young."""

from __future__ import annotations

import math

STARTS_IN_VAIN = 5
"""Worker processes that may end, one after the other, before they are up."""
YOUNG_DEATHS = 10
"""The same for those that were up, but not for long."""
LONGEST_PAUSE = 10.0
_SHORTEST_PAUSE = 0.25


class Restarts:
    """Counts the worker processes that died young since the last one settled, in rounds: each may die of the same cause."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._in_vain = 0

    def forget(self) -> None:
        """Forget the deaths: a child has settled, or what they died of may be mended."""
        self._in_vain = 0

    def pause(self) -> float:
        """Count a child that died young. Seconds until another one is to be started."""
        self._in_vain += 1
        # The count has no end where others live on; the pause has.
        round = min(10, math.ceil(self._in_vain / self._processes))
        return 0.0 if round == 1 else min(LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0**round)

    def are_hopeless(self, most: int) -> bool:
        """True when so many rounds died young, one after the other."""
        return self._in_vain >= most * self._processes
