"""Departures: jobs that are enqueued inside a transaction are held, and leave for the broker when it has committed.

An application has a departure where an extension gave it one, and without one every enqueue pushes at once. The departure knows
transactions and no jobs; this file knows held jobs and no transactions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from importlib import import_module
from itertools import compress
from operator import not_
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, cast
from uuid import UUID

from msgspec import Struct

from cherga.client.handle import Job, Source, Values
from cherga.client.lookout import Lookout
from cherga.client.signals import Signals
from cherga.client.snapshot import AsPushed
from cherga.client.submit import Submitter
from cherga.doors.broker import FullBroker
from cherga.rules.newcomers import first_state, read_times
from cherga.rules.obstacles import Home
from cherga.rules.results import Results
from cherga.words.clock import Clock
from cherga.words.departure import HandleState, Wish
from cherga.words.errors import BrokerUnavailable, ConfigError, EnqueueRefused, JobHeld, JobNotFound
from cherga.words.inspection import Family, JobFilter
from cherga.words.job import WAITING_STATES, JobRow, JobState
from cherga.words.push import NewJob
from cherga.words.unique import OnConflict

NOBODY: Mapping[UUID, UUID] = MappingProxyType({})


class Unit(Protocol):
    """A unit of work: the transaction that is open, and the jobs that are held until it commits."""

    @property
    def outbox(self) -> bool:
        """The enqueue is to be written into the outbox with the transaction."""
        ...

    @property
    def holds(self) -> Sequence[Hold]:
        """The enqueues that it holds, oldest first."""
        ...

    def take(self, hold: Hold) -> None:
        """Hold these jobs until the transaction has committed."""
        ...


class Departure(Protocol):
    """Says where an enqueue belongs. Asked at each enqueue, in its thread or coroutine: it must not wait."""

    def find_unit(self, wish: Wish | None) -> Unit | None:
        """The unit of work that an enqueue belongs to; None: its jobs leave at once. Raises ``ConfigError``."""
        ...

    def find(self, id: UUID) -> Job[Any] | None:
        """The handle of a job that is held by the same unit of work."""
        ...


class HoldingApplication(Source, Protocol):
    """The parts of an application that held jobs need."""

    def handle(self, row: JobRow | AsPushed, existing: bool = False) -> Job[Any]: ...


class At(Enum):
    """The place that a held enqueue has reached."""

    TRANSACTION = auto()
    """Its transaction has not ended."""
    BROKER = auto()
    """Its transaction has committed, and the broker has not taken it yet."""
    STORED = auto()
    DROPPED = auto()


class Hold:
    """The jobs of one enqueue, which leave together; until they are stored, their handles ask this and not the application."""

    def __init__(
        self, app: HoldingApplication, jobs: Sequence[NewJob], outbox: bool = False, replacing: Mapping[UUID, UUID] = NOBODY
    ) -> None:
        self.app = app
        self.jobs = list(jobs)
        self.outbox = outbox
        """The enqueue is to be written into the outbox with its transaction."""
        self.at = At.TRANSACTION
        self.why = ""
        """The reason why it was dropped."""
        self.handles = [self._make_handle(job, replacing.get(job.id, job.id)) for job in jobs]

    def _make_handle(self, job: NewJob, id: UUID) -> Job[Any]:
        now = self.app.clock.now()
        handle = self.app.handle(AsPushed(job, id, first_state(job, read_times(job, now), now, len(job.edges)), now))
        handle.serve_by(self)
        return handle

    @property
    def waits(self) -> bool:
        """Its jobs are neither stored nor dropped."""
        return self.at in (At.TRANSACTION, At.BROKER)

    def find(self, id: UUID) -> Job[Any] | None:
        """The handle of the job of this id, while it waits."""
        return next((handle for handle in self.handles if handle.id == id), None) if self.waits else None

    # --- what becomes of it

    def drop(self, why: str) -> None:
        """Its jobs are never stored."""
        if self.waits:
            self.at, self.why = At.DROPPED, why

    def leave_out(self, ids: Iterable[UUID], why: str) -> None:
        """Drop these jobs; the whole of it where they belong together as a flow."""
        gone = set(ids)
        stays = [handle.id not in gone for handle in self.handles]

        if not any(stays) or is_flow(self.jobs):
            self.drop(why)
            return

        apart = Hold(self.app, ())
        apart.jobs, apart.handles = list(compress(self.jobs, map(not_, stays))), list(compress(self.handles, map(not_, stays)))
        self.jobs, self.handles = list(compress(self.jobs, stays)), list(compress(self.handles, stays))
        apart.drop(why)

        for handle in apart.handles:
            handle.serve_by(apart)

    def stored(self, handles: Sequence[Job[Any]]) -> None:
        """Its jobs are stored, as these fresh handles show them: perhaps others stand in for them."""
        self.at = At.STORED

        for handle, fresh in zip(self.handles, handles, strict=True):
            handle.become(fresh)

    # --- what handles ask

    @property
    def handle_state(self) -> HandleState | None:
        """The state that its handles show; None: that of the job."""
        if self.waits:
            return HandleState.HELD

        return HandleState.DROPPED if self.at is At.DROPPED else None

    @property
    def broker(self) -> FullBroker:
        """The broker, or what answers in its place."""
        return self.app.broker if self.at is At.STORED else cast(FullBroker, NoBroker(self))

    @property
    def lookout(self) -> Lookout:
        """The place to wait for the end of a job. Raises ``JobHeld`` or ``JobNotFound``: that would never come."""
        return self.app.lookout if self.at is At.STORED else self.refuse()

    @property
    def clock(self) -> Clock:
        return self.app.clock

    @property
    def submitter(self) -> Submitter:
        return self.app.submitter

    @property
    def on(self) -> Signals:
        return self.app.on

    @property
    def home(self) -> Home:
        return self.app.home

    def handle(self, row: JobRow | AsPushed) -> Job[Any]:
        return self.app.handle(row)

    def held(self, id: UUID) -> Job[Any] | None:
        return self.find(id)

    def results_of(self, task: str) -> Results:
        return self.app.results_of(task)

    def stream(self, id: UUID, after: int) -> Values:
        return self.app.stream(id, after) if self.at is At.STORED else self.refuse()

    def refuse(self) -> NoReturn:
        """Raise the error that says what a caller who waits has to do first."""
        name = f"job {self.handles[0].id} ({self.jobs[0].task})"

        if self.at is At.DROPPED:
            raise JobNotFound(f"{name} was never stored: {self.why}")

        if self.at is At.BROKER:
            raise JobHeld(
                f"{name} is held: its transaction has committed, but the broker has not taken it yet; try again later"
            )

        raise JobHeld(
            f"{name} is held until the transaction in which it was enqueued commits: commit first, or enqueue it with "
            "using(when='now')"
        )


class NoBroker:
    """Answers in place of the broker about jobs that it does not know yet."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def get(self, ids: Sequence[UUID]) -> list[JobRow | None]:
        """The held jobs, as they will be stored."""
        return [handle.row if (handle := self._hold.find(id)) else None for id in ids]

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        """Cancelled ones are dropped. Raises ``JobHeld`` for those that are on their way to the broker."""
        found = [id for id in ids if to is JobState.CANCELLED and self._hold.find(id)]

        if found and self._hold.at is At.BROKER:
            self._hold.refuse()

        if found:
            self._hold.leave_out(found, f"it was cancelled while it was held{f': {message}' if message else ''}")

        return found

    def families(self, ids: Sequence[UUID]) -> list[Family]:
        return [Family() for _ in ids]

    def find(self, where: JobFilter, limit: int = 100, before: int | None = None) -> list[JobRow]:
        return []

    def __getattr__(self, name: str) -> Any:
        self._hold.refuse()


