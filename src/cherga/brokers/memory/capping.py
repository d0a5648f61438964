"""Room in queues that hold only so many waiting jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from uuid import UUID

from cherga.brokers.memory.ending import end_unasked
from cherga.brokers.memory.store import Store
from cherga.rules.endings import QUEUE_WAS_FULL
from cherga.rules.limits import queue_limit, rule_for
from cherga.rules.refusals import full_queue
from cherga.words.job import WAITING_STATES, JobRow, JobState, Reason
from cherga.words.limits import LimitRule, Overflow
from cherga.words.push import NewJob

DROPPABLE = (JobState.SCHEDULED, JobState.READY)


def refusal(store: Store, jobs: Sequence[NewJob], spared: Collection[UUID]) -> str | None:
    """The reason why these new jobs find no room; None when they do, if need be after ``make_room``."""
    for queue, number in Counter(job.queue for job in jobs).items() if store.book.rules else ():
        rule = _rule(store, queue)

        if rule and len(_oldest(store, queue, rule, number, spared)) < _excess(store, queue, rule, number):
            return full_queue(queue, _count(store, queue, WAITING_STATES), rule.max_length or 0)

    return None


def make_room(store: Store, jobs: Sequence[NewJob], spared: Collection[UUID], now: float) -> list[UUID]:
    """Cancel the oldest jobs of queues that are too full for these new ones, but none of the ``spared``; return which."""
    dropped: list[UUID] = []

    for queue, number in Counter(job.queue for job in jobs).items() if store.book.rules else ():
        rule = _rule(store, queue)

        if rule:
            for row in _oldest(store, queue, rule, number, spared):
                end_unasked(store, row, JobState.CANCELLED, Reason.DROPPED, now, message=QUEUE_WAS_FULL)
                dropped.append(row.id)

    return dropped


def _rule(store: Store, queue: str) -> LimitRule | None:
    rule = rule_for(store.book.rules, queue_limit(queue))
    return rule if rule and rule.max_length is not None else None


def _excess(store: Store, queue: str, rule: LimitRule, number: int) -> int:
    """The number of jobs too many with so many more."""
    return _count(store, queue, WAITING_STATES) + number - (rule.max_length or 0)


def _count(store: Store, queue: str, states: Collection[JobState]) -> int:
    return sum(count for (name, _, state), count in store.counts.items() if name == queue and state in states)


def _oldest(store: Store, queue: str, rule: LimitRule, number: int, spared: Collection[UUID]) -> list[JobRow]:
    """The jobs to drop for so many more, too few where there are no others. The rows stand in the order of their sequences."""
    excess = _excess(store, queue, rule, number)

    if excess <= 0 or rule.overflow is not Overflow.DROP_OLDEST:
        return []

    rows = (row for row in store.rows.values() if row.queue == queue and row.state in DROPPABLE and row.id not in spared)
    return list(islice(rows, excess))
