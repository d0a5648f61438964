"""Deleting what is over and no longer wanted."""

from __future__ import annotations

from itertools import islice
from uuid import UUID

from cherga.brokers.memory.store import Store
from cherga.rules.settings import BrokerSettings


def prune(store: Store, now: float, limit: int, settings: BrokerSettings) -> int:
    """Delete final jobs past their time, then the oldest over the caps; at most ``limit``."""
    count = _drop(store, _outdated(store, now, limit))

    for succeeded, cap in ((True, settings.succeeded_cap), (False, settings.failed_cap)):
        excess = len(store.finals[succeeded]) - cap
        count += _drop(store, _oldest(store, succeeded, min(excess, limit - count)))

    return count


def _outdated(store: Store, now: float, limit: int) -> list[UUID]:
    ids = store.outdated.take(now, limit + len(store.waiting))
    free = [id for id in ids if id not in store.waiting][:limit]

    for id in set(ids) - set(free):
        store.outdated.add(store.rows[id].prune_at or now, id)

    return free


def _oldest(store: Store, succeeded: bool, count: int) -> list[UUID]:
    free = (id for id in store.finals[succeeded] if id not in store.waiting)
    return list(islice(free, max(0, count)))


def _drop(store: Store, ids: list[UUID]) -> int:
    for id in ids:
        store.drop(store.rows[id])

    return len(ids)
