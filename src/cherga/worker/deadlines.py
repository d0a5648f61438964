"""Ends attempts that are past their ``max_time``: one thread that sleeps until the earliest deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cherga.words.clock import Clock

NEVER = float("inf")


class Deadlines:
    """Calls ``expire(now)`` when the earliest watched deadline is over; it answers with the next one.

    ``watch`` costs one comparison unless the new deadline is the earliest.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = NEVER
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._stopping = False
        self._expire: Callable[[float], float] = lambda now: NEVER
        self._thread = threading.Thread(target=self._run, name="cherga-deadlines", daemon=True)

    def start(self, expire: Callable[[float], float]) -> None:
        self._expire = expire
        self._thread.start()

    def watch(self, deadline: float) -> None:
        """Something has to end by then."""
        if deadline < self._next:
            with self._lock:
                self._next = min(self._next, deadline)

            self._bell.set()

    def stop(self) -> None:
        self._stopping = True
        self._bell.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            left = self._next - self._clock.monotonic()

            if left <= 0:
                # Forgotten before the scan: a deadline that is watched meanwhile is seen by the scan or sets the bell.
                self._next = NEVER
                self.watch(self._expire(self._clock.monotonic()))
            else:
                self._bell.wait(None if left == NEVER else min(left, threading.TIMEOUT_MAX))
                self._bell.clear()
