"""Options with which a worker is started, and the ways it ends."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from cherga.rules.options import name as check_name
from cherga.rules.options import seconds
from cherga.words.errors import ConfigError

DEFAULT_THREADS = 8
DEFAULT_CONCURRENCY = 100

FAREWELL = 3.0
"""Seconds after the grace time in which jobs that are asked to stop may end: coroutines to tidy up, threads that look."""
CLOSING = 5.0
"""Seconds after that for handlers of ``worker_stopped`` and for what lives as long as the worker or the process."""
LAST_WRITE = 2.0
"""Seconds after that for what may be settled only when the process ends."""
ORPHANS_GRACE = 5.0
"""Seconds that jobs get when the supervisor is gone, or cannot be heard, which renewed the lease."""


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """The options of ``cherga worker``."""

    app: str
    """``module:attribute``: a ``QueueTasks``, a Flask application with one, or a factory of either."""
    url: str | None = None
    """Another broker than the application's."""
    processes: int = 1
    threads: int = DEFAULT_THREADS
    """``def`` tasks that run side by side in one worker process."""
    concurrency: int = DEFAULT_CONCURRENCY
    """``async def`` tasks that run side by side in one worker process."""
    queues: tuple[str, ...] = ()
    """Empty: every queue."""
    weights: tuple[int, ...] = ()
    """Empty: strict order."""
    burst: bool = False
    reload: bool = False
    name: str | None = None
    log_level: str = "info"
    log_format: str = "text"
    strict: bool = False
    """Do not start where something speaks against it."""
    grace: float | None = None
    """Seconds that running jobs get after a stop signal; None: the application's setting."""

    def __post_init__(self) -> None:
        for field in ("processes", "threads", "concurrency"):
            if getattr(self, field) < 1:
                raise ConfigError(f"expected {field} to be 1 or more, got {getattr(self, field)}")

        if self.grace is not None:
            seconds(self.grace, "grace")


class Exit(IntEnum):
    """Exit codes of a worker; documented in ``docs/reference/exit-codes.md``."""

    OK = 0
    """Drained, or nothing left in burst mode."""
    LOAD = 3
    """The application cannot be loaded."""
    BROKER = 4
    """The broker cannot be used."""
    CONFIG = 5
    """A setting or option is wrong."""
    CRASHED = 6
    """Worker processes kept dying at the start."""
    INTERRUPTED = 7
    """Running jobs were ended by the stop and given back."""
    UNPROVEN = 9
    """Something speaks against the start, and the worker is strict."""
    EXHAUSTED = 70
    """Between processes: nothing is left in burst mode."""


def parse_queues(texts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """``a,b`` is strict order, ``a=3,b=1`` weighted. Raises ``ConfigError`` for a mixture or a weight below 1."""
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    names = tuple(part.partition("=")[0] for part in parts)
    weights = [part.partition("=")[2] for part in parts if "=" in part]

    for name in names:
        check_name(name, "a queue")

    if not weights:
        return names, ()

    if len(weights) != len(parts) or not all(weight.isdecimal() and int(weight) > 0 for weight in weights):
        raise ConfigError(f"expected queues as a,b (strict order) or a=3,b=1 (weights from 1), got {','.join(parts)!r}")

    return names, tuple(int(weight) for weight in weights)
