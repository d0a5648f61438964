"""The rows and their indexes. Rows are frozen: a change puts a new one, and the indexes follow from the state."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.brokers.memory.agenda import Agenda
from cherga.brokers.memory.keys import Keys
from cherga.brokers.memory.kinship import Kinship
from cherga.brokers.memory.lanes import LaneKey, lane_of
from cherga.brokers.memory.limiting import LimitBook
from cherga.brokers.memory.listening import Bells
from cherga.doors.broker import Topic
from cherga.rules.settings import BrokerSettings
from cherga.words.job import WAITING_STATES, JobRow, JobState, Reason
from cherga.words.limits import LIMIT, OVERRIDE
from cherga.words.notice import Notice
from cherga.words.push import EdgePolicy, NewJob
from cherga.words.report import LiveEvent
from cherga.words.session import Death, SessionInfo
from cherga.words.shared import Definition, PauseScope, Shared

FORGOTTEN_KEPT = 10_000

Place = tuple[int, int, UUID, int]
"""The place of a ready job in its lane: priority (negated), a number that rises, id, and which of its entries this is."""


class Session(Struct):
    """The life of a worker process. ``expires`` is on the uptime clock; ``death`` is set while its jobs are being freed."""

    info: SessionInfo
    expires: float
    death: Death | None = None
    box: bytearray | None = None


class Orphans(Struct, frozen=True):
    """The reasons why the unfinished children of a job are to be cancelled."""

    reason: Reason
    message: str | None = None


class Noticeboard(Struct):
    """The notices to be told, by number, and the sessions that are telling them."""

    notices: dict[int, Notice] = {}
    tellers: dict[int, str] = {}


class Inside:
    """The thread that holds the lock, and what it pushes from a signal handler or a ``__del__`` in the middle of a call."""

    def __init__(self) -> None:
        self.holder: int | None = None
        """The thread."""
        self.postponed: deque[Sequence[NewJob]] = deque()
        """Groups to push before it leaves."""
        self.planning = False
        """A push looks, and has changed nothing yet: another push may come first."""
        self.pushes = 0
        """The number of pushes so far."""
        self.keys_to_come: Mapping[str, NewJob] = {}
        """The unique keys of the push under way, and the jobs that will hold them."""


class Store:
    """The whole of what a memory broker keeps. Its methods are called with ``lock`` held."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.inside = Inside()
        self.settings = BrokerSettings()
        """The settings of the broker that holds the lock."""
        self.bells = Bells()
        self.rows: dict[UUID, JobRow] = {}
        self.streams: dict[UUID, deque[LiveEvent]] = {}
        self.counts: Counter[tuple[str, str, JobState]] = Counter()
        self.lanes: dict[LaneKey, list[Place]] = {}
        self.book = LimitBook()
        self.places: dict[UUID, Place] = {}
        """The place of each ready job: a new number each time it becomes ready."""
        self.due = Agenda(self._is_due)
        self.expiring = Agenda(self._is_expiring)
        self.outdated = Agenda(self._is_outdated)
        self.finals: dict[bool, OrderedDict[UUID, None]] = {True: OrderedDict(), False: OrderedDict()}
        """Final jobs in the order of their ends; the key says whether they succeeded."""
        self.running: dict[str, dict[UUID, None]] = {}
        self.keys = Keys(self.rows)
        self.kinship = Kinship()
        self.orphans: dict[UUID, Orphans] = {}
        """Parents whose children have not all been cancelled yet."""
        self.waiting: dict[UUID, dict[UUID, EdgePolicy]] = {}
        """Parent → the jobs that wait for it."""
        self.releases: dict[UUID, JobState] = {}
        """The ends of parents that jobs still wait for."""
        self.sessions: dict[str, Session] = {}
        self.swept: float | None = None
        self.grace_until = 0.0
        self.forgotten: OrderedDict[int, None] = OrderedDict()
        """Tokens of attempts whose job was deleted by their settlement, so that a repeated call is recognised."""
        self.paused: set[PauseScope] = set()
        self.schedules: dict[str, float | None] = {}
        self.definitions: dict[tuple[str, str], Definition] = {}
        self.shared: dict[str, Shared] = {}
        self.news = Noticeboard()
        self._last_number = 0

    def next_number(self) -> int:
        """A number above all before it, for sequences and places."""
        self._last_number += 1
        return self._last_number

    def sequence(self, id: UUID) -> int:
        """The place of the job in the order of all; 0 for one that is not kept."""
        row = self.rows.get(id)
        return 0 if row is None else row.sequence

    def change(self, row: JobRow, **fields: Any) -> JobRow:
        """Put the row with these fields changed, one position further in its stream."""
        position = fields.pop("position", row.position) + 1
        return self.put(replace(row, position=position, **fields))

    def put(self, row: JobRow) -> JobRow:
        """Keep this row, new or in place of the one before."""
        before, place = self.rows.get(row.id), self.places.get(row.id)

        if before:
            self._unlist(before)

        self.rows[row.id] = row
        self._list(row, place)

        if before and before.state is JobState.RUNNING and row.state is not JobState.RUNNING:
            self._free_slot(row.id)

        self.keys.note(row)
        self._let_go(self.kinship.note(before, row))
        self.bells.strike_job(row.id)
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
        self.keys.drop(row)
        self._let_go(self.kinship.drop(row))
        self.bells.strike_job(row.id)

    def best(self, key: LaneKey) -> Place | None:
        """The first place in a lane. An empty lane is taken away."""
        lane = self.lanes.get(key, [])

        while lane and not self._stands(lane[0]):
            heappop(lane)

        if not lane:
            if self.lanes.pop(key, None) is not None:
                self.book.close_lane(key)

            return None

        return lane[0]

    def draw(self, key: LaneKey) -> Place | None:
        """Take the first place out of a lane; ``put_back`` is for those that stay ready."""
        place = self.best(key)
        return heappop(self.lanes[key]) if place else None

    def put_back(self, key: LaneKey, place: Place) -> None:
        """Let a ready job stand in this lane under the place that it has."""
        if key not in self.lanes:
            self.lanes[key] = []
            self.book.open_lane(key)

        heappush(self.lanes[key], place)

    def resume(self, scope: PauseScope) -> None:
        """Jobs that were held for this pause stand again where they stood before."""
        for key in [key for key in self.lanes if key.held == scope]:
            self.book.close_lane(key)

            for place in self.lanes.pop(key):
                self.put_back(replace(key, held=None), place)

    def note_rules(self, definitions: Sequence[Definition]) -> None:
        """Go by the rules for limits as they are stored, if these new definitions are some."""
        if any(each.kind in (LIMIT, OVERRIDE) for each in definitions):
            running = [self.rows[id] for jobs in self.running.values() for id in jobs]
            self.book.read(self.definitions.values(), self.lanes, running)
            self.bells.strike(Topic.READY)

    # --- indexes

    def _list(self, row: JobRow, before: Place | None) -> None:
        self.counts[row.queue, row.task, row.state] += 1

        if row.state in WAITING_STATES and row.expires_at is not None:
            self.expiring.add(row.expires_at, row.sequence, row.id)

        if row.state is JobState.READY:
            number = before[1] if before else self.next_number()  # one that was ready has merely been replaced
            self.places[row.id] = (-row.priority, number, row.id, self.next_number())
            self.put_back(lane_of(row), self.places[row.id])
            self.bells.strike(Topic.READY)
        elif row.state is JobState.SCHEDULED:
            self.due.add(row.run_at or 0.0, row.sequence, row.id)
            self.bells.strike(Topic.DUE)
        elif row.state is JobState.RUNNING:
            self.running.setdefault(row.session or "", {})[row.id] = None
            self.book.occupy(row)
        elif row.state.final:
            self.finals[row.state is JobState.SUCCEEDED][row.id] = None
            self.outdated.add(row.prune_at or 0.0, row.sequence, row.id)

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

    def _let_go(self, ids: list[UUID]) -> None:
        """Jobs that are no longer kept for another: their own time counts again."""
        for id in ids:
            row = self.rows.get(id)

            if row is not None and row.state.final:
                self.outdated.add(row.prune_at or 0.0, row.sequence, id)

    def _free_slot(self, id: UUID) -> None:
        """Wake the workers when jobs wait for the slot that this one had."""
        if any(self.best(key) for key in self.book.vacate(id)):
            self.bells.strike(Topic.READY)

    def _stands(self, place: Place) -> bool:
        return self.places.get(place[2]) == place

    def _is_due(self, at: float, id: UUID) -> bool:
        row = self.rows.get(id)
        return row is not None and row.state is JobState.SCHEDULED and row.run_at == at

    def _is_expiring(self, at: float, id: UUID) -> bool:
        row = self.rows.get(id)
        return row is not None and row.state in WAITING_STATES and row.expires_at == at

    def _is_outdated(self, at: float, id: UUID) -> bool:
        row = self.rows.get(id)
        return row is not None and row.state.final and row.prune_at == at and not self.kinship.is_kept(id)
