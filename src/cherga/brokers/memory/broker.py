"""``MemoryBroker``: takes the lock, reads the clock, and wakes the listeners once the change can be seen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import nlargest
from itertools import islice
from threading import get_ident
from uuid import UUID

from cherga.brokers.memory import claiming, declaring, leases, moving, noticing, pruning, settling
from cherga.brokers.memory.families import look_at
from cherga.brokers.memory.lanes import lane_of, names_of
from cherga.brokers.memory.listening import MemoryJobListener, MemoryListener
from cherga.brokers.memory.pushing import foresee, push_group
from cherga.brokers.memory.store import Store
from cherga.doors.broker import Topic
from cherga.rules.newcomers import first_state, read_times
from cherga.rules.settings import BrokerSettings
from cherga.words.claim import ClaimAnswer, ClaimWish, Promoted
from cherga.words.clock import SystemClock
from cherga.words.inspection import Family, JobFilter, TaskCount
from cherga.words.job import JobRow, JobState
from cherga.words.limits import LimitUse
from cherga.words.notice import Notice
from cherga.words.push import NewJob, PushAnswer, PushedJob
from cherga.words.report import Followed, Reading, Report
from cherga.words.session import Death, SessionInfo, Signals, WorkerInfo
from cherga.words.settlement import Settled, Settlement
from cherga.words.shared import Definition, PauseScope, Shared

logger = logging.getLogger("cherga.broker")

_STORES: dict[tuple[str, str], Store] = {}
_STORES_LOCK = threading.Lock()


class MemoryBroker:
    """Keeps jobs in this process. ``memory://name`` is shared by name and namespace, ``memory://`` is private.

    See ``cherga.doors.broker`` for what each method promises.
    """

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        self.time_offset = 0.0
        self._url = url
        self._settings = settings
        self._clock = SystemClock()
        self._store = _store_named(url.partition("://")[2], settings.namespace)

    @property
    def url(self) -> str:
        """The URL it was made with."""
        return self._url

    def open(self, create: bool = True) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """There is nothing to close; the jobs stay as long as this object, under a name as long as the process."""

    # --- for those who ask

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        """Store the groups. From a signal handler or a ``__del__`` in the middle of another call of this thread they are stored
        as soon as that call is over: what it has half done must not be looked at."""
        if self._store.inside.holder == get_ident() and not self._store.inside.planning:
            return [self._push_later(group) for group in groups]

        with self._held(planning=True) as store:
            return [push_group(store, group, self._now()) for group in groups]

    def get(self, ids: Sequence[UUID]) -> list[JobRow | None]:
        with self._held() as store:
            return [store.rows.get(id) for id in ids]

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        now = self._now()

        with self._held() as store:
            if to is JobState.CANCELLED:
                return moving.cancel(store, ids, message, family, now)

            if to is JobState.READY:
                return moving.retry(store, ids, now)

        raise ValueError(f"expected a move to cancelled or ready, got {to}")

    def listen(self, topics: Iterable[str]) -> MemoryListener:
        listener = MemoryListener(frozenset(topics), self._leave)

        with self._held() as store:
            store.bells.add(listener)

        return listener

    def listen_to_jobs(self) -> MemoryJobListener:
        return MemoryJobListener(self._held)

    def follow(self, readings: Sequence[Reading], limit: int = 100) -> list[Followed | None]:
        with self._held() as store:
            return [_follow(store, reading, limit) for reading in readings]

    # --- for those who work

    def register(self, session: SessionInfo) -> None:
        with self._held() as store:
            leases.register(store, session, self._uptime(), self._settings.lease)

    def black_box(self, session: str, size: int) -> bytearray | None:
        with self._held() as store:
            return leases.black_box(store, session, size)

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        with self._held() as store:
            return claiming.claim(store, wish, self._now())

    def heartbeat(self, sessions: Sequence[str]) -> Signals:
        with self._held() as store:
            return leases.heartbeat(store, sessions, self._uptime(), self._settings.lease)

    def report(self, reports: Sequence[Report]) -> list[bool]:
        with self._held() as store:
            return [settling.report(store, report) for report in reports]

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        with self._held() as store:
            return [settling.settle(store, settlement, self._now()) for settlement in settlements]

    def notices(self, session: str, tasks: Collection[str], limit: int = 100) -> list[Notice]:
        with self._held() as store:
            return noticing.take(store, session, tasks, limit)

    def told(self, numbers: Sequence[int]) -> None:
        with self._held() as store:
            noticing.told(store, numbers)

    # --- for those who tidy

    def promote(self, limit: int = 1000) -> Promoted:
        with self._held() as store:
            return moving.promote(store, self._now(), limit)

    def reap(self, deaths: Sequence[Death] = (), limit: int = 1000) -> list[UUID]:
        with self._held() as store:
            leases.bury(store, deaths)
            leases.sweep(store, self._uptime(), self._settings)
            return leases.Reaper(store, self._now(), self._settings).free(limit)

    def prune(self, limit: int = 500) -> int:
        with self._held() as store:
            return pruning.prune(store, self._now(), limit, self._settings)

    def tick(self, schedule: str, due: float, following: float | None, group: Sequence[NewJob]) -> bool:
        with self._held() as store:
            if store.schedules.get(schedule, due) != due:
                return False

            store.schedules[schedule] = following
            push_group(store, group, self._now())
            return True

    def ticks(self) -> dict[str, float | None]:
        with self._held() as store:
            return dict(store.schedules)

    # --- for those who declare

    def define(self, definitions: Sequence[Definition]) -> None:
        with self._held() as store:
            for definition in definitions:
                declaring.define(store, definition)

            store.note_rules(definitions)

    def definitions(self, kind: str, names: Sequence[str] = ()) -> list[Definition]:
        with self._held() as store:
            of_kind = [each for each in store.definitions.values() if each.kind == kind and each.data]
            return [each for each in of_kind if not names or each.name in names]

    def load(self, keys: Sequence[str]) -> list[Shared]:
        with self._held() as store:
            return [store.shared.get(key, Shared(None, 0)) for key in keys]

    def swap(self, key: str, version: int, value: bytes | None) -> bool:
        with self._held() as store:
            if store.shared.get(key, Shared(None, 0)).version != version:
                return False

            if value is None:
                store.shared.pop(key, None)
            else:
                # never a version that was used before, also by a value that was deleted
                store.shared[key] = Shared(value, store.next_number())

            return True

    # --- for those who look

    def find(self, where: JobFilter, limit: int = 100, before: int | None = None) -> list[JobRow]:
        with self._held() as store:
            rows = _candidates(store, where)
            fitting = [row for row in rows if _fits(row, where) and (before is None or row.sequence < before)]

        return nlargest(limit, fitting, key=lambda row: row.sequence)

    def counts(self) -> list[TaskCount]:
        with self._held() as store:
            return [TaskCount(queue, task, state, count) for (queue, task, state), count in store.counts.items()]

    def workers(self) -> list[WorkerInfo]:
        with self._held() as store:
            return leases.workers(store, self._uptime())

    def pause(self, scope: PauseScope, paused: bool) -> None:
        with self._held() as store:
            if paused:
                store.paused.add(scope)
            elif scope in store.paused:
                store.paused.discard(scope)
                store.resume(scope)
                store.bells.strike(Topic.READY)

    def paused(self) -> list[PauseScope]:
        with self._held() as store:
            return list(store.paused)

    def limits(self, names: Sequence[str]) -> list[LimitUse]:
        with self._held() as store:
            return store.book.uses(names, self._now())

    def families(self, ids: Sequence[UUID]) -> list[Family]:
        with self._held() as store:
            return [look_at(store, id) for id in ids]

    # --- inside

    @contextmanager
    def _held(self, planning: bool = False) -> Iterator[Store]:
        store = self._store

        with store.lock:
            outer, was_planning, store.inside.planning = store.inside.holder, store.inside.planning, planning
            store.inside.holder = get_ident()
            store.settings, store.keys.now = self._settings, self._now()

            try:
                yield store
            finally:
                untold = [] if outer is not None else self._push_postponed()
                store.inside.holder, store.inside.planning = outer, was_planning

            struck = store.bells.take()

        for listener in struck:
            listener.wake()

        for each in untold:
            logger.warning("enqueued in the middle of another call of the same thread: %s", each)

    def _push_later(self, group: Sequence[NewJob]) -> PushAnswer:
        now = self._now()

        if (answer := foresee(self._store, group, now)) is not None:
            return answer

        self._store.inside.postponed.append(group)
        return PushAnswer(tuple(PushedJob(job.id, first_state(job, read_times(job, now), now)) for job in group))

    def _push_postponed(self) -> list[str]:
        """Push them, and leave. Says where that came out otherwise than their callers were told."""
        store, untold = self._store, []

        while True:
            while store.inside.postponed:
                untold += self._push_one(store.inside.postponed.popleft())

            store.inside.holder = None  # a push that comes from here on is no longer postponed

            if not store.inside.postponed:
                return untold

            store.inside.holder = get_ident()

    def _push_one(self, group: Sequence[NewJob]) -> list[str]:
        try:
            answer = push_group(self._store, group, self._now())
        except Exception as error:  # whatever it is, this thread has to leave
            return [f"job {job.id} is not stored: {type(error).__name__}: {error}" for job in group]

        if answer.refused:
            return [f"job {job.id} is not stored: {answer.refused}" for job in group]

        pairs = zip(group, answer.jobs, strict=True)
        return [f"job {job.id} is job {each.id}, which holds its key" for job, each in pairs if each.id != job.id]

    def _leave(self, listener: MemoryListener) -> None:
        with self._held() as store:
            store.bells.remove(listener)

    def _now(self) -> float:
        return self._clock.now() + self.time_offset

    def _uptime(self) -> float:
        return self._clock.uptime() + self.time_offset


def _store_named(name: str, namespace: str) -> Store:
    if not name:
        return Store()

    with _STORES_LOCK:
        return _STORES.setdefault((name, namespace), Store())


def _follow(store: Store, reading: Reading, limit: int) -> Followed | None:
    row = store.rows.get(reading.id)

    if row is None:
        return None

    events = (event for event in store.streams.get(reading.id, ()) if event.position > reading.after)
    return Followed(row, list(islice(events, limit)))


def _candidates(store: Store, where: JobFilter) -> Iterable[JobRow]:
    """The rows to look through: all, or where it is asked for relatives, these."""
    if where.holds is not None:
        holder = store.keys.holder(where.holds, store.keys.now)
        return [] if holder is None or holder.id not in store.rows else [store.rows[holder.id]]

    if where.awaited_by is not None:
        relatives = store.kinship.awaited_by(where.awaited_by)
    elif where.parent is not None:
        relatives = store.kinship.children.get(where.parent, ())
    else:
        return store.rows.values()

    return [store.rows[id] for id in relatives if id in store.rows]


def _fits(row: JobRow, where: JobFilter) -> bool:
    return (
        (not where.states or row.state in where.states)
        and (where.queue is None or row.queue == where.queue)
        and (where.task is None or row.task == where.task)
        and (where.owner is None or row.owner == where.owner)
        and (where.parent is None or row.parent == where.parent)
        and (where.limit is None or where.limit in names_of(lane_of(row)))
        and not (where.unfinished and row.state.final)
        and row.id.hex.startswith(where.id_begins)
        and row.id.hex.endswith(where.id_ends)
    )
