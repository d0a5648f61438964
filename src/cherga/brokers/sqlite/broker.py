"""``SQLiteBroker``: the broker's promises, each carried out in one transaction on the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import apsw

from cherga.brokers.sqlite import declare, leases, live, look, moves, notices, reap, tidy
from cherga.brokers.sqlite.address import read_address
from cherga.brokers.sqlite.backup import back_up
from cherga.brokers.sqlite.claim import claim, nothing_for
from cherga.brokers.sqlite.coalesce import Coalescer
from cherga.brokers.sqlite.door import Door
from cherga.brokers.sqlite.doorbell import PollingListener
from cherga.brokers.sqlite.empty import MOST_PAGES, remove_empty
from cherga.brokers.sqlite.faults import explain
from cherga.brokers.sqlite.limits import list_uses
from cherga.brokers.sqlite.push import push_groups
from cherga.brokers.sqlite.settle import settle_together
from cherga.brokers.sqlite.store import Store
from cherga.brokers.sqlite.together import NotPlain
from cherga.brokers.sqlite.write import Write
from cherga.doors.black_box import Memory
from cherga.doors.broker import JobListener, Listener
from cherga.rules.settings import BrokerSettings
from cherga.words.claim import ClaimAnswer, ClaimWish, Promoted
from cherga.words.clock import SystemClock
from cherga.words.errors import EnqueueUnknown
from cherga.words.inspection import Family, JobFilter, TaskCount
from cherga.words.job import JobRow, JobState
from cherga.words.limits import LimitUse
from cherga.words.notice import Notice
from cherga.words.push import NewJob, PushAnswer
from cherga.words.report import Followed, Reading, Report
from cherga.words.session import Death, SessionInfo, Signals, WorkerInfo
from cherga.words.settlement import Settled, Settlement
from cherga.words.shared import Definition, PauseScope, Shared

T = TypeVar("T")


class SQLiteBroker:
    """Keeps the jobs of one application in one SQLite file, for all its processes on this machine."""

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        self.time_offset = 0.0
        self._address = read_address(url)
        self._settings = settings
        self._door = Door(self._address, settings)
        self._pushes = Coalescer(self._push_all)
        self._busy = False
        self._patience = min(settings.busy_timeout, settings.enqueue_timeout)

    @property
    def url(self) -> str:
        """The place where the jobs are."""
        return self._address.lasting_url

    def open(self, create: bool = True) -> None:
        """Open the file, or make it; a second time does nothing."""
        self._door.open(create)

    def close(self) -> None:
        """Close the file and let go of the sessions registered here."""
        self._door.close()

    # --- for those who ask

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        """Store each group whole or not at all; callers at the same moment share one transaction, and one sync."""
        store = self._store

        try:
            answers = self._pushes.push(store.turn, groups, SystemClock.monotonic() + self._patience)
        except apsw.Error as error:
            raise explain(error, store.path) from error

        if store.log.can_sync:
            self._sync(store, groups)

        return answers

    def get(self, ids: Sequence[UUID]) -> list[JobRow | None]:
        """The jobs in the order asked for; None for one that is not kept."""
        return self._read(lambda db: look.get(db, ids))

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        """Cancel jobs, or make them ready; return the ids that it touched."""
        return self._write(lambda write: moves.move(write, ids, to, message, family))

    def listen(self, topics: Iterable[str]) -> Listener:
        """Hear of changes on these topics: by doorbell, or by looking often where there is none."""
        store = self._store
        return store.doorbell.listen(list(topics)) or PollingListener(store.watch())

    def listen_to_jobs(self) -> JobListener:
        """Hear of changes of single jobs: by doorbell and slate, or by looking often where there is none."""
        store = self._store
        return store.doorbell.listen_to_jobs() or PollingListener(store.watch())

    def follow(self, readings: Sequence[Reading], limit: int = 100) -> list[Followed | None]:
        """For each reading the job as it stands and the first ``limit`` events after that position."""
        return self._read(lambda db: live.follow(db, readings, limit))

    # --- for those who work

    def register(self, session: SessionInfo) -> None:
        """Start a session, or renew it. This process holds its lifeline from here on."""
        store = self._store

        with store.turn.lock:  # no reap of this process may clear the lifeline before the session is stored
            inode = store.lifelines.hold(session.id)
            self._write(lambda write: leases.register(write, session, inode), lasting=False)

    def lifeline(self, session: str) -> int | None:
        """The descriptor that a child running this session's jobs must inherit; None when it is not registered here."""
        return self._store.lifelines.descriptor(session)

    def black_box(self, session: str, size: int) -> Memory | None:
        """The session's notes of what it has begun, in the file of its lifeline. None where that is not held here."""
        store = self._store

        with store.turn.lock:
            return store.lifelines.black_box(session, size)

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        """Take up to ``limit`` ready jobs for a registered session. A claim with nothing to take waits for no writer."""
        store = self._store

        if not self._busy:
            nothing = self._read(lambda db: nothing_for(db, store.lanes, wish))

            if nothing is not None:
                return nothing

        plain = store.plain
        answer = self._write(lambda write: claim(write, wish, plain), lasting=False)
        self._busy = len(answer.jobs) == wish.limit
        return answer

    def heartbeat(self, sessions: Sequence[str]) -> Signals:
        """Renew the leases, and say which sessions are lost and which running jobs to cancel."""
        return self._write(lambda write: leases.heartbeat(write, sessions), lasting=False)

    def report(self, reports: Sequence[Report]) -> list[bool]:
        """Store what running jobs tell; False for one whose token is not the current one."""
        return self._write(lambda write: live.report(write, reports), lasting=False)

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write what became of each attempt whose token is the current one."""
        plain = self._store.plain

        try:
            answers = self._write(lambda write: settle_together(write, settlements, plain))
        except NotPlain:
            answers = self._write(lambda write: settle_together(write, settlements, {}))

        for settlement in settlements:
            plain.pop(settlement.token, None)

        return answers

    def notices(self, session: str, tasks: Collection[str], limit: int = 100) -> list[Notice]:
        """Notices of these tasks for this session to tell, oldest first."""
        if not self._read(notices.any_notice):
            return []

        return self._write(lambda write: notices.take(write, session, tasks, limit), lasting=False)

    def told(self, numbers: Sequence[int]) -> None:
        """Forget the notices that were told."""
        self._write(lambda write: notices.told(write, numbers), lasting=False)

    # --- for those who tidy

    def promote(self, limit: int = 1000) -> Promoted:
        """Due jobs become ready, expired ones cancelled, recorded releases are carried out."""
        now = SystemClock.now() + self.time_offset

        def look_ahead(db: apsw.Connection) -> Promoted | None:
            return None if tidy.has_work(db, now) else Promoted(0, tidy.find_next(db, now), now)

        nothing = self._read(look_ahead)
        return nothing or self._write(lambda write: tidy.promote(write, limit), lasting=False)

    def reap(self, deaths: Sequence[Death] = (), limit: int = 1000) -> list[UUID]:
        """End the sessions named and those provably dead, and free their jobs."""
        store = self._store

        with store.turn.lock:
            reaped = self._write(lambda write: reap.reap(write, deaths, limit, store.lifelines), lasting=False)
            store.lifelines.clear(reaped.kept)

        store.doorbell.take_down_dead()
        return reaped.freed

    def prune(self, limit: int = 500) -> int:
        """Delete final jobs past their time or over the caps; return how many."""
        pruned, more = self._write(lambda write: (tidy.prune(write, limit), remove_empty(write)), lasting=False)

        for _ in range(MOST_PAGES):
            if not more:
                break

            more = self._write(remove_empty, lasting=False)  # others may write in between

        return pruned

    def tick(self, schedule: str, due: float, following: float | None, group: Sequence[NewJob]) -> bool:
        """Push the group for this firing unless another was first."""
        return self._write(lambda write: declare.tick(write, schedule, due, following, group), growing=True)

    def ticks(self) -> dict[str, float | None]:
        """The next due time of each schedule that has fired or was set."""
        return self._read(lambda db: declare.list_ticks(db))

    # --- for those who declare

    def define(self, definitions: Sequence[Definition]) -> None:
        """Store what workers declare."""
        self._write(lambda write: declare.define(write, definitions))

    def definitions(self, kind: str, names: Sequence[str] = ()) -> list[Definition]:
        """The stored definitions of a kind, all or those named."""
        return self._read(lambda db: declare.list_definitions(db, kind, names))

    def load(self, keys: Sequence[str]) -> list[Shared]:
        """The shared values in the order asked for."""
        return self._read(lambda db: declare.load(db, keys))

    def swap(self, key: str, version: int, value: bytes | None) -> bool:
        """Set the value (None deletes it) if its version is still ``version``."""
        return self._write(lambda write: declare.swap(write, key, version, value))

    # --- for those who look

    def find(self, where: JobFilter, limit: int = 100, before: int | None = None) -> list[JobRow]:
        """A page of jobs, newest first."""
        now = SystemClock.now() + self.time_offset
        return self._read(lambda db: look.find(db, where, limit, before, now))

    def counts(self) -> list[TaskCount]:
        """The number of jobs in each state."""
        return self._read(lambda db: look.counts(db))

    def workers(self) -> list[WorkerInfo]:
        """The sessions whose lease has not ended, oldest first."""
        return self._read(lambda db: look.workers(db, SystemClock.uptime() + self.time_offset))

    def pause(self, scope: PauseScope, paused: bool) -> None:
        """Stop or go on handing out jobs of this scope."""
        self._write(lambda write: look.pause(write, scope, paused))

    def paused(self) -> list[PauseScope]:
        """The pauses that hold now."""
        return self._read(lambda db: look.list_paused(db))

    def limits(self, names: Sequence[str]) -> list[LimitUse]:
        """The state of the limits of these names; those without a rule are left out."""
        return self._read(lambda db: list_uses(db, names, SystemClock.now() + self.time_offset))

    def families(self, ids: Sequence[UUID]) -> list[Family]:
        """The children of each of these jobs, taken together."""
        return self._read(lambda db: look.families(db, ids))

    def back_up(self, to: Path, replace: bool = False) -> int:
        """Copy the file while it is in use; return how many jobs are in the copy."""
        store = self._store
        return back_up(store.read, store.path, to, replace)

    @property
    def _store(self) -> Store:
        return self._door.store

    def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        return self._store.read(work)

    def _write(
        self, work: Callable[[Write], T], lasting: bool = True, growing: bool = False, deadline: float | None = None
    ) -> T:
        return self._store.write(work, self.time_offset, lasting, growing, deadline)

    def _push_all(self, groups: Sequence[Sequence[NewJob]], deadline: float) -> list[PushAnswer]:
        """Those whose groups these are sync them, each before its own answer: workers may begin meanwhile."""
        lasting = not self._store.log.can_sync
        return self._write(lambda write: push_groups(write, groups), lasting, growing=True, deadline=deadline)

    def _sync(self, store: Store, groups: Sequence[Sequence[NewJob]]) -> None:
        try:
            store.log.sync()
        except OSError as error:
            raise EnqueueUnknown(
                f"the log of the queue file {store.path} could not be synced ({error.strerror or error}): the jobs may or may "
                "not be stored; look at the disk, then enqueue them again with the same ids",
                next((job.id for group in groups for job in group), None),
            ) from error
