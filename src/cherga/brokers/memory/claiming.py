"""Handing out ready jobs."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence

import msgspec
from msgspec import Struct, convert
from msgspec.structs import asdict

from cherga.brokers.memory.drawing import LaneTop
from cherga.brokers.memory.ending import end_unasked
from cherga.brokers.memory.lanes import LaneKey
from cherga.brokers.memory.limiting import LimitBook
from cherga.brokers.memory.store import Store
from cherga.rules.deaths import may_take_suspects
from cherga.rules.endings import CANNOT_BE_READ
from cherga.rules.reading import UNREADABLE
from cherga.rules.turns import Offer, share_out, take_turns
from cherga.words.claim import ClaimAnswer, ClaimedJob, ClaimWish
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.push import JobHead
from cherga.words.shared import PauseScope

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
    jobs = desk.draw_suspects(view.suspects, wish.limit) if wish.alone else []
    jobs = jobs or _fill(desk, view.open, wish)
    return ClaimAnswer(jobs, desk.has_jobs(view.suspects), view.unknown, desk.close())


def _view(store: Store, wish: ClaimWish) -> _View:
    here = [key for key in list(store.lanes) if _is_open(store, key, wish.queues) and store.best(key)]
    known = [key for key in here if key.task in wish.tasks]
    suspects = [key for key in known if key.suspect]

    return _View(
        open=[key for key in known if not key.suspect],
        suspects=suspects if suspects and _may_take_suspects(store, wish.session) else [],
        unknown=frozenset(key.task for key in here if key.task not in wish.tasks),
    )


def _may_take_suspects(store: Store, session: str) -> bool:
    others = [id for id, other in store.sessions.items() if id != session and not other.death]
    occupied = sum(any(store.rows[job].suspect for job in store.running.get(id, ())) for id in others)
    return may_take_suspects(len(others) + 1, occupied)


def _is_open(store: Store, key: LaneKey, queues: Sequence[str]) -> bool:
    if queues and key.queue not in queues:
        return False

    scopes = (PauseScope(), PauseScope(key.queue), PauseScope(None, key.task), PauseScope(key.queue, key.task))
    return key.held is None and not any(scope in store.paused for scope in scopes)


def _fill(desk: _Desk, lanes: list[LaneKey], wish: ClaimWish) -> list[ClaimedJob]:
    if not wish.queues:
        return desk.draw(lanes, wish.limit)

    if not any(wish.weights):
        return desk.draw_in_turn(lanes, dict.fromkeys(wish.queues, wish.limit), wish.limit)

    split = dict(zip(wish.queues, share_out(wish.limit, wish.weights, random.randrange), strict=True))
    jobs = desk.draw_in_turn(lanes, split, wish.limit)
    jobs += desk.draw(lanes, wish.limit - len(jobs))  # what one queue cannot use, the others may
    return sorted(jobs, key=lambda job: (-job.priority, job.sequence))


class _Desk:
    """Hands out jobs to one session, in one claim."""

    def __init__(self, store: Store, session: str, now: float) -> None:
        self._store = store
        self._session = session
        self._now = now
        self._allowances = store.book.allowances(now)

    def draw_in_turn(self, lanes: list[LaneKey], most: dict[str, int], limit: int) -> list[ClaimedJob]:
        """Jobs of each queue, as many as it may give, together at most the limit."""
        jobs: list[ClaimedJob] = []

        for queue, share in most.items():
            jobs += self.draw([key for key in lanes if key.queue == queue], min(share, limit - len(jobs)))

        return jobs

    def draw(self, lanes: list[LaneKey], limit: int) -> list[ClaimedJob]:
        """The best jobs of these lanes together, within their limits and in turns."""
        jobs: list[ClaimedJob] = []

        while len(jobs) < limit:
            rows = self._choose(lanes, limit - len(jobs))
            handed_out = [job for row in rows if (job := self._hand_out(row))]
            jobs += handed_out

            if len(handed_out) == len(rows):
                break

        return jobs

    def draw_suspects(self, lanes: list[LaneKey], limit: int) -> list[ClaimedJob]:
        """Suspects that may run together, as many as may: those first that are suspected least."""
        for most in sorted({key.suspect for key in lanes}, reverse=True):
            if jobs := self.draw([key for key in lanes if key.suspect == most], min(most, limit)):
                return jobs

        return []

    def has_jobs(self, lanes: list[LaneKey]) -> bool:
        """True when a job of these lanes may go."""
        return any(self._is_filled(key) for key in self._with_room(lanes))

    def close(self) -> float | None:
        """Keep what was started; return in how many seconds a rate lets go of a job that it held up."""
        self._store.book.note_starts(self._allowances)
        return self._allowances.again_in

    def _choose(self, lanes: list[LaneKey], limit: int) -> list[JobRow]:
        book = self._store.book
        tops = [LaneTop(self._store, key, self._now) for key in self._with_room(lanes)]
        offers = [_offer(book, number, top) for number, top in enumerate(tops)]
        order = take_turns(offers, limit, self._allowances, book.turn)
        book.note_turns({top.key: offer.turn for top, offer in zip(tops, offers, strict=True) if offer.taken}, len(order))
        rows = [row for top, offer in zip(tops, offers, strict=True) for row in top.close(offer.taken)]
        by_sequence = {row.sequence: row for row in rows}
        return [by_sequence[sequence] for sequence in order]

    def _with_room(self, lanes: list[LaneKey]) -> list[LaneKey]:
        return [key for key in lanes if self._store.best(key) and self._has_room(key)]

    def _has_room(self, key: LaneKey) -> bool:
        names = self._store.book.ruled(key)

        if not names or self._allowances.room(names) > 0:
            return True

        self._allowances.hinder(names)
        return False

    def _is_filled(self, key: LaneKey) -> bool:
        top = LaneTop(self._store, key, self._now)
        filled = len(top) > 0
        top.close(0)
        return filled

    def _hand_out(self, row: JobRow) -> ClaimedJob | None:
        """The job with a token of its own; None when it cannot be read, and has ended thereby."""
        try:
            _check(row)
        except UNREADABLE:
            end_unasked(self._store, row, JobState.FAILED, Reason.MALFORMED, self._now, message=CANNOT_BE_READ)
            return None

        return _claimed(_start(self._store, row, self._session, self._now), self._now)


def _offer(book: LimitBook, number: int, top: LaneTop) -> Offer:
    key = top.key
    return Offer(number, (key.queue, key.task), book.ruled(key), top, book.turns.get(key, 0))


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
