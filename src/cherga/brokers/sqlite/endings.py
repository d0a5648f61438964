"""Ending a job, and putting it back: the changes of state that one job goes through by itself."""

from __future__ import annotations

from msgspec import Struct

from cherga.brokers.sqlite.held import Held
from cherga.brokers.sqlite.rows import AWAITED, FAILURE_KEPT, HAS_HISTORY, READY, SCHEDULED, WAITS
from cherga.brokers.sqlite.uniques import release_key, retake_key
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.words.job import Reason, UniqueWhile

_END = """
update jobs set
    state = ?, reason = ?, message = iif(?1 = 7, ifnull(?3, message), ?3), result = ?,
    progress = ifnull(?, progress), meta = ifnull(?, meta), attempt = ?,
    crashes = ?, interruptions = ?, attempts = ?, traits = traits | ?, finished_at = ?, prune_at = ?,
    token = ?, position = position + 1
where sequence = ?
"""

_PUT_BACK = """
update jobs set
    state = ?, lane = ?, session = null, place = ifnull(?, place), token = ?, reason = ?, message = ?,
    progress = ifnull(?, progress), meta = ifnull(?, meta), attempt = ?, crashes = ?, interruptions = ?, attempts = ?,
    traits = traits | ?, run_at = ?, ready_at = ifnull(?, ready_at), position = position + 1
where sequence = ?
"""


_DELETE = """
delete from jobs where sequence = ?1 and not exists (select 1 from edges where parent = ?1) returning lane, state, token
"""


class Ending(Struct, frozen=True, kw_only=True):
    """How a job ends. ``kept`` None: as long as its head says, else 30 days."""

    to: int
    reason: Reason | None = None
    message: str | None = None
    result: bytes | None = None
    progress: bytes | None = None
    meta: bytes | None = None
    kept: float | None = None


class Return(Struct, frozen=True, kw_only=True):
    """How a job goes back to wait for its next attempt: ready at once, or, with ``delay``, scheduled."""

    delay: float | None = None
    reason: Reason | None = None
    message: str | None = None
    progress: bytes | None = None
    meta: bytes | None = None


def end(write: Write, held: Held, ending: Ending) -> None:
    """Take the job to a final state and release everything that it holds; its dependants are recorded for release."""
    write.count(held.lane, held.state, -1)
    write.bells.jobs.append(held.packed_id)
    release_key(write, held.ties.unique, held.sequence)

    if held.traits & WAITS:
        write.run("delete from edges where child = ?", (held.sequence,))

    if held.traits & AWAITED:
        write.run("insert or replace into releases (parent, ended) values (?, ?)", (held.sequence, ending.to))
        write.ended.append(held.sequence)

    _store_end(write, held, ending, _kept(held, ending))


def put_back(write: Write, held: Held, back: Return) -> None:
    """Take the job back to ready or scheduled; a job whose process has died before goes to its lane for suspects."""
    to = SCHEDULED if back.delay is not None and back.delay > 0 else READY
    lane = write.lanes.suspect_twin(write.db, held.lane, held.crashes > 0)
    place = write.take_numbers(1) if to == READY else None
    run_at = held.run_at if back.delay is None or to == READY else write.now + back.delay
    ready_at = write.now if to == READY else None
    texts = (back.reason and back.reason.value, back.message, back.progress, back.meta)
    numbers = (held.attempt, held.crashes, held.interruptions, held.history, _history_trait(held))
    write.run(_PUT_BACK, (to, lane, place, held.token, *texts, *numbers, run_at, ready_at, held.sequence))
    write.count(held.lane, held.state, -1)
    write.count(lane, to, 1)
    write.bells.jobs.append(held.packed_id)
    write.bells.topics.add(Topic.READY if to == READY else Topic.DUE)

    if held.ties.unique is not None and held.ties.unique.hold is UniqueWhile.QUEUED:
        retake_key(write, held.ties.unique, held.sequence, held.packed_id)


def forget(write: Write, sequence: int) -> None:
    """Delete an ended job at once, unless others wait for it; its token is remembered for a while."""
    row = write.row(_DELETE, (sequence,))

    if row is not None:
        lane, state, token = row
        write.count(lane, state, -1)
        write.run("delete from events where sequence = ?", (sequence,))
        write.run("insert or replace into forgotten (sequence, token, at) values (?, ?, ?)", (sequence, token, write.now))


def _store_end(write: Write, held: Held, ending: Ending, kept: float) -> None:
    texts = (ending.reason and ending.reason.value, ending.message, ending.result, ending.progress, ending.meta)
    numbers = (held.attempt, held.crashes, held.interruptions, held.history, _history_trait(held))
    write.run(_END, (ending.to, *texts, *numbers, write.now, write.now + kept, held.token, held.sequence))
    write.count(held.lane, ending.to, 1)


def _kept(held: Held, ending: Ending) -> float:
    if ending.kept is not None:
        return ending.kept

    overrides = held.head.overrides
    return FAILURE_KEPT if overrides is None or overrides.failure_ttl is None else overrides.failure_ttl


def _history_trait(held: Held) -> int:
    return HAS_HISTORY if held.history is not None else 0
