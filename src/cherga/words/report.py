"""Reports of a running job, and the live stream that is made of them."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from cherga.words.job import JobRow


class EventKind(StrEnum):
    """The kinds of events in a job's live stream beside progress and meta, which only ever keep their last value."""

    LOG = "log"
    VALUE = "value"


class Report(Struct, frozen=True):
    """The report of a running job. Refused unless ``token`` is the current one."""

    id: UUID
    sequence: int
    token: int
    progress: bytes | None = None
    meta: bytes | None = None
    events: tuple[tuple[EventKind, bytes], ...] = ()


class LiveEvent(Struct, frozen=True, array_like=True):
    """A log line or a stream value at its position."""

    position: int
    kind: EventKind
    data: bytes


EVENTS_KEPT = 1000
"""Log lines and stream values kept for one job; older ones go first."""


class Reading(Struct, frozen=True):
    """The job whose stream to read, and the position after which to read."""

    id: UUID
    after: int = 0


class Followed(Struct, frozen=True):
    """A job as it stands, and what its stream holds after the position asked for (oldest first)."""

    job: JobRow
    events: list[LiveEvent]
