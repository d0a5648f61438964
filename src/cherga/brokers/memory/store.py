"""The rows and their indexes. Rows are frozen: a change puts a new one, and the indexes follow from the state."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from heapq import heappop, heappush
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.brokers.memory.agenda import Agenda
from cherga.brokers.memory.listening import Bells
from cherga.doors.broker import Topic
from cherga.words.job import (
    Death,
    Definition,
    EdgePolicy,
    JobRow,
    JobState,
    LiveEvent,
    PauseScope,
    SessionInfo,
    Shared,
    UniqueWhile,
)

WAITING = frozenset({JobState.SCHEDULED, JobState.READY, JobState.BLOCKED})
"""States in which a job has not been handed out."""

FORGOTTEN_KEPT = 10_000

Place = tuple[int, int, UUID]
"""Where a ready job stands in its lane: priority (negated), a number that rises, id."""


class LaneKey(Struct, frozen=True, order=True):
    """Ready jobs stand in lanes, so that what is closed is passed over without looking at its jobs."""

    queue: str
    task: str
    suspect: bool


class Session(Struct):
    """One life of a worker process. ``expires`` is on the uptime clock; ``death`` is set while its jobs are being freed."""

    info: SessionInfo
    expires: float
    death: Death | None = None


class Store:
    """Everything one memory broker keeps. Its methods are called with ``lock`` held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bells = Bells()
        self.rows: dict[UUID, JobRow] = {}
        self.streams: dict[UUID, deque[LiveEvent]] = {}
        self.counts: Counter[tuple[str, str, JobState]] = Counter()
        self.lanes: dict[LaneKey, list[Place]] = {}
        self.places: dict[UUID, int] = {}
        """The number under which a ready job stands in its lane: a new one each time it becomes ready."""
        self.due = Agenda(self._is_due)
        self.expiring = Agenda(self._is_expiring)
        self.outdated = Agenda(self._is_outdated)
        self.finals: dict[bool, OrderedDict[UUID, None]] = {True: OrderedDict(), False: OrderedDict()}
        """Final jobs in the order of their ends; the key says whether they succeeded."""
        self.running: dict[str, dict[UUID, None]] = {}
        self.holders: dict[str, UUID] = {}
        self.waiting: dict[UUID, dict[UUID, EdgePolicy]] = {}
        """Parent → the jobs that wait for it."""
        self.releases: dict[UUID, JobState] = {}
        """How the parents ended that jobs still wait for."""
        self.sessions: dict[str, Session] = {}
        self.swept: float | None = None
        self.grace_until = 0.0
        self.forgotten: OrderedDict[int, None] = OrderedDict()
        """Tokens of attempts whose job was deleted by their settlement, so that a repeated call is recognised."""
        self.paused: set[PauseScope] = set()
        self.schedules: dict[str, float | None] = {}
        self.definitions: dict[tuple[str, str], Definition] = {}
        self.shared: dict[str, Shared] = {}
        self._last_number = 0

    def next_number(self) -> int:
        """A number above all before it, for sequences and places."""
        self._last_number += 1
        return self._last_number

    def change(self, row: JobRow, **fields: Any) -> JobRow:
        """Put the row with these fields changed, one position further in its stream."""
        position = fields.pop("position", row.position) + 1
        return self.put(replace(row, position=position, **fields))

    def put(self, row: JobRow) -> JobRow:
        """Keep this row, new or in place of the one before."""
        if before := self.rows.get(row.id):
            self._unlist(before)

        self.rows[row.id] = row
        self._list(row)
        self._hold_key(row)
        self.bells.strike(Topic.job(row.id))
        return row

    def forget(self, row: JobRow) -> None:
        """Delete a job whose last settlement may be repeated."""
        self.drop(row)
        self.forgotten[row.token or 0] = None

        if len(self.forgotten) > FORGOTTEN_KEPT:
            self.forgotten.popitem(last=False)

    def drop(self, row: JobRow) -> None:
        """Delete the row and all that belongs to it."""
        self._unlist(row)
        del self.rows[row.id]
        self.streams.pop(row.id, None)
        self.bells.strike(Topic.job(row.id))

        if row.unique and self.holders.get(row.unique.key) == row.id:
            del self.holders[row.unique.key]

    def holder(self, key: str, now: float) -> JobRow | None:
        """The job that holds a unique key."""
        row = self.rows.get(self.holders[key]) if key in self.holders else None

        if row is None or not holds_key(row, now):
            self.holders.pop(key, None)
            return None

        return row

    def best(self, key: LaneKey) -> Place | None:
        """The first place in a lane. An empty lane is taken away."""
        lane = self.lanes.get(key, [])

        while lane and not self._stands(lane[0]):
            heappop(lane)

        if not lane:
            self.lanes.pop(key, None)
            return None

        return lane[0]

    # --- indexes

    def _list(self, row: JobRow) -> None:
        self.counts[row.queue, row.task, row.state] += 1

        if row.state in WAITING and row.expires_at is not None:
            self.expiring.add(row.expires_at, row.id)

        if row.state is JobState.READY:
            self.places[row.id] = self.next_number()
            lane = self.lanes.setdefault(LaneKey(row.queue, row.task, row.crashes > 0), [])
            heappush(lane, (-row.priority, self.places[row.id], row.id))
            self.bells.strike(Topic.READY)
        elif row.state is JobState.SCHEDULED:
            self.due.add(row.run_at or 0.0, row.id)
            self.bells.strike(Topic.DUE)
        elif row.state is JobState.RUNNING:
            self.running.setdefault(row.session or "", {})[row.id] = None
        elif row.state.final:
            self.finals[row.state is JobState.SUCCEEDED][row.id] = None
            self.outdated.add(row.prune_at or 0.0, row.id)

    def _unlist(self, row: JobRow) -> None:
        key = (row.queue, row.task, row.state)
        self.counts[key] -= 1

        if not self.counts[key]:
            del self.counts[key]

        if row.state is JobState.READY:
            del self.places[row.id]
        elif row.state is JobState.RUNNING:
            del self.running[row.session or ""][row.id]
        elif row.state.final:
            del self.finals[row.state is JobState.SUCCEEDED][row.id]

    def _hold_key(self, row: JobRow) -> None:
        if row.unique is None:
            return

        if holds_key(row, now=row.enqueued_at):
            self.holders.setdefault(row.unique.key, row.id)
        elif self.holders.get(row.unique.key) == row.id:
            del self.holders[row.unique.key]

    def _stands(self, place: Place) -> bool:
        return self.places.get(place[2]) == place[1]

    def _is_due(self, at: float, id: UUID) -> bool:
        row = self.rows.get(id)
        return row is not None and row.state is JobState.SCHEDULED and row.run_at == at

    def _is_expiring(self, at: float, id: UUID) -> bool:
        row = self.rows.get(id)
        return row is not None and row.state in WAITING and row.expires_at == at

    def _is_outdated(self, at: float, id: UUID) -> bool:
        row = self.rows.get(id)
        return row is not None and row.state.final and row.prune_at == at


def holds_key(row: JobRow, now: float) -> bool:
    """Whether the job, as it stands, holds its unique key."""
    if row.unique is None:
        return False

    match row.unique.hold:
        case UniqueWhile.UNFINISHED:
            return not row.state.final
        case UniqueWhile.QUEUED:
            return row.state in WAITING
        case UniqueWhile.PERIOD:
            return now < row.enqueued_at + (row.unique.period or 0.0)
