"""The lifespan of an application in a worker process: what surrounds all jobs there."""

from __future__ import annotations

from typing import Protocol


class LifespanFailed(Exception):
    """The application could not be started up. That may pass: its database may be up in a moment."""


class Lifespan(Protocol):
    """A life of the application in a worker process."""

    async def start(self) -> None:
        """Start up, before the first job. Raises ``LifespanFailed``."""

    async def stop(self) -> None:
        """Shut down, after the last one."""
