"""The promises of a broker: ``Broker`` for clients and workers, ``Inspector`` for those who look.

Every method is a batch, is safe to call from any thread, says what is true afterwards, and is atomic as a whole unless it
says otherwise. Time is the broker's own; ``time_offset`` moves it, for tests alone. A broker is finished when
``cherga.testing.contract`` is green on it.

A signal handler or a ``__del__`` may call in the middle of another call of the same thread, and what a call is stopped in by an
exception is stored whole, or not at all, and never later.

Errors: ``BrokerUnavailable`` (try again; a push says so after ``enqueue_timeout`` at the latest), ``BrokerFull`` (no room for
new jobs), ``BrokerUnusable`` (a person has to look).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable
from uuid import UUID

from cherga.doors.black_box import Memory
from cherga.words.claim import ClaimAnswer, ClaimWish, Promoted
from cherga.words.inspection import Family, JobFilter, TaskCount
from cherga.words.job import JobRow, JobState
from cherga.words.limits import LimitUse
from cherga.words.notice import Notice
from cherga.words.push import NewJob, PushAnswer
from cherga.words.report import Followed, Reading, Report
from cherga.words.session import Death, SessionInfo, Signals, WorkerInfo
from cherga.words.settlement import Settled, Settlement
from cherga.words.shared import Definition, PauseScope, Shared

if TYPE_CHECKING:
    from pathlib import Path


class Topic:
    """The topics that a listener can wait for."""

    READY = "ready"
    """A job became ready, or something that was closed was opened."""
    DUE = "due"
    """A job was scheduled, dependants wait to be released, or a schedule was declared: what is due next may be sooner."""
    CANCEL = "cancel"
    """A running job is to be cancelled: heartbeat now."""
    NEWS = "news"
    """The broker did something with a job by itself: ask for ``notices``."""


class Listener(Protocol):
    """Hears its topics from the moment it was made; nothing that happened since then is missed."""

    def wait(self, timeout: float | None) -> bool:
        """Return True when something may have happened on a topic since the last wait, False after ``timeout`` seconds.

        A hint, never a promise: look at the broker afterwards either way.
        """
        ...

    def wake(self) -> None:
        """Make the wait of this listener return True now; safe from any thread and signal handler."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...


class JobListener(Listener, Protocol):
    """Hears of everything that happens to the jobs it follows: one serves all who wait in a process.

    ``wake`` may be called from anywhere, all else by one thread at a time.
    """

    def add(self, ids: Iterable[UUID]) -> None:
        """Follow these jobs too, kept or not. What happens after this has returned is not missed."""
        ...

    def discard(self, ids: Iterable[UUID]) -> None:
        """Follow these no longer. Who is not followed is no error."""
        ...

    def changed(self) -> set[UUID] | None:
        """The jobs among those followed that may have changed since this was asked before; None: any of them may have."""
        ...


