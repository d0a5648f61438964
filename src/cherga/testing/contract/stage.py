"""The stage on which cases are written: a store, a worker session, and time that moves when told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID, uuid4

from msgspec.structs import replace

from cherga.doors.broker import FullBroker, JobListener, Listener
from cherga.rules.settings import BrokerSettings
from cherga.testing.contract.harness import BrokerHarness
from cherga.words.claim import ClaimAnswer, ClaimedJob, ClaimWish
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.push import Edge, EdgePolicy, NewJob, PushAnswer
from cherga.words.session import Death, SessionInfo
from cherga.words.settlement import Settled, Settlement

T = TypeVar("T")

TASKS = frozenset({"export", "mail", "shrink"})
"""The tasks that the workers of the suite know."""

SETTINGS = BrokerSettings(namespace="contract")

SOON = 5.0
"""Seconds that a wake-up may take at most before a case fails; usually it is milliseconds."""


class Stage:
    """A store, seen through one broker, with the verbs that the cases need."""

    def __init__(self, harness: BrokerHarness) -> None:
        self.harness = harness
        self._offset = 0.0
        self._brokers: list[FullBroker] = []
        self.broker = self.connect()
        self.broker.reap()  # the store is being swept from here on

    def connect(self, **settings: Any) -> FullBroker:
        """A further connection to the same store, with these settings changed."""
        broker = self.harness.connect(replace(SETTINGS, **settings))
        broker.open()
        broker.time_offset = self._offset
        self._brokers.append(broker)
        return broker

    def close(self) -> None:
        """Close every connection."""
        for broker in self._brokers:
            broker.close()

    # --- time

    def pass_time(self, seconds: float) -> None:
        """Move the clock of every connection."""
        self._offset += seconds

        for broker in self._brokers:
            broker.time_offset = self._offset

    def sweep_past_the_lease(self) -> list[UUID]:
        """Let a lease and a little more pass while somebody sweeps; return the jobs that were freed."""
        freed: list[UUID] = []

        for _ in range(int(SETTINGS.lease / SETTINGS.sweep) + 2):
            self.pass_time(SETTINGS.sweep)
            freed += self.broker.reap()

        return freed

    def tidy(self) -> None:
        """Promote until nothing moves any more."""
        for _ in range(1000):
            if not self.broker.promote().count:
                return

        raise AssertionError("promote went on moving jobs for 1,000 calls")

    # --- jobs

    def push(self, *group: NewJob) -> PushAnswer:
        """Push one group that must not be refused."""
        (answer,) = self.broker.push([group])
        assert answer.refused is None, answer.refused
        return answer

    def push_each(self, *jobs: NewJob) -> None:
        """Push every job as a group of its own, in one call."""
        assert not [answer.refused for answer in self.broker.push([[job] for job in jobs]) if answer.refused]

    def pushed(self, **fields: Any) -> NewJob:
        """Push one new job and return it."""
        job = new_job(**fields)
        self.push(job)
        return job

    def row(self, job: NewJob | ClaimedJob | UUID) -> JobRow:
        """The job as it is kept; it must be."""
        id = job if isinstance(job, UUID) else job.id
        (row,) = self.broker.get([id])
        assert row is not None, f"job {id} is not kept"
        return row

    def state(self, job: NewJob | ClaimedJob | UUID) -> JobState:
        """The state of the job."""
        return self.row(job).state

    def states(self, jobs: Sequence[NewJob]) -> list[JobState]:
        """The states of these jobs; all must be kept."""
        rows = self.broker.get([job.id for job in jobs])
        assert None not in rows
        return [row.state for row in rows if row]

    def is_kept(self, job: NewJob | ClaimedJob) -> bool:
        """True when the broker still has the job."""
        return self.broker.get([job.id]) != [None]

    # --- work

    def register(self, session: str = "worker.1") -> str:
        """Start or renew a session."""
        self.broker.register(session_info(session))
        return session

    def ask(self, limit: int = 1000, *, session: str = "worker.1", tasks: frozenset[str] = TASKS, **wish: Any) -> ClaimAnswer:
        """Claim for a session that is renewed first."""
        self.register(session)
        return self.broker.claim(ClaimWish(session=session, limit=limit, tasks=tasks, **wish))

    def claim(self, limit: int = 1000, **wish: Any) -> list[ClaimedJob]:
        """The jobs that ``ask`` gave."""
        return self.ask(limit, **wish).jobs

    def claim_one(self, **wish: Any) -> ClaimedJob:
        """Claim the only ready job."""
        (job,) = self.claim(**wish)
        return job

    def started(self, **fields: Any) -> ClaimedJob:
        """Push a new job into an empty store and claim it."""
        self.pushed(**fields)
        return self.claim_one()

    def write(self, job: ClaimedJob, to: JobState = JobState.SUCCEEDED, **fields: Any) -> None:
        """Settle an attempt; it must be accepted."""
        assert self.broker.settle([settlement(job, to, **fields)]) == [Settled.WRITTEN]

    def ended(self, to: JobState = JobState.SUCCEEDED, **fields: Any) -> ClaimedJob:
        """Push a new job into an empty store, claim it and write this end."""
        job = self.started()
        self.write(job, to, **fields)
        return job

    @contextmanager
    def following(self, *ids: UUID) -> Iterator[JobListener]:
        """A listener that follows these jobs and has told all that happened before."""
        with self.broker.listen_to_jobs() as listener:
            listener.add(ids)
            hush(listener)
            listener.changed()
            yield listener

    def crash(self, session: str = "worker.1") -> list[UUID]:
        """Report that a session died with everything it ran begun; return the jobs that were freed."""
        return self.broker.reap([Death(session)])

    def make_suspect(self, **fields: Any) -> NewJob:
        """Push a new job into an empty store and let it crash once."""
        job = self.pushed(**fields)
        self.claim_one()
        self.crash()
        return job


def new_job(task: str = "export", **fields: Any) -> NewJob:
    """A new job under a random id: no index has it in the order of pushing."""
    return NewJob(**{"id": uuid4(), "task": task, "payload": b"\x90", **fields})


def new_jobs(count: int, **fields: Any) -> list[NewJob]:
    """So many new jobs."""
    return [new_job(**fields) for _ in range(count)]


def after(*parents: NewJob | ClaimedJob, policy: EdgePolicy = EdgePolicy.SUCCEEDED, **fields: Any) -> NewJob:
    """A new job that waits for these."""
    return new_job(edges=tuple(Edge(parent.id, policy) for parent in parents), **fields)


def settlement(job: ClaimedJob, to: JobState = JobState.SUCCEEDED, **fields: Any) -> Settlement:
    """The settlement that a worker writes about its attempt."""
    if to in (JobState.FAILED, JobState.CANCELLED):
        fields.setdefault("reason", Reason.ERROR if to is JobState.FAILED else Reason.ASKED)

    return Settlement(job.id, job.sequence, job.token, to, **fields)


def session_info(id: str, **fields: Any) -> SessionInfo:
    """A session as a worker of the suite registers it."""
    return SessionInfo(id=id, worker=id.rpartition(".")[0], host="host", pid=1, **fields)


def ids(jobs: Sequence[NewJob | ClaimedJob | JobRow]) -> list[UUID]:
    """Their ids, in order."""
    return [job.id for job in jobs]


def together(*calls: Callable[[], T]) -> list[T]:
    """Make the calls at the same instant, each in a thread of its own; return what they gave, in order."""
    start = threading.Barrier(len(calls), timeout=SOON)

    def run(call: Callable[[], T]) -> T:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=30) for future in [pool.submit(run, call) for call in calls]]


def hush(listener: Listener) -> None:
    """Wait until the listener has told all that happened before."""
    for _ in range(100):
        if not listener.wait(0.02):
            return

    raise AssertionError("expected a listener in a quiet store to stop waking, and it woke 100 times")
