"""Handing out ready jobs."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heapreplace

import msgspec
from msgspec import DecodeError, Struct, ValidationError, convert
from msgspec.structs import asdict

from cherga.brokers.memory.ending import end_unasked
from cherga.brokers.memory.store import LaneKey, Place, Store
from cherga.words.job import ClaimAnswer, ClaimedJob, ClaimWish, JobHead, JobRow, JobState, PauseScope, Reason

_decode_head = msgspec.msgpack.Decoder(JobHead).decode


class _View(Struct, frozen=True):
    """The lanes with ready jobs that this wish may look at."""

    open: list[LaneKey]
    suspects: list[LaneKey]
    unknown: frozenset[str]


def claim(store: Store, wish: ClaimWish, now: float) -> ClaimAnswer:
    """Take what the wish asks for."""
    session = store.sessions.get(wish.session)

    if session is None or session.death:
        return ClaimAnswer([])

    view = _view(store, wish)
    desk = _Desk(store, wish.session, now)
    jobs = desk.draw(view.suspects, min(1, wish.limit)) if wish.alone else []
    jobs = jobs or _fill(desk, view.open, wish)
    return ClaimAnswer(jobs, any(store.best(key) for key in view.suspects), view.unknown)


def shares(limit: int, weights: Sequence[int], chance: Callable[[int], int] = random.randrange) -> list[int]:
    """The limit split by weight. What does not divide goes to queues by chance, so that over time each gets its share."""
    total = sum(weights)
    split = [limit * weight // total for weight in weights]
    remainders = [limit * weight % total for weight in weights]

    for _ in range(limit - sum(split)):
        split[_pick(remainders, chance(sum(remainders)))] += 1

    return split


def _view(store: Store, wish: ClaimWish) -> _View:
    here = [key for key in list(store.lanes) if _is_open(store, key, wish.queues) and store.best(key)]
    known = [key for key in here if key.task in wish.tasks]

    return _View(
        open=[key for key in known if not key.suspect],
        suspects=[key for key in known if key.suspect],
        unknown=frozenset(key.task for key in here if key.task not in wish.tasks),
    )


def _is_open(store: Store, key: LaneKey, queues: Sequence[str]) -> bool:
    if queues and key.queue not in queues:
        return False

    scopes = (PauseScope(), PauseScope(key.queue), PauseScope(None, key.task), PauseScope(key.queue, key.task))
    return not any(scope in store.paused for scope in scopes)


def _fill(desk: _Desk, lanes: list[LaneKey], wish: ClaimWish) -> list[ClaimedJob]:
    if not wish.queues:
        return desk.draw(lanes, wish.limit)

    if not wish.weights:
        return desk.draw_in_turn(lanes, dict.fromkeys(wish.queues, wish.limit), wish.limit)

    split = dict(zip(wish.queues, shares(wish.limit, wish.weights), strict=True))
    jobs = desk.draw_in_turn(lanes, split, wish.limit)
    jobs += desk.draw(lanes, wish.limit - len(jobs))  # what one queue cannot use, the others may
    return sorted(jobs, key=lambda job: (-job.priority, job.sequence))


class _Desk:
    """Hands out jobs to one session."""

    def __init__(self, store: Store, session: str, now: float) -> None:
        self._store = store
        self._session = session
        self._now = now

    def draw_in_turn(self, lanes: list[LaneKey], most: dict[str, int], limit: int) -> list[ClaimedJob]:
        """From each queue the most it may give, together at most the limit."""
        jobs: list[ClaimedJob] = []

        for queue, share in most.items():
            jobs += self.draw([key for key in lanes if key.queue == queue], min(share, limit - len(jobs)))

        return jobs

    def draw(self, lanes: list[LaneKey], limit: int) -> list[ClaimedJob]:
        """The best jobs of these lanes together."""
        tops: list[tuple[Place, LaneKey]] = [(place, key) for key in lanes if (place := self._store.best(key))]
        heapify(tops)
        jobs: list[ClaimedJob] = []

        while tops and len(jobs) < limit:
            place, key = tops[0]

            if job := self._hand_out(self._store.rows[place[2]]):
                jobs.append(job)

            if following := self._store.best(key):
                heapreplace(tops, (following, key))
            else:
                heappop(tops)

        return jobs

    def _hand_out(self, row: JobRow) -> ClaimedJob | None:
        """The job with a token of its own; None when it has expired or cannot be read, and has ended thereby."""
        if row.expires_at is not None and row.expires_at <= self._now:
            end_unasked(self._store, row, JobState.CANCELLED, Reason.EXPIRED, self._now)
            return None

        try:
            _check(row)
        except (ValidationError, DecodeError) as error:
            message = f"the stored job cannot be read: {error}"
            end_unasked(self._store, row, JobState.FAILED, Reason.MALFORMED, self._now, message=message)
            return None

        return _claimed(_start(self._store, row, self._session, self._now), self._now)


def _check(row: JobRow) -> None:
    convert(asdict(row), JobRow)

    if row.head:
        _decode_head(row.head)


def _start(store: Store, row: JobRow, session: str, now: float) -> JobRow:
    return store.change(
        row,
        state=JobState.RUNNING,
        reason=None,
        attempt=row.attempt + 1,
        claims=row.claims + 1,
        session=session,
        token=secrets.randbits(63),
        first_started_at=row.first_started_at or now,
        started_at=now,
    )


def _claimed(row: JobRow, now: float) -> ClaimedJob:
    return ClaimedJob(
        id=row.id,
        sequence=row.sequence,
        token=row.token or 0,
        task=row.task,
        queue=row.queue,
        priority=row.priority,
        payload=row.payload,
        head=row.head,
        attempt=row.attempt,
        claims=row.claims,
        crashes=row.crashes,
        interruptions=row.interruptions,
        enqueued_at=row.enqueued_at,
        started_at=now,
        owner=row.owner,
        unique_key=row.unique.key if row.unique else None,
        meta=row.meta,
    )


def _pick(weights: Sequence[int], ticket: int) -> int:
    for index, weight in enumerate(weights):
        ticket -= weight

        if ticket < 0:
            return index

    return len(weights) - 1
