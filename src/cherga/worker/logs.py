"""Log lines of a worker, where the application has set up none of its own. What it has set up is never touched.

No record is lost, and no line breaks its format, whatever is in it: what cannot be shown is named in its place.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, TextIO

from cherga.client.mishaps import revive
from cherga.rules.tracebacks import TRACEBACK_LIMIT, attempt, shortened, traceback_of

LONGEST_MESSAGE = 32_768
"""Characters of a message, and of a value in a JSON line."""
DEEPEST, MOST_ITEMS = 8, 1_000
"""The most levels, and items, of values in a JSON line."""
EXPECTED = "expected"
"""The extra field of a failure after which the job is tried again. Its traceback is shown where its logger is at DEBUG."""
TOLD_BELOW = "told_below"
"""The extra field of a failure whose message leaves to its traceback what the error says. In JSON the message has it, too."""
LARGEST = 1 << 64
"""A whole number in a JSON line is smaller, or a text."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OURS = frozenset({"time", "level", "logger", "pid", "message", "traceback", "stack"})
_DIM, _BOLD = "2", "1"
_COLOURS = {logging.INFO: "32", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}
_INDENT = len("00:00:00 WARNING ")
_HEAD = re.compile(r"\d\d:\d\d:\d\d ")


def wants_colour(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """On a terminal that has colours, unless ``NO_COLOR`` is set; elsewhere if ``FORCE_COLOR`` is."""
    if environment.get("NO_COLOR"):
        return False

    if environment.get("FORCE_COLOR"):
        return True

    try:
        return stream is not None and stream.isatty() and environment.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def set_up(level: str, style: str) -> None:
    """Show Cherga's log lines on stderr for as long as the application handles none itself, now or later."""
    revive()
    logger = logging.getLogger("cherga")

    if logger.hasHandlers():
        return

    handler = Lines(sys.stderr)
    handler.setFormatter(
        JsonLines(_takes_any(sys.stderr)) if style == "json" else TextLines(wants_colour(sys.stderr, os.environ))
    )
    handler.addFilter(lambda record: not logging.getLogger().handlers)
    logger.addHandler(handler)
    logger.setLevel(level.upper())


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines to a stream that may be closed, or take only some characters: no job fails because of that."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self._line_of(record) + self.terminator

        try:
            self._write(line)
        except (OSError, ValueError, AttributeError):  # it is closed, its reader is gone, or there was never one
            return

    def _line_of(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except BaseException as error:  # of whatever stands in the record
            bare = _bare(record, error)
            return attempt(lambda: self.format(bare), "this line")

    def _write(self, line: str) -> None:
        try:
            self.stream.write(line)
        except UnicodeEncodeError:
            self.stream.write(line.encode("ascii", "backslashreplace").decode())

        self.flush()


def _bare(record: logging.LogRecord, error: BaseException) -> logging.LogRecord:
    """A record that can be shown in place of one that cannot, with the same message."""
    level = record.levelno if isinstance(record.levelno, int) else logging.WARNING
    message = f"{message_of(record)} (the rest of this line cannot be had: {type(error).__name__})"
    return logging.LogRecord(str(_plain(record.name)), level, "", 0, message, (), None)


class Facts(dict[str, object]):
    """The extra field ``facts``: what stands below a line of text, one fact a line. In JSON they are fields of their own."""


class TextLines(logging.Formatter):
    """Text: a line for each record, its traceback below; control characters escaped, so that no argument can forge a line."""

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        below = (_trace_of(record), record.stack_info or "")
        return "\n".join([self._line(record), *_facts_of(record), *(_below(part) for part in below if part)])

    def _line(self, record: logging.LogRecord) -> str:
        time, process, message = self.formatTime(record, "%H:%M:%S"), f"[{record.process}]", escape(message_of(record))
        level = f"{escape(record.levelname):<7}"

        if not self._colour:
            return f"{time} {level} {process} {message}"

        task = escape(str(getattr(record, "task_name", "")))
        shown = message.replace(task, _painted(task, _BOLD), 1) if task else message
        level = _painted(level, _COLOURS.get(record.levelno, _DIM))
        return f"{_painted(time, _DIM)} {level} {_painted(process, _DIM)} {shown}"


class JsonLines(logging.Formatter):
    """Lines of JSON: one object a record, with the record's extra fields (``job_id``, ``action`` …) beside the standard ones.

    An extra field that is called as one of those has an underscore behind its name.
    """

    def __init__(self, takes_any: bool = True) -> None:
        super().__init__()
        self._takes_any = takes_any

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": _whole_message_of(record),
        }

        for key, value in vars(record).items():
            if key not in _STANDARD and key != TOLD_BELOW and type(value) is not Facts:
                fields[f"{key}_" if key in _OURS else str(key)] = value

        if trace := _trace_of(record):
            fields["traceback"] = trace

        if record.stack_info:
            fields["stack"] = record.stack_info

        text = json.dumps(_plain(fields), ensure_ascii=not self._takes_any, allow_nan=False)
        return text if text.isprintable() else _escape_json(text)


def message_of(record: logging.LogRecord) -> str:
    """The message, or its parts where they do not fit together."""
    try:
        text = str(record.getMessage())
    except BaseException as error:  # of an argument's own code
        message = attempt(lambda: str(record.msg), f"a message of {type(record.msg).__qualname__}")
        args = attempt(lambda: repr(record.args), "its arguments")
        text = f"{message} {args} ({type(error).__name__} when these were put together)"

    return shortened(text, LONGEST_MESSAGE)


def _whole_message_of(record: logging.LogRecord) -> str:
    told = getattr(record, TOLD_BELOW, "")
    return f"{message_of(record)}: {told}" if told else message_of(record)


def escape(text: str) -> str:
    """Control characters made visible."""
    if text.isprintable():
        return text

    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _painted(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def count_of(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _facts_of(record: logging.LogRecord) -> list[str]:
    facts = getattr(record, "facts", None)
    return [escape(f"{'':{_INDENT}}{name:<12}{value}") for name, value in facts.items()] if type(facts) is Facts else []


def _trace_of(record: logging.LogRecord) -> str:
    if getattr(record, EXPECTED, False) is True and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
        return ""

    error = record.exc_info[1] if record.exc_info else None
    text = traceback_of(error) if error is not None else record.exc_text or ""
    return shortened(text, TRACEBACK_LIMIT).rstrip("\n")


def _below(text: str) -> str:
    """Lines that stand below a line of ours, and look like none."""
    lines = [escape(line) for line in text.split("\n")]
    return "\n".join(f"  {line}" if _HEAD.match(line) else line for line in lines)


def _plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON has it; what JSON has not as a text."""
    try:
        return _as_json(value, depth)
    except BaseException as error:  # of the value's own code
        return f"<a value of {type(value).__qualname__} cannot be had: {type(error).__name__}>"


def _as_json(value: Any, depth: int) -> Any:
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < LARGEST else _text(value)
        case float():
            return value if math.isfinite(value) else _text(value)
        case bytes() | bytearray():
            return shortened(bytes(value).decode("utf-8", "backslashreplace"), LONGEST_MESSAGE)
        case Mapping() | list() | tuple() | set() | frozenset() if depth == DEEPEST:
            return "…"
        case Mapping():
            return {_text(key): _plain(each, depth + 1) for key, each in _first(value.items())}
        case list() | tuple() | set() | frozenset():
            return [_plain(each, depth + 1) for each in _first(value)]
        case _:
            return _text(value)


def _first(items: Iterable[Any]) -> list[Any]:
    return list(islice(items, MOST_ITEMS))


def _text(value: Any) -> str:
    text = attempt(lambda: str(value), f"a value of {type(value).__qualname__}")
    return shortened(text.encode("utf-8", "backslashreplace").decode(), LONGEST_MESSAGE)


def _escape_json(text: str) -> str:
    """The characters that break lines in some readers, or turn their writing round, as JSON escapes them."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _takes_any(stream: TextIO | None) -> bool:
    return str(getattr(stream, "encoding", None)).lower().replace("-", "") == "utf8"
