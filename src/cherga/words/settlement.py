"""Settlements: what a worker writes about an attempt once it is over."""

from __future__ import annotations

from enum import IntEnum
from uuid import UUID

from msgspec import Struct

from cherga.words.job import Attempt, JobState, Reason
from cherga.words.push import NewJob


class Charge(IntEnum):
    """The cost of an attempt for the job."""

    ATTEMPT = 0
    """The attempt counts."""
    REFUND = 1
    """The attempt does not count: it never started, or was put off on purpose."""
    INTERRUPTION = 2
    """The attempt counts as an interruption."""
    CRASH = 3
    """The attempt counts as a crash."""
    LOSS = 4
    """The attempt does not count: its process died, and nothing says that this job had a part in it."""


class Settlement(Struct, frozen=True, gc=False):
    """The settlement that the worker writes about one attempt. Refused unless ``token`` is the current one."""

    id: UUID
    sequence: int
    token: int
    to: JobState
    reason: Reason | None = None
    charge: Charge = Charge.ATTEMPT
    delay: float | None = None
    """Seconds from the broker's now, for ``to`` = scheduled."""
    result: bytes | None = None
    message: str | None = None
    attempt: Attempt | None = None
    """Added to the history."""
    progress: bytes | None = None
    meta: bytes | None = None
    """Last values, when they changed since the last report."""
    keep: float = 86400.0
    """Seconds to keep the job once it is final; 0 deletes it in this write."""
    children: tuple[tuple[NewJob, ...], ...] = ()
    """Groups to push in the same write, dropped when the settlement is refused."""


class Settled(IntEnum):
    """The broker's answer to one settlement."""

    WRITTEN = 0
    """Written now, or before under the same token (a repeated call after a lost reply)."""
    REFUSED = 1
    """Another claim, a person or the reaper was there first; nothing was changed."""
