"""Breakage: a broker that is broken, not only away, so that a worker which goes on trying does nobody a service."""

from __future__ import annotations

from collections.abc import Callable

from cherga.words.clock import Clock
from cherga.words.errors import BrokerError, BrokerUnusable

PATIENCE = 1.5
"""Seconds in which every try has to fail: it may be mended, or have been a moment's lack of something."""

Broken = Callable[[BrokerError], None]


class Breakage:
    """Calls ``broken`` once with the error when the broker needs a person at every try for longer than ``PATIENCE``."""

    def __init__(self, clock: Clock, broken: Broken | None = None) -> None:
        self._clock = clock
        self._broken = broken
        self._since: float | None = None

    def heal(self) -> None:
        """A try went well."""
        self._since = None

    def note(self, error: BrokerError) -> None:
        """A try failed."""
        if not isinstance(error, BrokerUnusable):
            self.heal()
            return

        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since

        if now - self._since > PATIENCE and self._broken is not None:
            broken, self._broken = self._broken, None
            broken(error)