# --- from an enqueue to a unit of work


class KeyHolders(Struct, frozen=True):
    """The jobs that hold the unique keys of an enqueue already: stored ones, and those that the same unit holds."""

    stored: Mapping[str, JobRow]
    held: Mapping[str, Job[Any]]

    def holder(self, key: str, app: HoldingApplication) -> Job[Any] | None:
        """The handle of the job that holds this key."""
        return self.held.get(key) or (app.handle(self.stored[key], True) if key in self.stored else None)

    def waiting(self, key: str) -> UUID | None:
        """The id of the job that holds this key, while it has not been handed out."""
        if key in self.held:
            return self.held[key].id

        return self.stored[key].id if key in self.stored and self.stored[key].state in WAITING_STATES else None


def find_keys(broker: FullBroker, unit: Unit, jobs: Sequence[NewJob]) -> KeyHolders:
    """The holders of the keys of these jobs. Asks the broker where one has a key; while it is away, the push will tell."""
    keys = [job.unique.key for job in jobs if job.unique is not None]
    held = {
        job.unique.key: handle
        for hold in unit.holds
        if hold.waits
        for job, handle in zip(hold.jobs, hold.handles, strict=True)
        if job.unique is not None and job.unique.key in keys
    }
    try:
        rows = {key: broker.find(JobFilter(holds=key), 1) for key in keys if key not in held}
    except BrokerUnavailable:  # it may be there again when the transaction commits
        rows = {}

    return KeyHolders({key: found[0] for key, found in rows.items() if found}, held)


