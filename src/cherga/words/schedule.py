"""Schedules: rules that enqueue again and again. One firing is a tick; ``Broker.tick`` lets each happen once."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from cherga.words.push import NewJob

SCHEDULE = "schedule"
"""The kind of definition."""


class CatchUp(StrEnum):
    """The action on ticks that were missed while the schedule was paused or no worker was up."""

    SKIP = "skip"
    """Missed ticks are passed over."""
    LAST = "last"
    """The latest of them is enqueued."""
    ALL = "all"
    """The ticks are enqueued, the latest ``cap`` of them."""


class Schedule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rule that says when to enqueue, and which job. Either ``cron`` or ``every`` is set."""

    job: NewJob
    """The job to enqueue; its id is replaced by one made from the schedule's name and the tick."""
    cron: str | None = None
    """Five fields, or six with seconds first, read in ``timezone``."""
    every: float | None = None
    """Seconds between two ticks, counted from 1970, so that all workers agree."""
    timezone: str = "UTC"
    catch_up: CatchUp = CatchUp.LAST
    cap: int = 100
    """Ticks caught up at most, for ``ALL``."""
    paused: bool = False
    from_code: bool = False
    """Declared beside a task: it goes when the code no longer declares it. One made at run time stays until deleted."""
