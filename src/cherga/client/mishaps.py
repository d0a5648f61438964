"""Mishaps, told in the log: an error that user code raised never keeps its own line from being written."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from cherga.rules.tracebacks import error_trace, traceback_of


def tell(
    logger: logging.Logger,
    message: str,
    *args: object,
    error: BaseException | None,
    extra: Mapping[str, Any],
    level: int = logging.ERROR,
) -> None:
    """Log this with the error's traceback, whatever the error's own code does."""
    logger = _enabled(logger)

    if not logger.isEnabledFor(level):
        return

    about = None if error is None else (type(error), error, error_trace(error))
    file, line, function, _ = logger.findCaller(stacklevel=2)
    record = logger.makeRecord(logger.name, level, file, line, message, args, about, function, extra)

    if error is not None and not _can_be_shown(error):
        record.exc_text = traceback_of(error)

    logger.handle(record)


def revive() -> None:
    """Let our loggers speak again that a ``dictConfig`` with ``disable_existing_loggers`` has silenced with all others.

    To hear less of them, set the level of the logger ``cherga``, which nobody else touches.
    """
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if _is_ours(name) and isinstance(logger, logging.Logger):
            logger.disabled = False


def _enabled(logger: logging.Logger) -> logging.Logger:
    """The logger, or ours in place of the application's own one that it has silenced."""
    if not logger.disabled:
        return logger

    revive()
    return logger if _is_ours(logger.name) else logging.getLogger("cherga.job")


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "cherga"


def _can_be_shown(error: BaseException) -> bool:
    """True when the formatters of the application will manage."""
    try:
        traceback.TracebackException(type(error), error, None)
    except BaseException:
        return False

    return True
