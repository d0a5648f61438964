"""The keeper: renews the leases of sessions and passes on what the broker answers.

It runs in the supervisor, which no user code can hold up, or, in embedded mode, in a thread of the process.
"""

from __future__ import annotations

import logging
from typing import Protocol

from cherga.doors.broker import Broker, Topic
from cherga.rules.settings import BrokerSettings
from cherga.words.clock import Clock
from cherga.words.errors import BrokerError
from cherga.words.session import Cancel
from cherga.worker.breakage import Breakage
from cherga.worker.turns import Turns

logger = logging.getLogger("cherga.worker")

MARGIN = 0.9
"""Share of the lease that a worker trusts, counted from before the heartbeat was sent."""


class Watched(Protocol):
    """The owner of the sessions that are kept, who hears what becomes of them (on the keeper's thread)."""

    def sessions(self) -> list[str]: ...

    def renewed(self, session: str, lease_until: float) -> None:
        """The session may start jobs until this uptime."""
        ...

    def lost(self, session: str) -> None:
        """The broker no longer knows the session: its jobs may be running elsewhere."""
        ...

    def cancel(self, cancel: Cancel) -> None: ...

    def broken(self, error: BrokerError) -> None:
        """The broker needs a person, and no lease can be renewed."""
        ...


class Keeper:
    """The thread of the heartbeat: one at each interval, and at once when somebody asks to cancel a running job."""

    def __init__(self, broker: Broker, settings: BrokerSettings, clock: Clock, watched: Watched) -> None:
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._watched = watched
        self._breakage = Breakage(clock, watched.broken)
        self._listener = broker.listen([Topic.CANCEL])
        self._turns = Turns("keeper", self._turn)

    def start(self) -> None:
        self._turns.start()

    def stop(self) -> None:
        self._turns.end()
        self._listener.wake()
        self._turns.join()
        self._listener.close()

    def _turn(self) -> None:
        try:
            self._beat()
            self._breakage.heal()
        except BrokerError as error:
            logger.warning("leases not renewed: %s", error, extra={"action": "heartbeat.retry"})
            self._breakage.note(error)

        self._listener.wait(self._settings.heartbeat)

    def _beat(self) -> None:
        sessions = self._watched.sessions()

        if not sessions:
            return

        sent = self._clock.uptime()
        signals = self._broker.heartbeat(sessions)

        for session in sessions:
            if session in signals.lost:
                self._watched.lost(session)
            else:
                self._watched.renewed(session, sent + self._settings.lease * MARGIN)

        for cancel in signals.cancels:
            self._watched.cancel(cancel)
