"""Ends of jobs, and what they mean for the jobs that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from cherga.brokers.memory.noticing import note
from cherga.brokers.memory.store import Orphans, Store
from cherga.doors.broker import Topic
from cherga.rules.edges import satisfied, upstream
from cherga.rules.keeping import time_kept
from cherga.rules.reading import read_or
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.keeping import KEEPING
from cherga.words.push import GROUP_TASK, EdgePolicy, JobHead

PAGE = 100

_decode_head = msgspec.msgpack.Decoder(JobHead).decode
_NO_HEAD = JobHead()


def make_ready(store: Store, row: JobRow, now: float, **fields: Any) -> JobRow:
    """The job may run, behind those that were ready before it."""
    return store.change(row, state=JobState.READY, ready_at=now, **fields)


def make_ready_at(store: Store, row: JobRow, at: float | None, now: float, **fields: Any) -> JobRow:
    """The job may run from that time on. A group has succeeded instead."""
    if row.task == GROUP_TASK:
        return end_group(store, row, now, **fields)

    if at is None or at <= now:
        return make_ready(store, row, now, **fields)

    return store.change(row, state=JobState.SCHEDULED, run_at=at, **fields)


def end(store: Store, row: JobRow, to: JobState, now: float, keep: float, **fields: Any) -> JobRow:
    """The job is final; the release of those that wait for it is recorded."""
    after = store.change(row, state=to, finished_at=now, prune_at=now + keep, **{"pending": 0, **fields})
    record_release(store, after)
    return after


def end_unasked(store: Store, row: JobRow, to: JobState, reason: Reason, now: float, **fields: Any) -> JobRow:
    """An end that no worker wrote, for a worker to tell."""
    error = fields.pop("error", None)
    after = end_told(store, row, to, reason, now, **fields)
    note(store, after, error)
    return after


def end_told(store: Store, row: JobRow, to: JobState, reason: Reason, now: float, **fields: Any) -> JobRow:
    """An end that no worker wrote, and that whoever called tells."""
    return end(store, row, to, now, _time_kept(store, row, to), reason=reason, **fields)


def end_group(store: Store, row: JobRow, now: float, **fields: Any) -> JobRow:
    """A group that waits for nobody has succeeded."""
    to = JobState.SUCCEEDED
    return end(store, row, to, now, _time_kept(store, row, to), ready_at=None, **fields)


def end_upstream(store: Store, row: JobRow, missed: Sequence[tuple[EdgePolicy, JobState]], now: float) -> None:
    """The end of a job that others waited for and that did not come true, with the policies of the edges."""
    message = upstream(missed[0][1])
    end_unasked(store, row, JobState.CANCELLED, Reason.UPSTREAM, now, message=message)

    if any(policy is EdgePolicy.TOGETHER for policy, _ in missed):
        record_orphans(store, row.id, Reason.UPSTREAM, message)


def record_orphans(store: Store, parent: UUID, reason: Reason, message: str | None = None) -> None:
    """Note that the unfinished children of this job are to be cancelled, if it has any."""
    if parent in store.kinship.children:
        store.orphans.setdefault(parent, Orphans(reason, message))
        store.bells.strike(Topic.DUE)


def record_release(store: Store, row: JobRow) -> None:
    """Note that a job has ended, if others wait for it."""
    if row.id in store.waiting:
        store.releases[row.id] = row.state
        store.bells.strike(Topic.DUE)


def release_page(store: Store, parent: UUID, now: float, limit: int = PAGE) -> int:
    """Carry out the recorded release for at most ``limit`` of those that wait; return how many."""
    state = store.releases.get(parent)

    if state is None:
        return 0

    children = store.waiting[parent]
    page = sorted(children, key=store.sequence)[:limit]

    for id in page:
        _release(store, id, children.pop(id), state, now)

    if not children:
        del store.waiting[parent], store.releases[parent]

    return len(page)


def head_of(row: JobRow) -> JobHead:
    """The values that were set at enqueue; nothing when they cannot be read."""
    return read_or(_decode_head, row.head or None, _NO_HEAD)


def _time_kept(store: Store, row: JobRow, to: JobState) -> float:
    def published(name: str) -> bytes | None:
        known = store.definitions.get((KEEPING, name))
        return known.data if known else None

    return time_kept(to, row.task, head_of(row), published, store.settings)


def _release(store: Store, id: UUID, policy: EdgePolicy, state: JobState, now: float) -> None:
    row = store.rows.get(id)

    if row is None or row.state is not JobState.BLOCKED:
        return  # a person was faster

    if not satisfied(policy, state):
        end_upstream(store, row, [(policy, state)], now)
    elif row.pending > 1:
        store.change(row, pending=row.pending - 1)
    else:
        make_ready_at(store, row, row.run_at, now, pending=0)
