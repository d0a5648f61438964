"""Unique keys: at most one job holds each, and what an enqueue does that finds one taken."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class UniqueWhile(StrEnum):
    """The time for which a job holds its unique key."""

    UNFINISHED = "unfinished"
    QUEUED = "queued"
    PERIOD = "period"


class OnConflict(StrEnum):
    """The action of an enqueue that finds its unique key taken."""

    EXISTING = "existing"
    """The enqueue stores nothing; the holder is answered, marked."""
    REFUSE = "refuse"
    """The group is refused."""
    REPLACE = "replace"
    """A holder that has not been handed out takes over everything from the new job but its id, its place in the order of
    pushes and whom it waits for; its attempts start again from 0. One that runs, or has ended, is answered as it is."""
    LATEST = "latest"
    """The same, but behind a holder that runs the job is stored, blocked until that one has ended: once more with the
    newest arguments. There is one such successor at most; the next push finds it as the holder that waits."""


class Unique(Struct, frozen=True, omit_defaults=True, array_like=True):
    """At most one job holds ``key`` for as long as ``hold`` says; ``period`` is in seconds, for ``PERIOD`` alone."""

    key: str
    hold: UniqueWhile = UniqueWhile.UNFINISHED
    period: float | None = None
    conflict: OnConflict = OnConflict.EXISTING
