"""Outcomes of calls, as data. ``cherga.rules.decide`` turns one into a settlement."""

from __future__ import annotations

from msgspec import Struct

from cherga.words.job import JobError, Reason


class Succeeded(Struct, frozen=True, gc=False):
    """The function returned; ``result`` is encoded, None when it is not kept."""

    result: bytes | None


class Failed(Struct, frozen=True):
    """The attempt failed. ``retryable`` False: another attempt would be of no use. ``delay`` overrides the backoff."""

    error: JobError
    reason: Reason = Reason.ERROR
    retryable: bool = True
    delay: float | None = None
    explained: bool = False
    """The error is told in words that say what to do, and its traceback tells nothing more."""


class Snoozed(Struct, frozen=True):
    """The task itself wants to run again in ``delay`` seconds; not a failure."""

    delay: float


class Cancelled(Struct, frozen=True):
    """The attempt ended because somebody asked for it, or by the task's own wish."""

    message: str = ""
    reason: Reason = Reason.ASKED


class Interrupted(Struct, frozen=True):
    """User code had begun and was ended by a stop of the worker."""


class GivenBack(Struct, frozen=True):
    """User code never began: the worker stopped, or its lease had run out before the start."""


Outcome = Succeeded | Failed | Snoozed | Cancelled | Interrupted | GivenBack