class Broker(Protocol):
    """Keeps jobs and hands them out to worker sessions under a lease."""

    time_offset: float
    """Seconds added to the broker's clocks. Tests only."""

    @property
    def url(self) -> str:
        """The place where the jobs are, for other processes of this machine too, whichever folder they are in; no password."""
        ...

    def open(self, create: bool = True) -> None:
        """Make ready for use: connect, check or create the schema. Opening twice is one opening.

        ``create``: False where what it opens must be there already, else ``BrokerUnusable``.
        """
        ...

    def close(self) -> None:
        """Give everything back. A closed broker may be opened again."""
        ...

    # --- for those who ask

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        """Store each group whole or not at all, and answer for each in order; one group's refusal harms no other.

        An id that is already kept is not stored again: the job that is kept is answered, marked ``existing``. A job whose
        unique key is held is not stored; the holder is answered, marked in the same way (or what else ``OnConflict`` says). An
        edge to a job that is neither kept nor in the same group refuses the group; so does a replacement of a job of another
        task, and a queue that is full (``LimitRule.max_length``), where it does not drop the oldest instead.
        """
        ...

    def get(self, ids: Sequence[UUID]) -> list[JobRow | None]:
        """The jobs in the order asked for; None for one that is not kept."""
        ...

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        """Carry out a person's wish where the lifecycle allows it; return the ids that it touched.

        ``CANCELLED``: scheduled, ready and blocked jobs are cancelled at once (reason ``asked``), running ones are marked
        and the heartbeat of their session tells its worker. ``READY``: final jobs run again from attempt 0, unless
        another job holds their unique key; scheduled ones run now. ``family``, for ``CANCELLED``: their unfinished children
        and those of these too, the first page in this call, the others by ``promote``; nobody's end can stop that.
        """
        ...

    def listen(self, topics: Iterable[str]) -> Listener:
        """Hear of changes on these topics from now on, from any process."""
        ...

    def listen_to_jobs(self) -> JobListener:
        """Hear of changes of single jobs, from any process. Nothing costs more for those who change jobs, however many are
        followed.
        """
        ...

    def follow(self, readings: Sequence[Reading], limit: int = 100) -> list[Followed | None]:
        """For each reading the job as it stands and the first ``limit`` events after that position; None for one not kept."""
        ...

    # --- for those who work

    def register(self, session: SessionInfo) -> None:
        """Start a session with a fresh lease. A session that is known is renewed."""
        ...

    def black_box(self, session: str, size: int) -> Memory | None:
        """Memory of ``size`` bytes, all 0, in which a registered session notes what it begins (``cherga.doors.black_box``).

        When the session has ended and nobody says which of its jobs had begun, those have whose tokens stand there, whoever
        died with it. None where a broker has no such memory: then all had.
        """
        ...

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        """Take up to ``limit`` ready jobs: highest priority, then lowest sequence, within each queue.

        Each gets a fresh token, ``attempt`` + 1 and ``claims`` + 1 and belongs to the session. What is paused, expired,
        unknown to the worker, suspect or at a limit is passed over without scanning its jobs. Jobs of one queue and task
        that differ in their limit keys take turns, key by key, within a priority. No claim exceeds a limit, whoever else
        claims at the same time. A session that is not registered gets nothing. ``alone``: suspects first, as many as may run
        together, while less than half of the sessions run some.
        """
        ...

    def heartbeat(self, sessions: Sequence[str]) -> Signals:
        """Renew the leases of these sessions, and say which are lost and which of their running jobs to cancel."""
        ...

    def report(self, reports: Sequence[Report]) -> list[bool]:
        """Store what running jobs tell; False for one whose token is not the current one. Each report stands alone."""
        ...

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write what became of each attempt whose token is the current one; each settlement stands or falls alone.

        In the same atomic write its unique key is released, its children are pushed and the release of its dependants
        is recorded: no instant exists at which a release can be lost. The dependants themselves go in pages of 100,
        the first in this call, the others by ``promote``.
        """
        ...

    def notices(self, session: str, tasks: Collection[str], limit: int = 100) -> list[Notice]:
        """The notices of what the broker did with jobs of these tasks by itself and nobody has told yet, oldest first.

        Jobs that it ended without a worker (expired, given up with others, dropped, unreadable, lost with their process for the
        last time), and those that a death took and that are to run again; not those that a caller of ``move`` had in hand, nor
        groups. They are this session's to tell until ``told``, and anybody's again when it ends: each is told at least once. A
        session that is not registered gets nothing.
        """
        ...

    def told(self, numbers: Sequence[int]) -> None:
        """Forget these notices; those that are not kept are passed over."""
        ...

    # --- for those who tidy: any worker, at any time, without a leader

    def promote(self, limit: int = 1000) -> Promoted:
        """Due jobs become ready, expired ones cancelled, recorded releases are carried out; at most ``limit`` of each."""
        ...

    def reap(self, deaths: Sequence[Death] = (), limit: int = 1000) -> list[UUID]:
        """End the sessions named in ``deaths`` and those that are provably dead, and free their running jobs.

        What never began goes back uncharged; what must not run twice fails if it had. Else a job is a suspect from then on:
        half as many of those that had begun together may run together next time. It is charged a crash for the first death
        and for each that it is alone with, and by one of these fails at the crash cap (reason ``poison``). A session that
        nobody saw end leaves no suspects, except jobs that lost their workers so more than twice. One marked to be cancelled
        is cancelled. After an outage longer than two sweeps no lease is taken for expired until one full lease has passed.
        """
        ...

    def prune(self, limit: int = 500) -> int:
        """Delete final jobs past their time or over the caps, and return how many.

        Never one that a dependant waits for, nor a member of a group (``GROUP_TASK``) that is still kept.
        """
        ...

    def tick(self, schedule: str, due: float, following: float | None, group: Sequence[NewJob]) -> bool:
        """Push the group for this firing if the schedule's next due time is still ``due``, and set it to ``following``.

        False when another was first. A schedule whose due time is not known counts as due. A group that is refused, for a
        full queue or a unique key, does not hold the schedule up.
        """
        ...

    def ticks(self) -> dict[str, float | None]:
        """The next due time of each schedule that has fired or was set; None for one that has no further tick."""
        ...

    # --- for those who declare

    def define(self, definitions: Sequence[Definition]) -> None:
        """Store what workers declare, and take back what has no data; see ``Definition``."""
        ...

    def definitions(self, kind: str, names: Sequence[str] = ()) -> list[Definition]:
        """The stored definitions of a kind, all or those named."""
        ...

    def load(self, keys: Sequence[str]) -> list[Shared]:
        """The shared values in the order asked for."""
        ...

    def swap(self, key: str, version: int, value: bytes | None) -> bool:
        """Set the value (None deletes it) if its version is still ``version``."""
        ...


class Inspector(Protocol):
    """The questions and orders of a dashboard or a command line."""

    def find(self, where: JobFilter, limit: int = 100, before: int | None = None) -> list[JobRow]:
        """A page of jobs, newest first, with ``sequence`` below ``before``."""
        ...

    def counts(self) -> list[TaskCount]:
        """The number of jobs in each state; rows with a count of 0 are left out."""
        ...

    def workers(self) -> list[WorkerInfo]:
        """The sessions whose lease has not ended, oldest first."""
        ...

    def pause(self, scope: PauseScope, paused: bool) -> None:
        """Stop or go on handing out jobs of this scope; what runs goes on. Twice is once."""
        ...

    def paused(self) -> list[PauseScope]:
        """The pauses that hold now."""
        ...

    def limits(self, names: Sequence[str]) -> list[LimitUse]:
        """The state of the limits of these names, in the order asked for; those without a rule are left out."""
        ...

    def families(self, ids: Sequence[UUID]) -> list[Family]:
        """The children of each of these jobs, taken together, in the order asked for."""
        ...


class FullBroker(Broker, Inspector, Protocol):
    """The two sides in one class, as every shipped broker offers them."""


@runtime_checkable
class Copied(Protocol):
    """The methods that a broker has beside the promises of all when it keeps its jobs in one file."""

    def back_up(self, to: Path, replace: bool = False) -> int:
        """Copy the jobs as they stand at one moment to a private file, while others go on; return how many there are.

        Afterwards the copy is there whole, or not at all. Raises ``ConfigError`` when the target does not fit, or is there
        already and not to be replaced.
        """
        ...
