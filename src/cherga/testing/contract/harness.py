"""The harness that a broker's author writes so that the contract suite can run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings


class BrokerHarness(Protocol):
    """A store for one test case, empty at first."""

    @property
    def corruptible(self) -> Sequence[str]:
        """Names of ``JobRow`` fields in which this store could come to hold something that cannot be read."""
        ...

    def connect(self, settings: BrokerSettings) -> FullBroker:
        """A new broker object on the one store, not yet opened. Each call is another connection to the same jobs."""
        ...

    def corrupt(self, id: UUID, field: str) -> None:
        """Write something that cannot be read where the store keeps this field of this job."""
        ...
