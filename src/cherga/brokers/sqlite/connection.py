"""Connections to the file."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from cherga.brokers.sqlite.forks import forks_kept_out
from cherga.words.clock import SystemClock

CACHE_KIB = 8192
LOG_LIMIT = 64 << 20
"""Bytes that the write-ahead log is cut back to once it has been copied into the file."""
CHECKPOINT_PAGES = 2000
SHORTEST_NAP = 0.0002
LONGEST_NAP = 0.005
READERS_KEPT = 8


_PRAGMAS = {
    "trusted_schema": False,
    "temp_store": "memory",
    "cache_size": -CACHE_KIB,
    "journal_size_limit": LOG_LIMIT,
    "wal_autocheckpoint": CHECKPOINT_PAGES,
}


class Patience:
    """What SQLite calls while another process holds the file: short jittered naps until the time is up."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._since = 0.0

    def __call__(self, calls: int) -> bool:
        now = SystemClock.monotonic()

        if calls == 0:
            self._since = now

        if now - self._since >= self.limit:
            return False

        time.sleep(random.uniform(SHORTEST_NAP, min(LONGEST_NAP, SHORTEST_NAP * (calls + 2))))
        return True


def connect(path: Path, patience: float, reading: bool = False) -> apsw.Connection:
    """A connection to an existing file. Nothing is written, whatever the file holds."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_handler(Patience(patience))

    for pragma, value in _PRAGMAS.items():
        db.pragma(pragma, value)

    if reading:
        db.pragma("query_only", True)

    return db


class Readers:
    """Connections that only read, lent to one thread at a time; a reader never waits for the writer."""

    def __init__(self, path: Path, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._idle: list[apsw.Connection] = []
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[apsw.Connection]:
        """A connection within one read transaction: every statement sees the same state of the file."""
        db = self._take()

        try:
            db.execute("begin")
            yield db
        finally:
            self._give_back(db)

    def close(self) -> None:
        """Close them; one that is lent is closed when it comes back."""
        self._closed = True

        while self._idle:
            self._idle.pop().close()

    def _take(self) -> apsw.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._path, self._patience, reading=True)

    def _give_back(self, db: apsw.Connection) -> None:
        if db.in_transaction:
            db.execute("rollback")

        if self._closed or len(self._idle) >= READERS_KEPT:
            db.close()
        else:
            self._idle.append(db)


class Watch:
    """Tells whether anybody has written to the file since it was asked before."""

    def __init__(self, path: Path, patience: float) -> None:
        self._db = connect(path, patience, reading=True)
        self._seen = self._version()

    def changed(self) -> bool:
        """Whether the file differs from when this was called before, or the watch was made."""
        version = self._version()
        changed = version != self._seen
        self._seen = version
        return changed

    def close(self) -> None:
        """Close its connection."""
        self._db.close()

    def _version(self) -> int:
        with forks_kept_out():
            return int(self._db.execute("pragma data_version").get)
