"""From what a task raised to what became of the call. Hostile exceptions are ordinary here."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import msgspec

from cherga.client.waiting import Stopped
from cherga.words.control import RetryLater, Snooze, TaskCancelError
from cherga.words.errors import InvalidArguments
from cherga.words.job import JobError, Reason
from cherga.words.outcomes import Cancelled, Failed, Interrupted, Outcome, Snoozed

MESSAGE_LIMIT = 8_192
TRACEBACK_LIMIT = 57_344
"""Characters kept; together with the message an error stays under 64 KiB."""

_OURS = str(Path(__file__).parent.parent)


def outcome_of(error: BaseException, worth: Callable[[BaseException], bool]) -> Outcome:
    """What it means that a task's function raised this; ``worth`` says whether another attempt may help."""
    match error:
        case Stopped():
            return Interrupted()
        case Snooze():
            return Snoozed(_seconds(error.delay))
        case TaskCancelError():
            return Cancelled(error.reason, Reason.CANCELLED)
        case RetryLater():
            return Failed(describe(error), delay=_seconds(error.delay))
        case _:
            return Failed(describe(error), retryable=worth(error))


def unreadable(error: Exception) -> Failed:
    """Arguments that do not fit the function (any more), or bytes that are none."""
    reason = Reason.INVALID_ARGUMENTS if isinstance(error, InvalidArguments) else Reason.MALFORMED
    return Failed(describe(error, with_traceback=False), reason, retryable=False)


def unencodable(error: Exception) -> Failed:
    """The function returned what cannot be stored. Trying again would do its work twice for the same end."""
    text = _text(error)
    message = text if text.startswith("the result") else f"the result cannot be encoded: {text}"
    return Failed(JobError("InvalidResult", message[:MESSAGE_LIMIT]), retryable=False)


def describe(error: BaseException, with_traceback: bool = True) -> JobError:
    """The error as text, within the limits, whatever its ``__str__`` does."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__qualname__}"
    return JobError(name, _text(error)[:MESSAGE_LIMIT], _traceback(error) if with_traceback else "")


def _text(error: BaseException) -> str:
    try:
        return _printable(str(error))
    except Exception as second:
        return f"<its text cannot be had: {type(second).__name__}>"


def _traceback(error: BaseException) -> str:
    """The traceback from the task's own first line; the middle goes when it is too long."""
    try:
        lines = traceback.format_exception(type(error), error, _user_frames(error.__traceback__))
        text = _printable("".join(lines))
    except Exception as second:
        return f"<its traceback cannot be had: {type(second).__name__}>"

    half = TRACEBACK_LIMIT // 2
    return text if len(text) <= TRACEBACK_LIMIT else f"{text[:half]}\n  …\n{text[-half:]}"


def _user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Skip Cherga's own frames on top."""
    first = trace

    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next

    return first or trace


def _printable(text: str) -> str:
    """Lone surrogates cannot be encoded; NULs no database wants."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _seconds(delay: float | timedelta) -> float:
    number = delay.total_seconds() if isinstance(delay, timedelta) else delay
    return max(0.0, float(number))


UNREADABLE = (InvalidArguments, msgspec.DecodeError, RecursionError)
