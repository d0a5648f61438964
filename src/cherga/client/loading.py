"""Loading: while a command or a worker imports the application, its code declares, and neither enqueues nor waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cherga.words.errors import ConfigError

logger = logging.getLogger("cherga.client")

APART = "put that under if __name__ == '__main__':, or into a module of its own"

thread: int | None = None
"""The thread that loads the application now."""
_told: set[str] = set()


@contextmanager
def loading() -> Iterator[None]:
    """Within this the application is loaded, on this thread."""
    global thread
    before, thread = thread, threading.get_ident()

    try:
        yield
    finally:
        thread = before


def refuse(what: str) -> None:
    """Raise ``ConfigError`` for what would go on, or wait for this very process, while the application is loaded."""
    if thread == threading.get_ident():
        raise ConfigError(f"expected code that only declares where a worker imports it, but it {what} meanwhile; {APART}")


def note_enqueue(task: str) -> None:
    """Warn, once for each task: every start of a worker and every command would enqueue it again."""
    if thread == threading.get_ident() and task not in _told:
        _told.add(task)
        logger.warning(
            "importing the application enqueued a job of task %s, as every start of a worker and every command will; %s",
            task,
            APART,
            extra={"action": "load.enqueue", "task_name": task},
        )
