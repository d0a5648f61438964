"""Outages: the times in which the broker cannot be used. A page goes on without its jobs, and the log is told once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cherga.words.clock import Clock
from cherga.words.errors import BrokerError

T = TypeVar("T")

logger = logging.getLogger("cherga.web")

PAUSE = 1.0
"""Seconds for which nobody asks again after a broker that could not be used, during an outage."""


class Outage:
    """Notices when the broker can be used no longer, and when it can again, and tells the log both times.

    While it lasts one request at a time tries, and the others go on at once: a broker that answers late would hold up each.
    """

    def __init__(self, clock: Callable[[], Clock]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._lasts = False
        self._tried = False
        """Somebody tries now."""
        self._again = 0.0

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        """The answer of the broker; ``otherwise`` while it cannot be used."""
        if self._may_try():
            with self._trying():
                return question()

        return otherwise

    async def aask(self, question: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """The async twin of ``ask``."""
        if self._may_try():
            with self._trying():
                return await question()

        return otherwise

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """Note what became of a question. That the broker cannot be used is no error of the page: the block just ends."""
        try:
            yield
            self.ended()
        except BrokerError as error:
            self.began(error)
        finally:
            self._tried = False

    def began(self, error: BrokerError) -> None:
        """The broker could not be used."""
        with self._lock:
            lasted, self._lasts = self._lasts, True
            self._again = self._clock().monotonic() + PAUSE

        if not lasted:
            logger.error("pages are shown without their jobs: %s", error, extra={"action": "web.outage"})

    def ended(self) -> None:
        """The broker has answered."""
        if not self._lasts:
            return

        with self._lock:
            lasted, self._lasts = self._lasts, False

        if lasted:
            logger.warning("pages show their jobs again", extra={"action": "web.outage_over"})

    def _may_try(self) -> bool:
        if not self._lasts:
            return True

        with self._lock:
            if self._lasts and (self._tried or self._clock().monotonic() < self._again):
                return False

            self._tried = self._lasts
            return True
