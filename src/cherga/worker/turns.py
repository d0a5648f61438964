"""Turns: what a thread of the engine does again and again until it is told to end, whatever is raised in one of them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from cherga.worker.copies import leave_if_copied

logger = logging.getLogger("cherga.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Turns:
    """A thread that takes turns. What a turn raises is logged, and the next one comes after a pause that grows.

    ``beat`` is called after each turn that went well, so that whoever watches learns of a thread that cannot go on.
    """

    def __init__(self, name: str, turn: Callable[[], object], beat: Callable[[], object] = lambda: None) -> None:
        self._name = name
        self._turn = turn
        self._beat = beat
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"cherga-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """No further turn begins. A turn that waits for something has to be woken as well."""
        self._ending.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the last turn. True when it is over, or there was none."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

        return not self._thread.is_alive()

    def _run(self) -> None:
        pause, pid = FIRST_PAUSE, os.getpid()

        while not self._ending.is_set():
            try:
                self._turn()
                leave_if_copied(pid)
                self._beat()
                pause = FIRST_PAUSE
            except BaseException as error:  # SystemExit too: a thread that is gone helps nobody
                leave_if_copied(pid, error)
                self._tell(pause)
                self._ending.wait(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    def _tell(self, pause: float) -> None:
        """The thread goes on, even where the fault lies in the logging."""
        with suppress(BaseException):
            extra = {"action": f"{self._name}.failed"}
            logger.exception("the %s failed; it goes on in %g seconds", self._name, pause, extra=extra)


def start_thread(target: Callable[[], object], name: str) -> threading.Thread | None:
    """A new thread; None, and a line in the log, where the machine or a limit has no room for one."""
    thread = threading.Thread(target=target, name=name, daemon=True)

    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        logger.warning("no thread %s: %s", name, error, extra={"action": "thread.refused"})
        return None

    return thread
