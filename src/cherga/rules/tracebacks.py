"""Errors as text, whatever their own code does: their ``__str__``, ``__repr__`` and ``__getattr__`` may raise anything."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

MESSAGE_LIMIT = 8_192
NAME_LIMIT = 500
TRACEBACK_LIMIT = 49_152
"""Characters kept; an error of plain text stays under 64 KiB, message included."""
MOST_FRAMES = 1_000
"""The most frames of one error; of more, the first and the last half are shown."""
LONGEST_CHAIN = 20
"""Errors that led to each other, for those whose code gets into the way of the usual traceback."""


def name_of(error: BaseException) -> str:
    """The class of the error, as people write it."""
    kind = type(error)
    module = type.__getattribute__(kind, "__module__")
    name = kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"
    return printable(name[:NAME_LIMIT])[:NAME_LIMIT]


def text_of(error: BaseException, limit: int = MESSAGE_LIMIT) -> str:
    """The text of the error."""
    return attempt(lambda: printable(str(error)[:limit])[:limit], "its text")


def traceback_of(error: BaseException, trace: TracebackType | None = None, limit: int = TRACEBACK_LIMIT) -> str:
    """The traceback, that of what led to the error included; the middle goes when it is too long."""
    begin = error_trace(error) if trace is None else trace

    try:
        text = "".join(traceback.format_exception(type(error), error, _shortened(begin), limit=-MOST_FRAMES))
    except BaseException:
        text = attempt(lambda: "".join(_plainly(error, begin)), "its traceback")

    return shortened(printable(text), limit)


def error_trace(error: BaseException) -> TracebackType | None:
    """The place where it was raised, without asking the error itself."""
    trace: TracebackType | None = _own(error, "__traceback__")
    return trace


def attempt(make: Callable[[], str], what: str) -> str:
    """The text that this makes, or that it cannot be had."""
    try:
        return make()
    except BaseException as second:  # SystemExit included: whoever asks for a text goes on
        return f"<{what} cannot be had: {type(second).__name__}>"


def printable(text: str) -> str:
    """Lone surrogates cannot be encoded; NULs no database wants."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def shortened(text: str, limit: int) -> str:
    """The first and the last half of what is too long."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n  …\n{text[-half:]}"


def _own(error: BaseException, name: str) -> Any:
    return BaseException.__getattribute__(error, name)


def _plainly(error: BaseException, begin: TracebackType | None) -> Iterator[str]:
    """The facts that the interpreter knows of an error by itself, the one that led to it first."""
    chain = [(error, begin)]

    while len(chain) < LONGEST_CHAIN and (before := _before(chain[-1][0])) is not None:
        if any(before is each for each, _ in chain):
            break

        chain.append((before, _shortened(error_trace(before))))

    for number, (each, trace) in enumerate(reversed(chain)):
        yield "" if number == 0 else "\nThat led to:\n\n"
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(trace)
        yield f"{name_of(each)}: {text_of(each)}\n"


def _before(error: BaseException) -> BaseException | None:
    """The error that led to this one."""
    cause: BaseException | None = _own(error, "__cause__")

    if cause is not None or _own(error, "__suppress_context__"):
        return cause

    context: BaseException | None = _own(error, "__context__")
    return context


def _shortened(begin: TracebackType | None) -> TracebackType | None:
    """The same frames; of very many the first and the last ones."""
    frames: list[TracebackType] = []
    each = begin

    while each is not None:
        frames.append(each)
        each = each.tb_next

    if len(frames) <= MOST_FRAMES:
        return begin

    rest: TracebackType | None = frames[-MOST_FRAMES // 2]

    for frame in reversed(frames[: MOST_FRAMES // 2]):
        rest = TracebackType(rest, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)

    return rest
