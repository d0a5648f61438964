"""Departures: when jobs leave for the broker, and what their handles are until then."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct


class When(StrEnum):
    """The time at which an enqueue reaches the broker."""

    NOW = "now"
    """Before it returns."""
    COMMIT = "commit"
    """Once the transaction that is open has committed."""
    OUTBOX = "outbox"
    """The same, and it is written into a table of the application's database in that transaction, so that nothing loses it."""


class Wish(Struct, frozen=True):
    """The departure that ``using(when=…, session=…)`` asks for."""

    when: When | None = None
    session: Any = None
    """The session whose transaction is meant, where it is not the current one."""


class HandleState(StrEnum):
    """The state of a handle whose job no broker knows."""

    HELD = "held"
    """The job waits for its transaction to commit."""
    DROPPED = "dropped"
    """Its transaction did not commit, or it was cancelled before: it is never stored."""

    @property
    def final(self) -> bool:
        """True when it can become nothing else."""
        return self is HandleState.DROPPED
