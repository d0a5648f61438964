"""Copies: children that user code forks in a thread of the engine, and that come back from it.

A copy has everything that its parent had in hand, and must do nothing with it: the jobs are the parent's. It ends as any other
Python program does when it has nothing more to do, at the place where it would go on as a worker.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

logger = logging.getLogger("cherga.worker")


def leave_if_copied(pid: int, error: BaseException | None = None) -> None:
    """End this process when it is not the one with this id; ``error`` is what user code raised."""
    if _pid != pid:
        leave(error)


def leave(error: BaseException | None = None) -> NoReturn:
    """End this process, with the exit code and the traceback that are usual for such an end."""
    code = 1

    try:
        code = _code_of(error)

        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def leave_waiting() -> NoReturn:
    """End this process, whose coroutine waits for a loop that is its parent's."""
    with suppress(Exception):
        logger.error(
            "expected no await in a process that an async def task has forked, for the event loop is its parent's; it ends",
            extra={"action": "copy.ended"},
        )

    leave(SystemExit(1))


def _code_of(error: BaseException | None) -> int:
    if error is None:
        return 0

    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
        return 1

    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF

    sys.stderr.write(f"{error.code}\n")
    return 1


def _note_pid() -> None:
    global _pid
    _pid = os.getpid()


_pid = os.getpid()
"""The id of this process: asked after each job, so that it costs no call of the kernel."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_pid)
