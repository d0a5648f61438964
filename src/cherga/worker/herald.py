"""The herald: tells those who listen what happens to jobs and workers, on a thread of its own, so that no handler holds up the
engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from cherga.worker.turns import start_thread

logger = logging.getLogger("cherga.worker")


class Herald:
    """Tells events one after the other, in the order in which they came. The thread starts at the first one."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._open = 0
        self._silent = False

    @property
    def idle(self) -> bool:
        """True when everything was told."""
        return not self._open

    def call(self, function: Callable[[], None]) -> None:
        """Call this in its turn."""
        if self._silent:
            return

        with self._counting:
            self._open += 1

        self._inbox.put(function)
        self.go_on()

    def go_on(self) -> None:
        """See that there is a thread for what waits; where none can be had it goes on waiting, for the next try."""
        with self._counting:
            if self._thread is None and self._open:
                self._thread = start_thread(self._run, "cherga-herald")

    def finish(self, timeout: float) -> None:
        """Wait until what there is was told, so many seconds at most. Where no thread can be had it is told here."""
        told = threading.Event()
        self.call(told.set)

        if self._thread is None:
            self._inbox.put(None)
            self._run()

        told.wait(timeout)

    def fall_silent(self) -> None:
        """Tell nothing that comes from now on."""
        self._silent = True

    def stop(self, timeout: float) -> None:
        """Tell what there is, and end."""
        if self._open:
            self.finish(timeout)

        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join(timeout)

    def _run(self) -> None:
        while (function := self._inbox.get()) is not None:
            try:
                function()
            except BaseException:
                logger.exception("an event could not be told", extra={"action": "signal.failed"})

            with self._counting:
                self._open -= 1


class DirectHerald(Herald):
    """Tells at once, on the caller's thread: for tests that look right afterwards."""

    def call(self, function: Callable[[], None]) -> None:
        function()
