"""Retries: whether a failed attempt is tried again, and after how long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from cherga.rules.options import LONGEST, count, number, shown
from cherga.words.errors import ConfigError

Kinds = tuple[type[BaseException], ...]


class Backoff(Struct, frozen=True):
    """The wait after the n-th attempt: ``base`` · ``factor``ⁿ⁻¹ seconds, at most ``cap``."""

    base: float = 1.0
    factor: float = 2.0
    cap: float = 600.0

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            number(getattr(self, field), f"{field} of Backoff")

    def wait(self, attempt: int) -> float:
        """Seconds to wait after this attempt (from 1), before jitter; a hundred years at most."""
        most = min(self.cap, LONGEST)

        try:
            return min(most, self.base * float(self.factor) ** (attempt - 1))
        except OverflowError:
            return most if self.base else 0.0


class Retry(Struct, frozen=True):
    """``max`` more attempts after the first.

    ``backoff`` may also be a number of seconds, the same after each attempt. ``jitter`` is the largest share of the wait
    that is added or taken away at random, so that jobs which failed together do not come back together. ``on`` lists the
    exceptions that are worth another attempt (subclasses count; empty: all), ``give_up_on`` those that are not.
    """

    max: int = 0
    backoff: Backoff | float = Backoff()
    jitter: float = 0.25
    on: Kinds = ()
    give_up_on: Kinds = ()

    def __post_init__(self) -> None:
        count(self.max, "max of Retry")
        number(self.jitter, "jitter of Retry", most=1.0)

        if not isinstance(self.backoff, Backoff):
            number(self.backoff, "backoff of Retry")

        for field in ("on", "give_up_on"):
            force_setattr(self, field, exception_kinds(getattr(self, field), f"{field} of Retry"))

    def worth(self, error: BaseException) -> bool:
        """True when another attempt may help after this error."""
        kind = type(error)  # isinstance() would ask the error, whose own code may raise

        if self.give_up_on and issubclass(kind, self.give_up_on):
            return False

        return not self.on or issubclass(kind, self.on)

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds until the next attempt; ``chance`` is a random number from 0 to 1."""
        seconds = self.backoff.wait(attempt) if isinstance(self.backoff, Backoff) else float(min(self.backoff, LONGEST))
        return seconds * (1.0 + self.jitter * (2.0 * chance - 1.0))


def exception_kinds(value: Any, what: str) -> Kinds:
    """Exception classes, one or several, as a tuple. Raises ``ConfigError`` for anything else."""
    kinds = tuple(value) if isinstance(value, Iterable) else (value,)

    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigError(f"expected {what} to hold exception classes, got {shown(kind)}")

    return kinds
