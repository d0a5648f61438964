"""Log lines of a worker, where the application has set up none of its own. What it has set up is never touched."""

from __future__ import annotations

import json
import logging
import sys
import time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(level: str, style: str) -> None:
    """Show Cherga's log lines on stderr for as long as the application handles none itself, now or later."""
    logger = logging.getLogger("cherga")

    if logger.hasHandlers():
        return

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    handler.addFilter(lambda record: not logging.getLogger().handlers)
    logger.addHandler(handler)
    logger.setLevel(level.upper())


class TextLines(logging.Formatter):
    """One line a record; control characters in it are escaped, so that no argument can forge a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s [%(process)d] %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escape(super().formatMessage(record))


class JsonLines(logging.Formatter):
    """One JSON object a record, with the record's extra fields (``job_id``, ``action`` …) beside the standard ones."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        fields.update({key: value for key, value in vars(record).items() if key not in _STANDARD})

        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)

        return json.dumps(fields, default=str, ensure_ascii=False)


def escape(text: str) -> str:
    """Control characters made visible."""
    if text.isprintable():
        return text

    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count_of(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
