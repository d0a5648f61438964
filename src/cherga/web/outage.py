"""Outages: the times in which the broker cannot be used. A page goes on without its jobs, and the log is told once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cherga.words.errors import BrokerError

T = TypeVar("T")

logger = logging.getLogger("cherga.web")


class Outage:
    """Tells the log when the broker can be used no longer, and when it can again; not at each page in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lasts = False

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        """The answer of the broker; ``otherwise`` while it cannot be used."""
        try:
            answer = question()
        except BrokerError as error:
            self.began(error)
            return otherwise

        self.ended()
        return answer

    async def aask(self, question: Awaitable[T], otherwise: T) -> T:
        """The async twin of ``ask``."""
        try:
            answer = await question
        except BrokerError as error:
            self.began(error)
            return otherwise

        self.ended()
        return answer

    def began(self, error: BrokerError) -> None:
        """The broker could not be used."""
        if self._turn(True):
            logger.error("pages are shown without their jobs: %s", error, extra={"action": "web.outage"})

    def ended(self) -> None:
        """The broker has answered."""
        if self._lasts and self._turn(False):
            logger.warning("pages show their jobs again", extra={"action": "web.outage_over"})

    def _turn(self, lasts: bool) -> bool:
        """True for the one who notices it first."""
        with self._lock:
            turned, self._lasts = lasts is not self._lasts, lasts
            return turned
