"""Children of one job: how they stand together, and their end together."""

from __future__ import annotations

from itertools import islice
from uuid import UUID

from cherga.brokers.memory.ending import PAGE, end_told, end_unasked, record_orphans
from cherga.brokers.memory.store import Orphans, Store
from cherga.doors.broker import Topic
from cherga.rules.progress import share_done
from cherga.words.inspection import Family
from cherga.words.job import WAITING_STATES, JobRow, JobState


def look_at(store: Store, parent: UUID) -> Family:
    """The states of the job's children."""
    counts: dict[JobState, int] = {}
    done = 0.0

    for id in store.kinship.children.get(parent, ()):
        row = store.rows[id]
        counts[row.state] = counts.get(row.state, 0) + 1
        done += share_done(row.state, row.progress)

    return Family(counts, done)


def cancel_orphans(store: Store, now: float, limit: int = PAGE) -> int:
    """Cancel at most ``limit`` unfinished children of those recorded, of the first recorded first; return how many."""
    count = 0

    while store.orphans and count < limit:
        parent, why = next(iter(store.orphans.items()))
        page = _page(store, parent, limit - count)

        if len(page) < limit - count:
            del store.orphans[parent]

        for row in page:
            _cancel(store, row, why, now)

        count += len(page)

    return count


def cancel(store: Store, row: JobRow, why: Orphans, now: float, told: bool = False) -> None:
    """Cancel what has not been handed out, mark what runs. ``told``: whoever called tells it."""
    if row.state in WAITING_STATES:
        (end_told if told else end_unasked)(store, row, JobState.CANCELLED, why.reason, now, message=why.message)
    else:
        store.change(row, cancel_requested=True, message=row.message if why.message is None else why.message)
        store.bells.strike(Topic.CANCEL)


def _cancel(store: Store, row: JobRow, why: Orphans, now: float) -> None:
    cancel(store, row, why, now)
    record_orphans(store, row.id, why.reason, why.message)


def _page(store: Store, parent: UUID, size: int) -> list[JobRow]:
    rows = (store.rows[id] for id in store.kinship.children.get(parent, ()))
    return list(islice((row for row in rows if not row.state.final and not row.cancel_requested), size))
