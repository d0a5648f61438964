"""From what a task raised to what became of the call. Hostile exceptions are ordinary here."""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import msgspec

from cherga.client.waiting import Stopped
from cherga.rules.options import Duration, seconds
from cherga.words.control import RetryLater, Snooze, TaskCancelError
from cherga.words.errors import BrokerError, ConfigError, InvalidArguments, ResultExpired
from cherga.words.job import JobError, Reason
from cherga.words.outcomes import Cancelled, Failed, GivenBack, Interrupted, Outcome, Snoozed

MESSAGE_LIMIT = 8_192
TRACEBACK_LIMIT = 49_152
"""Characters kept; an error of plain text stays under 64 KiB, message included."""

UNRUN = (
    "it is a coroutine or generator that nobody has run; a decorator hides what the function is, "
    "so make its wrapper async def, or a generator, too"
)

_OURS = str(Path(__file__).parent.parent)


def outcome_of(error: BaseException, worth: Callable[[BaseException], bool]) -> Outcome:
    """What it means that a task's function raised this; ``worth`` says whether another attempt may help."""
    try:
        return _wish_of(error) or Failed(describe(error), retryable=worth(error))
    except (ConfigError, AttributeError) as wrong:
        return Failed(describe(wrong), retryable=False)


def _wish_of(error: BaseException) -> Outcome | None:
    """What the task itself asked for by raising. Raises ``ConfigError`` for a delay that is none."""
    match error:
        case Stopped():
            return Interrupted()
        case Snooze():
            return Snoozed(_delay(error.delay, "the delay of Snooze"))
        case TaskCancelError():
            return Cancelled(_printable(str(error.reason))[:MESSAGE_LIMIT], Reason.CANCELLED)
        case RetryLater():
            return Failed(describe(error), delay=_delay(error.delay, "the delay of RetryLater"))
        case _:
            return None


def _delay(value: Duration, what: str) -> float:
    """A moment that has passed already means now."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    return 0.0 if isinstance(number, int | float) and number < 0 else seconds(value, what)


def unreadable(error: Exception) -> Failed:
    """Arguments that do not fit the function (any more), or bytes that are none."""
    reason = Reason.INVALID_ARGUMENTS if isinstance(error, InvalidArguments) else Reason.MALFORMED
    return Failed(describe(error, with_traceback=False), reason, retryable=False)


def unfed(error: Exception) -> Outcome:
    """The result that the job waited for cannot be had: for now, or for ever."""
    return Failed(describe(error, with_traceback=False), retryable=False) if isinstance(error, ResultExpired) else GivenBack()


def unencodable(error: BaseException, value: object = None) -> Failed:
    """The function returned what cannot be stored. Trying again would do its work twice for the same end."""
    text = UNRUN if isinstance(value, Coroutine | Generator | AsyncGenerator) else _text(error)
    message = text if text.startswith("the result") else f"the result cannot be encoded: {text}"
    return Failed(JobError("InvalidResult", message[:MESSAGE_LIMIT]), retryable=False)


def broken(error: BaseException) -> Failed:
    """What stands around the function failed: a handler of log lines, say, or the reading of damaged arguments."""
    return Failed(describe(error))


def describe(error: BaseException, with_traceback: bool = True) -> JobError:
    """The error as text, within the limits, whatever its ``__str__`` does."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    return JobError(name, _text(error)[:MESSAGE_LIMIT], _traceback(error) if with_traceback else "")


def _text(error: BaseException) -> str:
    try:
        return _printable(str(error))
    except BaseException as second:  # whatever its __str__ does, SystemExit included, the worker goes on
        return f"<its text cannot be had: {type(second).__name__}>"


def _traceback(error: BaseException) -> str:
    """The traceback from the task's own first line; the middle goes when it is too long."""
    try:
        lines = traceback.format_exception(type(error), error, _user_frames(error.__traceback__))
        text = _printable("".join(lines))
    except BaseException as second:
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


UNREADABLE = (InvalidArguments, msgspec.DecodeError, RecursionError)
UNFED = (ResultExpired, BrokerError)
