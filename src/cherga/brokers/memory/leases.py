"""Leases of worker sessions, and what becomes of their jobs when a session dies. Leases are on the uptime clock."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import asdict, replace

from cherga.brokers.memory.ending import end_unasked, head_of, make_ready_at
from cherga.brokers.memory.noticing import note
from cherga.brokers.memory.settling import counters_of
from cherga.brokers.memory.store import Session, Store
from cherga.doors.black_box import read_box
from cherga.rules.attempts import with_attempt
from cherga.rules.deaths import Victim, fate_of, runs_once
from cherga.rules.settings import BrokerSettings
from cherga.words.job import JobRow, JobState
from cherga.words.session import Cancel, Death, SessionInfo, Signals, WorkerInfo
from cherga.words.settlement import Charge


def register(store: Store, info: SessionInfo, uptime: float, lease: float) -> None:
    """Start or renew a session."""
    known = store.sessions.get(info.id)
    store.sessions[info.id] = Session(info, uptime + lease, box=known.box if known else None)


def black_box(store: Store, id: str, size: int) -> bytearray | None:
    """Memory for what the session has begun, unless it is not known."""
    if (session := store.sessions.get(id)) is None:
        return None

    session.box = bytearray(size)
    return session.box


def heartbeat(store: Store, ids: Sequence[str], uptime: float, lease: float) -> Signals:
    """Renew the sessions that are known."""
    alive = [id for id in ids if (session := store.sessions.get(id)) and not session.death]

    for id in alive:
        store.sessions[id].expires = uptime + lease

    cancels = tuple(cancel for id in alive for cancel in _cancels(store, id))
    return Signals(tuple(id for id in ids if id not in alive), cancels)


def workers(store: Store, uptime: float) -> list[WorkerInfo]:
    """The sessions that are taken to be alive."""
    alive = [session for session in store.sessions.values() if session.expires > uptime and not session.death]
    alive.sort(key=lambda session: session.info.started_at)
    return [WorkerInfo(session=each.info, expires_in=each.expires - uptime, running=_running(store, each)) for each in alive]


def sweep(store: Store, uptime: float, settings: BrokerSettings) -> None:
    """Mark the sessions whose lease has run out, unless nobody could renew it."""
    if store.swept is not None and uptime - store.swept > 2 * settings.sweep:
        store.grace_until = uptime + settings.lease

    store.swept = uptime

    if uptime < store.grace_until:
        return

    for id, session in store.sessions.items():
        if session.expires <= uptime:
            _end(session, Death(id, lost=True))


def bury(store: Store, deaths: Sequence[Death]) -> None:
    """Mark the sessions that somebody saw end."""
    for death in deaths:
        if session := store.sessions.get(death.session):
            _end(session, death)


def _end(session: Session, death: Death) -> None:
    """Note the death of a session, once, and what it had begun by then."""
    if session.death is None:
        session.death = death.knowing(read_box(session.box) if session.box else None)


class Reaper:
    """Frees the jobs of dead sessions. A session goes with its last job."""

    def __init__(self, store: Store, now: float, settings: BrokerSettings) -> None:
        self._store = store
        self._now = now
        self._settings = settings

    def free(self, limit: int) -> list[UUID]:
        """Free at most ``limit`` jobs."""
        freed: list[UUID] = []

        for session in list(self._store.sessions.values()):
            if session.death:
                freed += self._free_some(session, session.death, limit - len(freed))

        return freed

    def _free_some(self, session: Session, death: Death, limit: int) -> list[UUID]:
        store = self._store
        mine = store.running.get(session.info.id, {})
        page = sorted(mine, key=store.sequence)[:limit]

        if not death.company:
            death = session.death = replace(death, company=sum(_began(store.rows[id], death) for id in mine))

        for id in page:
            row = store.rows[id]
            self._free(row, death, session.info.worker)

        if not mine:
            store.running.pop(session.info.id, None)
            del store.sessions[session.info.id]

        return page

    def _free(self, row: JobRow, death: Death, worker: str) -> None:
        store, now = self._store, self._now
        fate = fate_of(_victim(row, death, worker), self._settings, now)

        if fate.charge is Charge.REFUND:
            store.book.take_start_back(row)

        suspect = row.suspect if fate.to.final else fate.suspect
        row = replace(row, token=None, suspect=suspect, **asdict(fate.counters))

        if fate.attempt:
            row = replace(row, attempts=with_attempt(row.attempts, fate.attempt))

        error = fate.attempt.error if fate.attempt else None

        if fate.to.final and fate.reason:
            end_unasked(store, row, fate.to, fate.reason, now, message=fate.message or row.message, error=error)
        else:
            at = now + fate.delay if fate.to is JobState.SCHEDULED else None
            note(store, make_ready_at(store, row, at, now, session=None, reason=fate.reason), error)


def _cancels(store: Store, session: str) -> list[Cancel]:
    rows = [store.rows[id] for id in store.running.get(session, {})]
    return [Cancel(session, row.id, row.token or 0) for row in rows if row.cancel_requested]


def _running(store: Store, session: Session) -> int:
    return len(store.running.get(session.info.id, {}))


def _began(row: JobRow, death: Death) -> bool:
    return death.started is None or row.token in death.started


def _victim(row: JobRow, death: Death, worker: str) -> Victim:
    return Victim(
        counters=counters_of(row),
        began=_began(row, death),
        orderly=death.orderly,
        lost=death.lost,
        company=death.company,
        suspect=row.suspect,
        cancelling=row.cancel_requested,
        once=runs_once(row.token, head_of(row), death),
        worker=worker,
        started_at=row.started_at,
        history=row.attempts,
    )