def has_keys(jobs: Sequence[NewJob]) -> bool:
    """True when one of these jobs is unique."""
    return any(job.unique is not None for job in jobs)


def hold_jobs(app: HoldingApplication, unit: Unit, jobs: Sequence[NewJob], keys: KeyHolders | None) -> list[Job[Any]]:
    """Let the unit hold these jobs; the handles of all, in order, those of others that stand in for some among them.

    Raises ``EnqueueRefused`` where a unique key is held and its task refuses that.
    """
    standing = {} if keys is None or is_flow(jobs) else _standing_in(app, jobs, keys)
    mine = [job for job in jobs if job.id not in standing]
    hold = Hold(app, mine, unit.outbox, NOBODY if keys is None else _replaced(mine, keys))

    if mine:
        unit.take(hold)

    handles = dict(zip((job.id for job in mine), hold.handles, strict=True))
    return [standing.get(job.id) or handles[job.id] for job in jobs]


def is_flow(jobs: Sequence[NewJob]) -> bool:
    """True when some of the jobs wait for others, so that none of them can go without the rest."""
    ids = {job.id for job in jobs}
    return len(ids) > 1 and any(edge.parent in ids for job in jobs for edge in job.edges)


def _standing_in(app: HoldingApplication, jobs: Sequence[NewJob], keys: KeyHolders) -> dict[UUID, Job[Any]]:
    """The handles of jobs that hold the keys of these ones, and that these would only be answered with."""
    found: dict[UUID, Job[Any]] = {}

    for job in jobs:
        holder = None if job.unique is None else keys.holder(job.unique.key, app)

        if job.unique is None or holder is None:
            continue

        if job.unique.conflict is OnConflict.REFUSE:
            raise EnqueueRefused(f"the unique key {job.unique.key!r} is held by job {holder.id}")

        if job.unique.conflict is OnConflict.EXISTING:
            found[job.id] = holder

    return found


def _replaced(jobs: Sequence[NewJob], keys: KeyHolders) -> dict[UUID, UUID]:
    """The ids of jobs that will take over everything from these but the id."""
    return {
        job.id: id
        for job in jobs
        if job.unique is not None
        and job.unique.conflict in (OnConflict.REPLACE, OnConflict.LATEST)
        and (id := keys.waiting(job.unique.key)) is not None
    }


def make_witness(name: str) -> Departure | None:
    """The departure of an application that follows no transactions, where SQLAlchemy is in use: it warns of what that means."""
    if "sqlalchemy.orm" not in sys.modules:
        return None

    # Opened by name: only who has SQLAlchemy needs it.
    return cast(Departure, import_module("cherga.contrib.sqlalchemy_witness").Witness(name))


def refuse_wish(name: str) -> NoReturn:
    """Raise the error of an application that follows no transactions."""
    raise ConfigError(
        f"expected the application {name} to follow transactions of a database for when='commit', when='outbox' or session=…; "
        "write Cherga(app, sqlalchemy=db), or call cherga.contrib.sqlalchemy.follow(app, Session)"
    )
