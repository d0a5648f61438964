"""Lanes: where ready jobs stand."""

from __future__ import annotations

from msgspec import Struct

from cherga.rules.limits import limit_names
from cherga.words.job import JobRow
from cherga.words.shared import PauseScope


class LaneKey(Struct, frozen=True):
    """Ready jobs stand in lanes, so that what is closed is passed over without looking at its jobs."""

    queue: str
    task: str
    suspect: int
    limit_keys: tuple[str, ...] = ()
    held: PauseScope | None = None
    """The pause with arguments that means every job in here."""


def lane_of(row: JobRow) -> LaneKey:
    """The lane in which this job stands when it is ready. Keys that cannot be read are left to the claim."""
    keys = row.limit_keys if isinstance(row.limit_keys, tuple) else ()
    return LaneKey(row.queue, row.task, row.suspect, keys)


def names_of(key: LaneKey) -> tuple[str, ...]:
    """The limits that the jobs of a lane count for."""
    return limit_names(key.queue, key.task, key.limit_keys)
