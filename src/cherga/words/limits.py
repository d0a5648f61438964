"""Limits that hold across all workers, as they are declared and as they stand.

A limit has a name: ``queue:mail`` and ``task:export`` hold for all jobs of that queue or task. ``key:export|7`` holds for the
jobs that carry it among their ``limit_keys``; its rule is the one declared under this very name, else the one declared for
all values, ``key:export`` (the part before the first ``|``). What a person sets at run time (kind ``override``) goes before
what the code declares (kind ``limit``), name by name.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

LIMIT = "limit"
"""The kind of definition that code declares."""
OVERRIDE = "override"
"""The kind that a person sets at run time; it survives deploys until it is taken back."""


class Overflow(StrEnum):
    """The action of a queue that has reached its ``max_length`` on one job more."""

    REJECT = "reject"
    """The push is refused."""
    DROP_OLDEST = "drop_oldest"
    """The oldest job that waits there is cancelled (reason ``dropped``)."""


class Rate(Struct, frozen=True, array_like=True):
    """At most ``count`` starts in any ``period`` seconds."""

    count: int
    period: float


class LimitRule(Struct, frozen=True, omit_defaults=True):
    """The rule of a limit; a field that is None leaves that free."""

    max_running: int | None = None
    """Jobs that may run at the same time; 0 stops them."""
    rate: Rate | None = None
    """Starts, counted when a job is handed out; one that is given back unstarted is not counted."""
    max_length: int | None = None
    """Jobs that may wait (scheduled, ready or blocked); for queues alone."""
    overflow: Overflow = Overflow.REJECT


class LimitUse(Struct, frozen=True):
    """The state of a limit."""

    name: str
    rule: LimitRule
    running: int = 0
    """Jobs that run under it now."""
    again_in: float | None = None
    """Seconds until its rate lets another job start; None when it does now, or when there is no rate."""
