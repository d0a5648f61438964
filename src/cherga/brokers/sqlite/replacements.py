"""A job that waits takes over everything from a newer one that has its unique key."""

from __future__ import annotations

from typing import Any

from cherga.brokers.sqlite.held import Held, find_held
from cherga.brokers.sqlite.plans import Standing
from cherga.brokers.sqlite.rows import BLOCKED, HOLDS_KEY, READY, holds_key_until_final, pack_ties
from cherga.brokers.sqlite.uniques import make_hold, take_keys
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.newcomers import read_times
from cherga.words.push import NewJob

_TAKE_OVER = f"""
update jobs set
    state = ?, lane = ?, rank = ?, traits = traits & ~{HOLDS_KEY} | ?, attempt = 0, run_at = ?,
    ready_at = iif(state = ?1, ready_at, ?), expires_at = ?,
    owner = ?, head = ?, ties = ?, parent = ?, payload = ?, reason = null, message = null, progress = null, meta = null,
    position = (position & 0xffffffffffff) + 1
where sequence = ?
"""


def take_over(write: Write, standing: Standing, job: NewJob) -> None:
    """Write the new job over the stored one, which keeps its id, its place and whom it waits for."""
    held = find_held(write, standing.sequence)

    if held is None:
        return

    before = write.lanes.get(write.db, held.lane)
    lane = write.lanes.number(write.db, job.queue, job.task, job.limit_keys, before.suspect if before else 0)
    write.run(_TAKE_OVER, _row(write, held, standing.state, lane, job))
    write.count(held.lane, held.state, -1)
    write.count(lane, standing.state, 1)
    write.bells.jobs.append(held.packed_id)

    if standing.state != BLOCKED:
        write.bells.topics.add(Topic.READY if standing.state == READY else Topic.DUE)

    if job.unique is not None:
        take_keys(write, [make_hold(write, standing.key, job.unique, held.sequence, held.packed_id)])


def _row(write: Write, held: Held, to: int, lane: int, job: NewJob) -> tuple[Any, ...]:
    holds = HOLDS_KEY if holds_key_until_final(job.unique) else 0
    ready_at = write.now if to == READY else None
    times = read_times(job, write.now)
    parent = None if job.parent is None else job.parent.bytes
    texts = (job.owner, job.head, pack_ties(job.unique, job.limit_keys), parent, job.payload)
    return (to, lane, -job.priority, holds, times.run_at, ready_at, times.expires_at, *texts, held.sequence)
