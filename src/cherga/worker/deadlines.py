"""Ends attempts that are past their ``max_time``: one thread that sleeps until the earliest deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cherga.words.clock import Clock
from cherga.worker.turns import Turns

NEVER = float("inf")


class Deadlines:
    """Calls ``expire(now)`` when the earliest watched deadline is over; it answers with the next one.

    ``watch`` costs one comparison unless the new deadline is the earliest. ``beat`` is called once in ``longest`` seconds.
    """

    def __init__(self, clock: Clock, beat: Callable[[], object] = lambda: None, longest: float = threading.TIMEOUT_MAX) -> None:
        self._clock = clock
        self._next = NEVER
        self._longest = longest
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._expire: Callable[[float], float] = lambda now: NEVER
        self._turns = Turns("deadlines", self._turn, beat)

    def start(self, expire: Callable[[float], float]) -> None:
        self._expire = expire
        self._turns.start()

    def watch(self, deadline: float) -> None:
        """Something has to end by then."""
        if deadline < self._next:
            with self._lock:
                self._next = min(self._next, deadline)

            self._bell.set()

    def stop(self) -> None:
        self._turns.end()
        self._bell.set()
        self._turns.join()

    def _turn(self) -> None:
        now = self._clock.monotonic()

        if self._next > now:
            self._bell.wait(min(self._next - now, self._longest))
            self._bell.clear()
            return

        # Forgotten before the scan: a deadline that is watched meanwhile is seen by the scan or sets the bell.
        self._next, following = NEVER, now

        try:
            following = self._expire(now)
        finally:
            self.watch(following)  # where the scan failed, at the next turn
