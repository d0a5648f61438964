"""Solitude of suspects (jobs whose process has died before): a worker process claims nothing, so that they run alone in it."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_CLEARING = 10.0
"""Seconds that a process lets its other jobs end before it gives up; others may wait that long, and no longer."""
REST = 60.0
"""Seconds before it tries again: long jobs and a suspect must not stop a worker for good."""
LOOK = 0.5
NEVER = float("inf")


class Solitude:
    """Asked for by suspects that wait, until they are there or the patience ends; kept while those run that were claimed."""

    def __init__(self) -> None:
        self.asked = False
        self._until = NEVER
        self._not_before = 0.0

    @property
    def kept(self) -> bool:
        """For suspects that are here."""
        return self.asked and self._until == NEVER

    @property
    def patience(self) -> float:
        """Seconds between two looks at whether it still lasts."""
        return LOOK if self.asked and self._until < NEVER else NEVER

    def begin(self, now: float) -> None:
        """A suspect waits."""
        if not self.asked and now >= self._not_before:
            self.asked = True
            self._until = now + LONGEST_CLEARING

    def begin_with_suspects(self) -> None:
        """Suspects are here: alone for as long as they run."""
        self.asked = True
        self._until = NEVER

    def lasts(self, now: float, suspect_waits: Callable[[], bool]) -> bool:
        """True when to go on claiming nothing, while something still runs here."""
        if self._until == NEVER:
            return True

        if now >= self._until:
            self._not_before = now + REST
            return False

        return suspect_waits()

    def end(self, now: float) -> None:
        """Claim again."""
        self.asked = False
        self._until = NEVER
