"""Connections to the file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from cherga.brokers.sqlite.forks import with_forks_kept_out
from cherga.words.clock import SystemClock

T = TypeVar("T")

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
    """The function that SQLite calls while another process holds the file: short jittered naps until the time is up."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.deadline: float | None = None
        """The end on the monotonic clock; None: ``limit`` seconds after the first call."""
        self._until = 0.0

    def __call__(self, calls: int) -> bool:
        now = SystemClock.monotonic()

        if calls == 0:
            self._until = now + self.limit if self.deadline is None else self.deadline

        if now >= self._until:
            return False

        time.sleep(random.uniform(SHORTEST_NAP, min(LONGEST_NAP, SHORTEST_NAP * (calls + 2))))
        return True


def connect(path: Path, patience: Patience, reading: bool = False) -> apsw.Connection:
    """A connection to an existing file. Nothing is written, whatever the file holds.

    It cleans up behind nobody when it is closed: SQLite cannot know that it is the last (``locks``).
    """
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    clean_up_at_end(db, False)
    db.set_busy_handler(patience)

    for pragma, value in _PRAGMAS.items():
        db.pragma(pragma, value)

    if reading:
        db.pragma("query_only", True)

    return db


def clean_up_at_end(db: apsw.Connection, wanted: bool) -> None:
    """True when closing the last connection copies the log into the file and deletes it."""
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, not wanted)


class Readers:
    """Connections that only read, lent to one thread at a time; a reader never waits for the writer."""

    def __init__(self, open: Callable[[], apsw.Connection]) -> None:
        self._open = open
        self._idle: list[apsw.Connection] = []
        self._closed = False

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """The answer of ``work`` within one read transaction: each statement sees the same state of the file."""
        db = self._take()

        try:
            db.execute("begin")
            return work(db)
        finally:
            if db.in_transaction:
                db.execute("rollback")

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
            return self._open()

    def _give_back(self, db: apsw.Connection) -> None:
        if self._closed or len(self._idle) >= READERS_KEPT:
            db.close()
        else:
            self._idle.append(db)


class Watch:
    """Tells whether anybody has written to the file since it was asked before."""

    def __init__(self, path: Path, patience: float) -> None:
        self._db = connect(path, Patience(patience), reading=True)
        self._seen = self._version()

    def changed(self) -> bool:
        """True when the file differs from when this was called before, or the watch was made."""
        version = self._version()
        changed = version != self._seen
        self._seen = version
        return changed

    def close(self) -> None:
        """Close its connection."""
        self._db.close()

    def _version(self) -> int:
        return with_forks_kept_out(lambda: int(self._db.execute("pragma data_version").get))
