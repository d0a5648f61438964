"""Deleting what is over and no longer wanted."""

from __future__ import annotations

from itertools import islice
from uuid import UUID

from cherga.brokers.memory.store import Store
from cherga.rules.settings import BrokerSettings


def prune(store: Store, now: float, limit: int, settings: BrokerSettings) -> int:
    """Delete final jobs past their time, then the oldest over the caps; at most ``limit``."""
    store.book.tidy(now)
    store.keys.tidy(now)
    count = _drop(store, store.outdated.take(now, limit))

    for succeeded, cap in ((True, settings.succeeded_cap), (False, settings.failed_cap)):
        excess = len(store.finals[succeeded]) - cap
        count += _drop(store, _oldest(store, succeeded, min(excess, limit - count)))

    return count


def _oldest(store: Store, succeeded: bool, count: int) -> list[UUID]:
    free = (id for id in store.finals[succeeded] if not store.kinship.is_kept(id))
    return list(islice(free, max(0, count)))


def _drop(store: Store, ids: list[UUID]) -> int:
    for id in ids:
        store.drop(store.rows[id])

    return len(ids)
