"""How the memory broker is opened, and how its rows are spoilt."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from msgspec.structs import replace

from cherga.brokers.memory import MemoryBroker
from cherga.brokers.memory.store import Store
from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings


class MemoryHarness:
    """One named store in this process."""

    corruptible = ("payload", "head", "owner", "limit_keys")

    def __init__(self, kind: type[MemoryBroker] = MemoryBroker) -> None:
        self._url = f"memory://{uuid4()}"
        self._kind = kind
        self._brokers: list[MemoryBroker] = []

    @property
    def store(self) -> Store:
        """The store behind the first connection."""
        return self._brokers[0]._store

    def connect(self, settings: BrokerSettings) -> FullBroker:
        broker = self._kind(self._url, settings)
        self._brokers.append(broker)
        return broker

    def corrupt(self, id: UUID, field: str) -> None:
        rows = self.store.rows
        garbage: dict[str, Any] = {field: b"\xc1" if field == "head" else object()}
        rows[id] = replace(rows[id], **garbage)
