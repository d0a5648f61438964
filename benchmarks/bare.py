"""The bare engine loop: the same file and rows, worked off by plain SQL in one thread, with no Cherga in between.

It is what the engine alone can do on this machine: schema, pragmas, syncs and batch sizes are those of the SQLite broker. It
decodes no arguments, checks nothing, retries nothing, and nobody could see, stop or recover what it does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import apsw

from cherga.brokers.sqlite.connection import CACHE_KIB, CHECKPOINT_PAGES, LOG_LIMIT
from cherga.brokers.sqlite.rows import READY, RUNNING, SUCCEEDED
from cherga.rules.settings import Settings

BATCH = Settings().claim_limit
KEEP = Settings().result_ttl

CLAIM = f"""
    update jobs set state = {RUNNING}, token = random(), session = 1, attempt = attempt + 1, claims = claims + 1,
        started_at = :now, first_started_at = coalesce(first_started_at, :now)
    where sequence in (select sequence from jobs where lane = 1 and state = {READY} order by rank, place limit {BATCH})
    returning sequence, token, payload
"""
SETTLE = f"""
    update jobs set state = {SUCCEEDED}, finished_at = ?, prune_at = ?, result = ?
    where sequence = ? and token = ? and state = {RUNNING}
"""
COUNT = "update counters set count = count + ? where lane = 1 and state = ?"
COUNT_NEW = f"insert or ignore into counters (lane, state, count) values (1, {RUNNING}, 0), (1, {SUCCEEDED}, 0)"


def processing_seconds(database: Path) -> float:
    """How long the loop takes for everything that is ready in this file."""
    db = apsw.Connection(str(database))
    db.execute(f"pragma trusted_schema = off; pragma cache_size = -{CACHE_KIB}; pragma temp_store = memory")
    db.execute(f"pragma journal_size_limit = {LOG_LIMIT}; pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(COUNT_NEW)
    start = time.perf_counter()

    while claimed := _claim(db):
        _settle(db, [(sequence, token, _work(payload)) for sequence, token, payload in claimed])

    db.close()
    return time.perf_counter() - start


def _claim(db: apsw.Connection) -> list[Any]:
    """A claim that is lost in a power cut costs nothing, so it is not synced."""
    db.execute("pragma synchronous = normal; begin immediate")
    claimed = db.execute(CLAIM, {"now": time.time()}).fetchall()
    db.executemany(COUNT, [(-len(claimed), READY), (len(claimed), RUNNING)])
    db.execute("commit")
    return claimed


def _work(payload: bytes) -> bytes:
    return payload


def _settle(db: apsw.Connection, done: list[tuple[int, int, bytes]]) -> None:
    db.execute("pragma synchronous = full; begin immediate")
    now = time.time()
    db.executemany(SETTLE, [(now, now + KEEP, result, sequence, token) for sequence, token, result in done])
    db.executemany(COUNT, [(-len(done), RUNNING), (len(done), SUCCEEDED)])
    db.execute("commit")
