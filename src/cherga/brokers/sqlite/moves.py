"""Carrying out what a person wants of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec

from cherga.brokers.sqlite.endings import cancel, is_group
from cherga.brokers.sqlite.held import Held, select_held
from cherga.brokers.sqlite.orphans import give_up
from cherga.brokers.sqlite.releases import release_ended
from cherga.brokers.sqlite.rows import FIRST_FINAL, READY, STATES
from cherga.brokers.sqlite.uniques import retake_key
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.lifecycle import Move, allowed
from cherga.words.job import JobState, Reason

_NOW = """
update jobs set state = 2, place = ?, ready_at = ?, run_at = ?2, position = (position & 0xffffffffffff) + 1 where sequence = ?
"""

_AGAIN = """
update jobs set
    state = 2, lane = ?, place = ?, ready_at = ?, session = null, token = null, attempt = 0,
    crashes = 0, interruptions = 0, cancel = 0,
    pending = 0, run_at = null, reason = null, message = null, result = null, progress = null, finished_at = null,
    prune_at = null, expires_at = iif(expires_at <= ?3, null, expires_at), position = (position & 0xffffffffffff) + 1
where sequence = ?
"""

_write_json = msgspec.json.Encoder().encode


def move(write: Write, ids: Sequence[UUID], to: JobState, message: str | None, family: bool) -> list[UUID]:
    """Cancel the jobs, or make them ready, where the lifecycle allows it; return those that were touched."""
    match to:
        case JobState.CANCELLED:
            touched = _cancel(write, ids, message, family)
        case JobState.READY:
            touched = [held.id for held in _select(write, ids) if _make_ready(write, held)]
        case _:
            raise ValueError(f"expected a move to cancelled or ready, got {to}")

    release_ended(write)
    return touched


def _cancel(write: Write, ids: Sequence[UUID], message: str | None, family: bool) -> list[UUID]:
    touched = [held.id for held in _select(write, ids) if cancel(write, held, Reason.ASKED, message, told=True)]

    if family:
        give_up(write, [id.bytes for id in ids], Reason.ASKED, message)

    return touched


def _select(write: Write, ids: Sequence[UUID]) -> Iterator[Held]:
    packed = _write_json([id.hex for id in dict.fromkeys(ids)]).decode()
    return select_held(write, "where id in (select unhex(value) from json_each(?)) order by sequence", (packed,))


def _make_ready(write: Write, held: Held) -> bool:
    if not allowed(Move.RETRY, STATES.get(held.state), JobState.READY) or is_group(write, held):
        return False

    if held.state < FIRST_FINAL:
        write.run(_NOW, (write.take_numbers(1), write.now, held.sequence))
        _note_ready(write, held, held.lane)
        return True

    if not retake_key(write, held.ties.unique, held.sequence, held.packed_id):
        return False

    lane = write.lanes.suspect_twin(write.db, held.lane, suspect=0)
    write.run(_AGAIN, (lane, write.take_numbers(1), write.now, held.sequence))
    _note_ready(write, held, lane)
    return True


def _note_ready(write: Write, held: Held, lane: int) -> None:
    write.count(held.lane, held.state, -1)
    write.count(lane, READY, 1)
    write.bells.jobs.append(held.packed_id)
    write.bells.topics.add(Topic.READY)
