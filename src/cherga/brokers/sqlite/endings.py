"""Ending a job, and putting it back: the changes of state that one job goes through by itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.held import Held
from cherga.brokers.sqlite.keeping import time_kept
from cherga.brokers.sqlite.notices import note
from cherga.brokers.sqlite.rows import (
    AWAITED,
    CANCELLED,
    HAS_HISTORY,
    READY,
    RUNNING,
    SCHEDULED,
    STATES,
    SUCCEEDED,
    WAITS,
)
from cherga.brokers.sqlite.uniques import release_key, retake_key
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.lifecycle import Move, allowed
from cherga.words.job import JobError, JobState, Reason
from cherga.words.push import GROUP_TASK
from cherga.words.unique import UniqueWhile

_END = """
update jobs set
    state = ?, reason = ?, message = iif(?1 = 7, ifnull(?3, message), ?3), result = ?,
    progress = ifnull(?, progress), meta = ifnull(?, meta), pending = 0, attempt = ?,
    crashes = ?, interruptions = ?, attempts = ?, traits = traits | ?, finished_at = ?, prune_at = ?,
    token = ?, position = (position & 0xffffffffffff) + 1
where sequence = ?
"""

_PUT_BACK = """
update jobs set
    state = ?, lane = ?, session = null, place = ifnull(?, place), token = ?, reason = ?, message = ?,
    progress = ifnull(?, progress), meta = ifnull(?, meta), attempt = ?, crashes = ?, interruptions = ?, attempts = ?,
    traits = traits | ?, run_at = ?, ready_at = ifnull(?, ready_at), position = (position & 0xffffffffffff) + 1
where sequence = ?
"""

_MARK = (
    "update jobs set cancel = 1, message = ifnull(?, message), position = (position & 0xffffffffffff) + 1 where sequence = ?"
)

_DELETE = """
delete from jobs where sequence in (select value from json_each(?))
and not exists (select 1 from edges where parent = jobs.sequence) returning sequence, token, lane, state
"""

_REMEMBER = "insert or replace into forgotten (sequence, token, at) values "

_write_json = msgspec.json.Encoder().encode


class Ending(Struct, frozen=True, kw_only=True):
    """The end of a job. ``kept`` None: for the time that ``cherga.rules.keeping`` says."""

    to: int
    reason: Reason | None = None
    message: str | None = None
    result: bytes | None = None
    progress: bytes | None = None
    meta: bytes | None = None
    kept: float | None = None
    error: JobError | None = None
    """The history entry of the attempt that its process took with it."""
    told: bool = False
    """The caller tells it."""


class Return(Struct, frozen=True, kw_only=True):
    """The return of a job that waits for its next attempt: ready at once, or, with ``delay``, scheduled.

    ``suspect`` None: suspected as much as before.
    """

    delay: float | None = None
    suspect: int | None = None
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
        _let_edges_go(write, held)

    if held.traits & AWAITED:
        write.ended[held.sequence] = ending.to

    _store_end(write, held, ending)

    if ending.kept is None and not ending.told:
        note(write, held, ending.to, ending.reason, ending.message, ending.error)


def end_group(write: Write, held: Held) -> None:
    """A job that is a group has nobody to wait for any more: it has succeeded."""
    end(write, held, Ending(to=SUCCEEDED))


def cancel(write: Write, held: Held, reason: Reason, message: str | None, told: bool = False) -> bool:
    """End a job that waits, mark one that runs for its worker; False for one that has ended. ``told``: the caller tells it."""
    if held.state == RUNNING:
        write.run(_MARK, (message, held.sequence))
        write.bells.topics.add(Topic.CANCEL)
        write.bells.jobs.append(held.packed_id)
        return True

    if not allowed(Move.CANCEL, STATES.get(held.state), JobState.CANCELLED):
        return False

    end(write, held, Ending(to=CANCELLED, reason=reason, message=message, told=told))
    return True


def is_group(write: Write, held: Held) -> bool:
    """True when the job is a group without a callback, which no worker runs."""
    lane = write.lanes.get(write.db, held.lane)
    return lane is not None and lane.task == GROUP_TASK


def put_back(write: Write, held: Held, back: Return) -> None:
    """Take the job back to ready or scheduled, in the lane of those that are suspected like it."""
    to = SCHEDULED if back.delay is not None and back.delay > 0 else READY
    lane = held.lane if back.suspect is None else write.lanes.suspect_twin(write.db, held.lane, back.suspect)
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


def forget(write: Write, sequences: Sequence[int]) -> None:
    """Delete ended jobs at once, unless others wait for them; their tokens are remembered for a while."""
    rows = write.rows(_DELETE, (_write_json(sequences).decode(),))
    gone = _write_json([row[0] for row in rows]).decode()
    write.run("delete from events where sequence in (select value from json_each(?))", (gone,))
    write.run_chunks(_REMEMBER, "(?, ?, ?)", "", (), [(sequence, token, write.now) for sequence, token, _, _ in rows])

    for _, _, lane, state in rows:
        write.count(lane, state, -1)


def _let_edges_go(write: Write, held: Held) -> None:
    """The edges of a group stand until it is deleted: they keep its members."""
    if is_group(write, held):
        write.run("update edges set released = 1 where child = ? and released = 0", (held.sequence,))
    else:
        write.run("delete from edges where child = ?", (held.sequence,))


def _store_end(write: Write, held: Held, ending: Ending) -> None:
    kept = time_kept(write, held.lane, held.head, ending.to) if ending.kept is None else ending.kept
    texts = (ending.reason and ending.reason.value, ending.message, ending.result, ending.progress, ending.meta)
    numbers = (held.attempt, held.crashes, held.interruptions, held.history, _history_trait(held))
    write.run(_END, (ending.to, *texts, *numbers, write.now, write.now + kept, held.token, held.sequence))
    write.count(held.lane, ending.to, 1)


def _history_trait(held: Held) -> int:
    return HAS_HISTORY if held.history is not None else 0
