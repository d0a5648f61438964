"""Failures, from the exception that a task raised to the outcome of the call. Hostile exceptions are ordinary here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from datetime import timedelta
from pathlib import Path
from traceback import extract_tb, format_list
from types import TracebackType

import msgspec

from cherga.client.waiting import Stopped
from cherga.rules.options import Duration, seconds
from cherga.rules.own_code import own_frames
from cherga.rules.tracebacks import (
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    attempt,
    error_trace,
    name_of,
    printable,
    shortened,
    text_of,
    traceback_of,
)
from cherga.words.control import RetryLater, Snooze, TaskCancelError
from cherga.words.errors import BrokerError, ConfigError, InvalidArguments, ResultExpired
from cherga.words.job import JobError, Reason
from cherga.words.outcomes import Cancelled, Failed, GivenBack, Interrupted, Outcome, Snoozed

UNRUN = (
    "it is a coroutine or generator that nobody has run; a decorator hides what the function is, "
    "so make its wrapper async def, or a generator, too"
)

_OURS = str(Path(__file__).parent.parent)


def outcome_of(error: BaseException, worth: Callable[[BaseException], bool]) -> Outcome:
    """The meaning of this error of a task's function; ``worth`` says whether another attempt may help."""
    try:
        wish = _wish_of(error)
    except (ConfigError, AttributeError) as wrong:
        return Failed(describe(wrong), retryable=False)
    except BaseException:  # its own code gets into the way of every question
        wish = None

    return wish or Failed(describe(error), retryable=worth(error))


def _wish_of(error: BaseException) -> Outcome | None:
    """The wish of the task itself, by raising. Raises ``ConfigError`` for a delay that is none."""
    match error:
        case Stopped():
            return Interrupted()
        case Snooze():
            return Snoozed(_delay(error.delay, "the delay of Snooze"))
        case TaskCancelError():
            return Cancelled(printable(str(error.reason))[:MESSAGE_LIMIT], Reason.CANCELLED)
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
    text = UNRUN if isinstance(value, Coroutine | Generator | AsyncGenerator) else text_of(error)
    message = text if text.startswith("the result") else f"the result cannot be encoded: {text}"
    return Failed(JobError("InvalidResult", message[:MESSAGE_LIMIT]), retryable=False)


def broken(error: BaseException) -> Failed:
    """The surroundings of the function failed: a handler of log lines, say, or the reading of damaged arguments."""
    return Failed(describe(error))


def describe(error: BaseException, with_traceback: bool = True) -> JobError:
    """The error as text, within the limits, whatever its own code does; the traceback from the task's own first line."""
    trace = traceback_of(error, _user_frames(error_trace(error))) if with_traceback else ""
    return JobError(name_of(error), text_of(error), trace)


def explained(error: BaseException, why: str) -> JobError:
    """The error in the words of an explanation, with the place in the task's code, and without what lies below that."""
    below = extract_tb(_user_frames(error_trace(error)))
    frames = own_frames(below) or list(below)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    trace = attempt(lambda: "".join(["Traceback (most recent call last):\n", *format_list(frames)]), "its traceback")
    text = f"{name_of(error)}: {text_of(error)}\n"
    return JobError(name_of(error), f"{why}{place}"[:MESSAGE_LIMIT], shortened(printable(trace) + text, TRACEBACK_LIMIT))


def _user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Skip Cherga's own frames on top."""
    first = trace

    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next

    return first or trace


UNREADABLE = (InvalidArguments, msgspec.DecodeError, RecursionError)
UNFED = (ResultExpired, BrokerError)
