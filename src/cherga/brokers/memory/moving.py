"""Moves that people wish for, and that time brings."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from cherga.brokers.memory import families
from cherga.brokers.memory.ending import end_unasked, make_ready, record_orphans, release_page
from cherga.brokers.memory.store import Orphans, Store
from cherga.rules.lifecycle import Move, sources
from cherga.words.claim import Promoted
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.push import GROUP_TASK


def cancel(store: Store, ids: Sequence[UUID], message: str | None, family: bool, now: float) -> list[UUID]:
    """Cancel what has not been handed out, mark what runs, and then see to what that means for others.

    ``family``: their children too; these are not saved by a parent that has ended, or is not kept.
    """
    touched = [row for row in _rows(store, ids) if not row.state.final]

    for row in touched:
        families.cancel(store, row, Orphans(Reason.ASKED, message), now, told=True)

    for id in ids if family else ():
        record_orphans(store, id, Reason.ASKED, message)

    for row in touched:
        release_page(store, row.id, now)

    families.cancel_orphans(store, now)
    return [row.id for row in touched]


def retry(store: Store, ids: Sequence[UUID], now: float) -> list[UUID]:
    """Run final or scheduled jobs again, unless other jobs hold their unique keys."""
    return [row.id for row in _rows(store, ids) if _retry(store, row.id, now)]


def _rows(store: Store, ids: Sequence[UUID]) -> list[JobRow]:
    """The rows that are kept, in the order in which they were stored."""
    rows = (store.rows.get(id) for id in dict.fromkeys(ids))
    return sorted((row for row in rows if row is not None), key=lambda row: row.sequence)


def _retry(store: Store, id: UUID, now: float) -> bool:
    """Run a final or scheduled job again, unless another job holds its unique key."""
    row = store.rows.get(id)

    if row is None or row.task == GROUP_TASK or row.state not in sources(Move.RETRY):
        return False

    if row.state is JobState.SCHEDULED:
        make_ready(store, row, now, run_at=now)
    elif _is_superseded(store, row, now):
        return False
    else:
        is_free = row.unique is not None and store.keys.holder(row.unique.key, now) is None
        _start_over(store, row, now)

        if is_free:
            store.keys.take(store.rows[id], now)

    return True


def promote(store: Store, now: float, limit: int) -> Promoted:
    """Carry out what is due."""
    count = _expire(store, now, limit) + _promote_due(store, now, limit) + _release(store, now, limit)
    count += families.cancel_orphans(store, now, limit)
    following = store.due.first()

    if store.releases or store.orphans:
        return Promoted(count, 0.0, now)

    return Promoted(count, max(0.0, following[0] - now) if following else None, now)


def _is_superseded(store: Store, row: JobRow, now: float) -> bool:
    holder = store.keys.holder(row.unique.key, now) if row.unique else None
    return holder is not None and holder.id != row.id


def _start_over(store: Store, row: JobRow, now: float) -> None:
    make_ready(
        store,
        row,
        now,
        reason=None,
        message=None,
        result=None,
        progress=None,
        pending=0,
        attempt=0,
        crashes=0,
        suspect=0,
        interruptions=0,
        session=None,
        cancel_requested=False,
        run_at=None,
        finished_at=None,
        prune_at=None,
        expires_at=row.expires_at if row.expires_at and row.expires_at > now else None,
    )


def _promote_due(store: Store, now: float, limit: int) -> int:
    ids = store.due.take(now, limit)

    for id in ids:
        make_ready(store, store.rows[id], now)

    return len(ids)


def _expire(store: Store, now: float, limit: int) -> int:
    ids = store.expiring.take(now, limit)

    for id in ids:
        end_unasked(store, store.rows[id], JobState.CANCELLED, Reason.EXPIRED, now)

    return len(ids)


def _release(store: Store, now: float, limit: int) -> int:
    count = 0

    for parent in list(store.releases):
        count += release_page(store, parent, now, limit - count)

        if count >= limit:
            break

    return count
