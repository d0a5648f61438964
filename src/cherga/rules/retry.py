"""When a failed attempt is tried again, and after how long."""

from __future__ import annotations

from msgspec import Struct


class Backoff(Struct, frozen=True):
    """The wait after the n-th attempt: ``base`` · ``factor``ⁿ⁻¹ seconds, at most ``cap``."""

    base: float = 1.0
    factor: float = 2.0
    cap: float = 600.0

    def wait(self, attempt: int) -> float:
        """Seconds to wait after this attempt (from 1), before jitter."""
        growth = self.factor ** min(attempt - 1, 64)
        return min(self.cap, self.base * growth)


class Retry(Struct, frozen=True):
    """``max`` more attempts after the first.

    ``backoff`` may also be a number of seconds, the same after each attempt. ``jitter`` is the largest share of the wait
    that is added or taken away at random, so that jobs which failed together do not come back together. ``on`` lists the
    exceptions that are worth another attempt (subclasses count; empty: all), ``give_up_on`` those that are not.
    """

    max: int = 0
    backoff: Backoff | float = Backoff()
    jitter: float = 0.25
    on: tuple[type[BaseException], ...] = ()
    give_up_on: tuple[type[BaseException], ...] = ()

    def worth(self, error: BaseException) -> bool:
        """Whether another attempt may help after this error."""
        if self.give_up_on and isinstance(error, self.give_up_on):
            return False

        return not self.on or isinstance(error, self.on)

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds until the next attempt; ``chance`` is a random number from 0 to 1."""
        seconds = self.backoff.wait(attempt) if isinstance(self.backoff, Backoff) else float(self.backoff)
        return seconds * (1.0 + self.jitter * (2.0 * chance - 1.0))
