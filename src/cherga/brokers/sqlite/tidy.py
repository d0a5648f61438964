"""Tidying that any worker does from time to time: due jobs become ready, expired ones are cancelled, old ones go."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from cherga.brokers.sqlite import notices
from cherga.brokers.sqlite.endings import Ending, end
from cherga.brokers.sqlite.held import select_held
from cherga.brokers.sqlite.orphans import cancel_recorded
from cherga.brokers.sqlite.rates import forget_old
from cherga.brokers.sqlite.releases import release_ended, release_recorded
from cherga.brokers.sqlite.rows import CANCELLED, FAILED, READY, SCHEDULED, SUCCEEDED
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.options import LONGEST
from cherga.words.claim import Promoted
from cherga.words.job import Reason

TOKENS_KEPT = 3600.0
"""Seconds for which the token of a job that was deleted by its settlement is remembered."""

SESSIONS_KEPT = 31 * 86_400.0
"""Seconds for which the name of a session that has ended is known: somewhat longer than failures are kept."""

_TO_DO = """
select
    exists (select 1 from jobs indexed by jobs_due where state = 1 and run_at <= ?1)
    or exists (select 1 from jobs indexed by jobs_expiring where expires_at is not null and state <= 3 and expires_at <= ?1)
    or exists (select 1 from releases) or exists (select 1 from orphans)
"""

_DUE = """
select sequence, lane, id from jobs indexed by jobs_due where state = 1 and run_at <= ? order by run_at, sequence limit ?
"""

_PROMOTE = """
update jobs set state = 2, place = ?1 + new.key, ready_at = ?2, position = (position & 0xffffffffffff) + 1
from json_each(?3) as new where jobs.sequence = new.value
"""

_EXPIRED = """
indexed by jobs_expiring where expires_at is not null and state <= 3 and expires_at <= ? order by expires_at limit ?
"""

_UNAWAITED = "not exists (select 1 from edges where parent = jobs.sequence)"

_FINAL = f"""
select prune_at, sequence, lane, state from jobs indexed by jobs_final
where state >= 5 and state = ?1 and prune_at <= ?2 and {_UNAWAITED} order by prune_at limit ?3
"""

FOR_EVER = float("inf")

_write_numbers = msgspec.json.Encoder().encode


def has_work(db: apsw.Connection, now: float) -> bool:
    """True when ``promote`` would move anything."""
    return bool(db.execute(_TO_DO, (now,)).get)


def find_next(db: apsw.Connection, now: float) -> float | None:
    """In how many seconds there is something to promote; None while nothing is scheduled."""
    if db.execute("select exists (select 1 from releases) or exists (select 1 from orphans)").get:
        return 0.0

    due = db.execute("select min(run_at) from jobs indexed by jobs_due where state = 1").get
    return None if due is None else min(max(0.0, due - now), LONGEST)


def promote(write: Write, limit: int) -> Promoted:
    """Due jobs become ready, expired ones are cancelled, what is recorded for dependants and children is carried out."""
    count = _expire(write, limit) + _promote_due(write, limit) + release_recorded(write, limit) + cancel_recorded(write, limit)
    release_ended(write)
    return Promoted(count, find_next(write.db, write.now), write.now)


def prune(write: Write, limit: int) -> int:
    """Delete final jobs past their time, then those over the caps; never one that an unfinished job, or a group, needs."""
    rows: list[Any] = []

    for state in (SUCCEEDED, FAILED, CANCELLED):
        rows += write.rows(_FINAL, (state, write.now, limit - len(rows)))

    _delete(write, rows)
    pruned = len(rows) + _prune_over_caps(write, limit - len(rows))
    write.run("delete from uniques where expires is not null and expires <= ?", (write.now,))
    write.run("delete from forgotten where at < ?", (write.now - TOKENS_KEPT,))
    write.run("delete from past_sessions where ended < ?", (write.now - SESSIONS_KEPT,))
    forget_old(write)
    notices.forget_old(write, limit)
    return pruned


def _expire(write: Write, limit: int) -> int:
    expired = list(select_held(write, _EXPIRED, (write.now, limit)))

    for held in expired:
        end(write, held, Ending(to=CANCELLED, reason=Reason.EXPIRED))

    return len(expired)


def _promote_due(write: Write, limit: int) -> int:
    rows = write.rows(_DUE, (write.now, limit))

    if not rows:
        return 0

    first = write.take_numbers(len(rows))
    sequences = _write_numbers([sequence for sequence, _, _ in rows]).decode()
    write.run(_PROMOTE, (first, write.now, sequences))
    write.bells.topics.add(Topic.READY)

    for _, lane, id in rows:
        write.count(lane, SCHEDULED, -1)
        write.count(lane, READY, 1)
        write.bells.jobs.append(id)

    return len(rows)


def _prune_over_caps(write: Write, limit: int) -> int:
    """The oldest of those that nobody may keep so many of."""
    settings = write.settings
    succeeded = _over(write, (SUCCEEDED,), settings.succeeded_cap, limit)
    return succeeded + _over(write, (FAILED, CANCELLED), settings.failed_cap, limit - succeeded)


def _over(write: Write, states: tuple[int, ...], cap: int, limit: int) -> int:
    surplus = min(limit, _total(write, states) - cap)

    if surplus <= 0:
        return 0

    found = [row for state in states for row in write.rows(_FINAL, (state, FOR_EVER, surplus))]
    rows = sorted(found)[:surplus]
    _delete(write, rows)
    return len(rows)


def _total(write: Write, states: tuple[int, ...]) -> int:
    marks = ", ".join("?" * len(states))
    counted = write.value(f"select total(count) from counters where state in ({marks})", states)
    unflushed = sum(write.noted(state) for state in states)
    return int(counted) + unflushed


def _delete(write: Write, rows: list[Any]) -> None:
    if not rows:
        return

    sequences = _write_numbers([sequence for _, sequence, _, _ in rows]).decode()
    write.run("delete from jobs where sequence in (select value from json_each(?))", (sequences,))
    write.run("delete from events where sequence in (select value from json_each(?))", (sequences,))
    write.run("delete from edges where child in (select value from json_each(?))", (sequences,))  # those of groups
    write.run("delete from releases where parent in (select value from json_each(?))", (sequences,))

    for _, _, lane, state in rows:
        write.count(lane, state, -1)
