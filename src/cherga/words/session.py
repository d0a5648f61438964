"""Sessions, lives of worker processes: what is known of them, what they are told, how they end."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace


class SessionInfo(Struct, frozen=True, kw_only=True):
    """A life of a worker process."""

    id: str
    worker: str
    """The worker's name, as in ``--name``."""
    host: str
    pid: int
    queues: tuple[str, ...] = ()
    concurrency: int = 1
    tasks: tuple[str, ...] = ()
    """The tasks that it knew when it started."""
    release: str = ""
    started_at: float = 0.0


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """A session as ``Inspector.workers`` shows it."""

    session: SessionInfo
    expires_in: float
    """Seconds until its lease ends."""
    running: int


class Cancel(Struct, frozen=True):
    """A running job that somebody asked to cancel."""

    session: str
    id: UUID
    token: int


class Signals(Struct, frozen=True):
    """The answer to a heartbeat: sessions that are no longer known, and running jobs to cancel."""

    lost: tuple[str, ...] = ()
    cancels: tuple[Cancel, ...] = ()


class Begun(Struct, frozen=True):
    """Claim tokens under which user code has begun."""

    tokens: frozenset[int] = frozenset()
    once: frozenset[int] = frozenset()
    """The jobs among them whose work must not run twice; they stand until their ends are written."""


class Death(Struct, frozen=True):
    """A session that ended, as its supervisor knows it, or as somebody found it.

    ``started`` holds the claim tokens under which user code had begun; None when nobody can tell, and then all are taken
    to have begun. What never began is given back uncharged, what began is charged a crash, or, when ``orderly``, an
    interruption.
    """

    session: str
    started: frozenset[int] | None = None
    orderly: bool = False
    once: frozenset[int] | None = None
    """The jobs that must not run twice; None when nobody can tell, and then those have begun that say so themselves."""

    lost: bool = False
    """The session ended unseen (its supervisor or the host is gone too), so nobody knows whether its jobs had a part in it."""
    company: int = 0
    """The number of its jobs that had begun; noted when the first of them are freed."""

    def knowing(self, begun: Begun | None) -> Death:
        """The same with what is known to have begun, unless that was told."""
        return self if begun is None or self.started is not None else replace(self, started=begun.tokens, once=begun.once)
