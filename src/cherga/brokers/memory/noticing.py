"""Notices of what the broker did with jobs by itself, until a worker has told them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cherga.brokers.memory.store import Store
from cherga.doors.broker import Topic
from cherga.rules.notices import NOTICES_KEPT, is_news
from cherga.words.job import JobError, JobRow
from cherga.words.notice import Notice


def note(store: Store, row: JobRow, error: JobError | None = None) -> None:
    """Let a worker tell where the job stands now, if anybody wants to hear of it."""
    if not is_news(row.task, row.state, row.reason):
        return

    number = store.next_number()
    store.news.notices[number] = Notice(
        number=number,
        id=row.id,
        task=row.task,
        state=row.state,
        reason=row.reason,
        message=row.message,
        attempt=row.attempt,
        crashes=row.crashes,
        error=error,
    )
    store.bells.strike(Topic.NEWS)

    if len(store.news.notices) > NOTICES_KEPT:
        told(store, [next(iter(store.news.notices))])


def take(store: Store, session: str, tasks: Collection[str], limit: int) -> list[Notice]:
    """The oldest notices of these tasks that nobody is telling, for this session to tell."""
    if not _lives(store, session):
        return []

    free = (
        each
        for each in store.news.notices.values()
        if each.task in tasks and not _lives(store, store.news.tellers.get(each.number))
    )
    taken = [notice for _, notice in zip(range(limit), free, strict=False)]
    store.news.tellers.update((each.number, session) for each in taken)
    return taken


def told(store: Store, numbers: Sequence[int]) -> None:
    """Forget these."""
    for number in numbers:
        store.news.notices.pop(number, None)
        store.news.tellers.pop(number, None)


def _lives(store: Store, session: str | None) -> bool:
    known = store.sessions.get(session or "")
    return known is not None and known.death is None
