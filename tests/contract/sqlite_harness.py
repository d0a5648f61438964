"""How the SQLite broker is opened, and how its rows are spoilt."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import apsw

from cherga.brokers.sqlite import SQLiteBroker
from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings

GARBAGE = {
    "head": "head = x'c1'",
    "owner": "owner = cast(x'ff' as text)",
    "task": "lane = 999999",
}


class SQLiteHarness:
    """One file in a folder of its own."""

    corruptible = tuple(GARBAGE)

    def __init__(self, folder: Path) -> None:
        self._file = folder / "jobs.db"

    def connect(self, settings: BrokerSettings) -> FullBroker:
        return SQLiteBroker(f"sqlite:///{self._file}", settings)

    def corrupt(self, id: UUID, field: str) -> None:
        db = apsw.Connection(str(self._file))
        db.set_busy_timeout(5000)
        db.execute(f"update jobs set {GARBAGE[field]} where id = ?", (id.bytes,))
        assert db.changes() == 1
        db.close()
