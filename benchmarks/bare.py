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
from cherga.brokers.sqlite.rows import HAS_HISTORY, READY, RUNNING, SUCCEEDED
from cherga.rules.settings import Settings

BATCH = Settings().claim_limit
KEEP = Settings().result_ttl

LOOK = f"select sequence from jobs indexed by jobs_ready where state = {READY} and lane = 1 order by rank, place limit {BATCH}"
CLAIM = f"""
    update jobs set state = {RUNNING}, session = 1, token = random(), attempt = attempt + 1, claims = claims + 1,
        position = position + 1, reason = null, started_at = :now, first_started_at = ifnull(first_started_at, :now)
    where sequence in ({LOOK})
    returning id, sequence, token, lane, rank, attempt, claims, crashes, interruptions, enqueued_at, started_at, owner,
        payload, head, meta, ties, traits
"""
SETTLE = f"""
    update jobs set state = {SUCCEEDED}, finished_at = ?1, prune_at = ?1 + {KEEP}, reason = null, result = ?2,
        traits = traits | {HAS_HISTORY}, position = position + 1
    where sequence = ?3 and token = ?4 and state = {RUNNING}
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
        _settle(db, [(_work(row[12]), row[1], row[2]) for row in claimed])

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


def _settle(db: apsw.Connection, done: list[tuple[bytes, int, int]]) -> None:
    db.execute("pragma synchronous = full; begin immediate")
    now = time.time()
    db.executemany(SETTLE, [(now, *one) for one in done])
    db.executemany(COUNT, [(-len(done), RUNNING), (len(done), SUCCEEDED)])
    db.execute("commit")
