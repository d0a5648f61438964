"""The job row and the values around it.

Times are seconds since 1970 in UTC by the broker's clock; durations are seconds. What a job does not use costs it nothing:
the columns that every claim and list needs are fields of their own, everything else stands in one packed, sparse ``JobHead``.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from uuid import UUID

from msgspec import Struct


class JobState(StrEnum):
    """Where a job stands. The legal moves are in ``cherga.rules.lifecycle``."""

    SCHEDULED = "scheduled"
    READY = "ready"
    BLOCKED = "blocked"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing but a person can move the job on from here."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
"""States that a job leaves only when a person retries it."""


class Reason(StrEnum):
    """Why a job stands where it stands, where the state alone does not say."""

    ERROR = "error"
    TIMEOUT = "timeout"
    POISON = "poison"
    EXPIRED = "expired"
    UPSTREAM = "upstream"
    MALFORMED = "malformed"
    INVALID_ARGUMENTS = "invalid_arguments"
    ASKED = "asked"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    DROPPED = "dropped"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"


class UniqueWhile(StrEnum):
    """How long a job holds its unique key."""

    UNFINISHED = "unfinished"
    QUEUED = "queued"
    PERIOD = "period"


class OnConflict(StrEnum):
    """What an enqueue does that finds its unique key taken."""

    EXISTING = "existing"
    """Nothing is stored; the holder is answered, marked."""
    REFUSE = "refuse"
    """The group is refused."""
    REPLACE = "replace"
    """A holder that has not been handed out takes over everything from the new job but its id, its place in the order of
    pushes and whom it waits for; its attempts start again from 0. One that runs, or has ended, is answered as it is."""
    LATEST = "latest"
    """The same, but behind a holder that runs the job is stored, blocked until that one has ended: once more with the
    newest arguments. There is one such successor at most; the next push finds it as the holder that waits."""


class Unique(Struct, frozen=True, omit_defaults=True, array_like=True):
    """At most one job holds ``key`` for as long as ``hold`` says; ``period`` is in seconds, for ``PERIOD`` alone."""

    key: str
    hold: UniqueWhile = UniqueWhile.UNFINISHED
    period: float | None = None
    conflict: OnConflict = OnConflict.EXISTING


class EdgePolicy(StrEnum):
    """What an end of the job waited for means for the job that waits."""

    SUCCEEDED = "succeeded"
    """Released by success; cancelled (reason ``upstream``) by anything else."""
    ENDED = "ended"
    """Released by any end."""
    TOGETHER = "together"
    """As ``succeeded``, and anything else also cancels every unfinished child of the job that waits."""


class Edge(Struct, frozen=True, array_like=True):
    """The job waits for ``parent``."""

    parent: UUID
    policy: EdgePolicy = EdgePolicy.SUCCEEDED


class OnCrash(StrEnum):
    """What becomes of a job whose process died, or that a deploy interrupted."""

    RETRY = "retry"
    FAIL = "fail"


class Overrides(Struct, frozen=True, omit_defaults=True):
    """Task options that ``using(...)`` set for this one job. ``None`` leaves what the code says."""

    retry: int | None = None
    max_time: float | None = None
    """Seconds; 0 stands for "no limit"."""
    result_ttl: float | None = None
    failure_ttl: float | None = None
    on_crash: OnCrash | None = None


class JobHead(Struct, frozen=True, omit_defaults=True):
    """The part of a job that is set at enqueue, that no query needs, and that most jobs do not use."""

    description: str | None = None
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    """Trace, locale, tenant: what client middleware sends along."""
    root: UUID | None = None
    """The first job of the family; None for that itself."""
    after: tuple[UUID, ...] = ()
    """The jobs that its edges name, the first hundred at most: for whoever asks what it waits for."""
    feed: UUID | None = None
    """The job whose result becomes the first argument; for a group, the list of its members' results."""
    member: int | None = None
    """Its place among the members of its parent, which is a group."""
    keys: dict[int, str] = {}
    """Unique keys of the jobs whose results it is given: of its members by their places, or of ``feed`` under 0. A job that
    held such a key stands in for the one that was not stored."""
    schedule: str | None = None
    tick: float | None = None
    codec: int = 1
    key_id: str | None = None
    signature: bytes | None = None
    overrides: Overrides | None = None
    meta: bytes | None = None
    """Packed metadata to begin with."""
    on_success: str | None = None
    """The name of the task whose function is called when the job has succeeded."""
    on_failure: str | None = None


class NewJob(Struct, frozen=True, kw_only=True):
    """What a client pushes. Its state follows: open edges make it blocked, a later time scheduled, else it is ready."""

    id: UUID
    task: str
    payload: bytes
    queue: str = "default"
    priority: int = 0
    delay: float | None = None
    """Seconds from the broker's now; the broker adds its own clock."""
    run_at: float | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    owner: str | None = None
    unique: Unique | None = None
    edges: tuple[Edge, ...] = ()
    limit_keys: tuple[str, ...] = ()
    """Limits that this job counts for, beside those of its task and its queue; see ``cherga.words.limits``."""
    parent: UUID | None = None
    """The job that asked for this one, or the group it is a member of; it need not be kept."""
    head: bytes | None = None
    """A packed ``JobHead``, or None when the job uses none of it."""


class PushedJob(Struct, frozen=True):
    """What became of one job of a push: its own id, or that of the job that holds its unique key."""

    id: UUID
    state: JobState
    existing: bool = False


class PushAnswer(Struct, frozen=True):
    """One answer for one group: every job stored or held by another (``jobs``), or nothing stored (``refused`` says why)."""

    jobs: tuple[PushedJob, ...] = ()
    refused: str | None = None


class JobError(Struct, frozen=True, array_like=True):
    """A remote error as text. It is shown, never rebuilt."""

    type: str
    message: str
    traceback: str = ""


class Attempt(Struct, frozen=True, array_like=True):
    """One try at a job, as kept in its history (the last ten)."""

    number: int
    worker: str
    started_at: float
    finished_at: float
    reason: Reason | None = None
    """None for the attempt that succeeded."""
    error: JobError | None = None


ATTEMPTS_KEPT = 10

GROUP_TASK = "cherga.group"
"""A job of this task needs no worker: it has succeeded once it is released. Groups without a callback are such jobs."""


class Progress(Struct, frozen=True, array_like=True):
    """How far a job is. ``total`` None means that nobody knows the end."""

    done: float
    total: float | None = None
    note: str = ""

    @property
    def percent(self) -> float | None:
        """0.0 to 100.0, or None while the total is unknown."""
        if not self.total or self.total <= 0:
            return None
        return min(100.0, max(0.0, 100.0 * self.done / self.total))


class JobRow(Struct, frozen=True, kw_only=True):
    """Everything that is kept about a job, as ``get`` and ``find`` return it."""

    id: UUID
    sequence: int
    task: str
    queue: str
    priority: int
    state: JobState
    reason: Reason | None = None
    owner: str | None = None
    payload: bytes = b""
    head: bytes | None = None
    unique: Unique | None = None
    limit_keys: tuple[str, ...] = ()
    parent: UUID | None = None
    pending: int = 0
    """Edges not yet released."""
    attempt: int = 0
    claims: int = 0
    """Never goes back; the number to hand to outside systems as a fence."""
    crashes: int = 0
    interruptions: int = 0
    session: str | None = None
    token: int | None = None
    cancel_requested: bool = False
    enqueued_at: float = 0.0
    run_at: float | None = None
    ready_at: float | None = None
    first_started_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    prune_at: float | None = None
    position: int = 0
    """Counts the changes of the live stream; see ``Broker.follow``."""
    progress: bytes | None = None
    meta: bytes | None = None
    result: bytes | None = None
    message: str | None = None
    """The words of whoever cancelled the job, or why it failed without an attempt."""
    attempts: bytes | None = None
    """A packed list of ``Attempt``, oldest first."""


class ClaimedJob(Struct, frozen=True, gc=False):
    """What a worker needs to run one attempt. ``token`` proves that the attempt is its own."""

    id: UUID
    sequence: int
    token: int
    task: str
    queue: str
    priority: int
    payload: bytes
    head: bytes | None
    attempt: int
    claims: int
    crashes: int
    interruptions: int
    enqueued_at: float
    started_at: float
    owner: str | None
    unique_key: str | None
    meta: bytes | None


class ClaimWish(Struct, frozen=True, kw_only=True):
    """What a worker would take."""

    session: str
    limit: int
    tasks: frozenset[str]
    """The names this worker can run; jobs of other tasks stay where they are."""
    queues: tuple[str, ...] = ()
    """Empty means every queue."""
    weights: tuple[int, ...] = ()
    """Empty means strict order of ``queues``; else one weight a queue, the share of the limit that it gets."""
    alone: bool = False
    """The worker process runs nothing: it may take one suspect (a job whose process has died before)."""


class ClaimAnswer(Struct, frozen=True):
    """What a claim gave. The jobs are ordered by queue (where the order is strict), priority, sequence."""

    jobs: list[ClaimedJob]
    suspects: bool = False
    """A suspect waits for a worker process that runs nothing."""
    unknown: frozenset[str] = frozenset()
    """Names of tasks with ready jobs in these queues that the worker does not know."""
    again_in: float | None = None
    """Seconds until a rate lets another ready job of the wish go; None when no rate holds one up."""


class Charge(IntEnum):
    """What an attempt costs the job."""

    ATTEMPT = 0
    """It counts."""
    REFUND = 1
    """It does not count: it never started, or was put off on purpose."""
    INTERRUPTION = 2
    """It does not count as an attempt, but as an interruption."""
    CRASH = 3
    """It counts as a crash."""


class Settlement(Struct, frozen=True, gc=False):
    """What the worker writes about one attempt. Refused unless ``token`` is the current one."""

    id: UUID
    sequence: int
    token: int
    to: JobState
    reason: Reason | None = None
    charge: Charge = Charge.ATTEMPT
    delay: float | None = None
    """Seconds from the broker's now, for ``to`` = scheduled."""
    result: bytes | None = None
    message: str | None = None
    attempt: Attempt | None = None
    """Added to the history."""
    progress: bytes | None = None
    meta: bytes | None = None
    """Last values, when they changed since the last report."""
    keep: float = 86400.0
    """Seconds to keep the job once it is final; 0 deletes it in this write."""
    children: tuple[tuple[NewJob, ...], ...] = ()
    """Groups to push in the same write, dropped when the settlement is refused."""


class Settled(IntEnum):
    """The broker's answer to one settlement."""

    WRITTEN = 0
    """Written now, or before under the same token (a repeated call after a lost reply)."""
    REFUSED = 1
    """Another claim, a person or the reaper was there first; nothing was changed."""


class EventKind(StrEnum):
    """What can stand in a job's live stream beside progress and meta, which only ever keep their last value."""

    LOG = "log"
    VALUE = "value"


class LiveEvent(Struct, frozen=True, array_like=True):
    """A log line or a stream value at its position."""

    position: int
    kind: EventKind
    data: bytes


class Report(Struct, frozen=True):
    """What a running job tells. Refused unless ``token`` is the current one."""

    id: UUID
    sequence: int
    token: int
    progress: bytes | None = None
    meta: bytes | None = None
    events: tuple[tuple[EventKind, bytes], ...] = ()


EVENTS_KEPT = 1000
"""Log lines and stream values kept for one job; older ones go first."""


class Followed(Struct, frozen=True):
    """A job as it stands, and what its stream holds after the position asked for (oldest first)."""

    job: JobRow
    events: list[LiveEvent]


class SessionInfo(Struct, frozen=True, kw_only=True):
    """One life of a worker process."""

    id: str
    worker: str
    """The worker's name, as in ``--name``."""
    host: str
    pid: int
    queues: tuple[str, ...] = ()
    concurrency: int = 1
    tasks: tuple[str, ...] = ()
    """The tasks that it knew when it started."""
    release: str = ""
    started_at: float = 0.0


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """A session as ``Inspector.workers`` shows it."""

    session: SessionInfo
    expires_in: float
    """Seconds until its lease ends."""
    running: int


class Cancel(Struct, frozen=True):
    """A running job that somebody asked to cancel."""

    session: str
    id: UUID
    token: int


class Signals(Struct, frozen=True):
    """The answer to a heartbeat: sessions that are no longer known, and running jobs to cancel."""

    lost: tuple[str, ...] = ()
    cancels: tuple[Cancel, ...] = ()


class Death(Struct, frozen=True):
    """A session that ended, as its supervisor knows it.

    ``started`` holds the claim tokens under which user code had begun; None when nobody can tell, and then all are taken
    to have begun. What never began is given back uncharged, what began is charged a crash, or, when ``orderly``, an
    interruption.
    """

    session: str
    started: frozenset[int] | None = None
    orderly: bool = False


class Promoted(Struct, frozen=True):
    """How many jobs moved on, and in how many seconds the next one is due (None: none is scheduled)."""

    count: int
    next_in: float | None = None
    now: float = 0.0
    """The broker's clock, for schedules: no other clock decides about a tick."""


class JobFilter(Struct, frozen=True, kw_only=True):
    """Which jobs to look at. What is None or empty does not restrict."""

    states: frozenset[JobState] = frozenset()
    queue: str | None = None
    task: str | None = None
    owner: str | None = None
    parent: UUID | None = None
    awaited_by: UUID | None = None
    """The jobs that this one waits for; a group's also when they have ended."""
    limit: str | None = None
    """The name of a limit that the job counts for: its queue's, its task's, or one of its limit keys."""
    unfinished: bool = False


class Family(Struct, frozen=True):
    """The children of one job, taken together."""

    counts: dict[JobState, int] = {}
    """How many stand where; states without a job are left out."""
    done: float = 0.0
    """Children that have ended, and the share that is done of those that run."""

    @property
    def total(self) -> int:
        """All children that are kept."""
        return sum(self.counts.values())


class TaskCount(Struct, frozen=True):
    """So many jobs of a task stand in a queue in a state."""

    queue: str
    task: str
    state: JobState
    count: int


class PauseScope(Struct, frozen=True, order=True):
    """What is paused: a queue, a task, or a task in a queue. Nothing set means everything."""

    queue: str | None = None
    task: str | None = None
    arguments: str | None = None
    """Only jobs of that task with these arguments, as ``cherga.rules.pausing`` writes them."""


class Definition(Struct, frozen=True):
    """A declaration. ``kind`` is ``task``, ``schedule``, ``limit`` or ``override``; ``data`` is packed, empty takes it back.

    A lower ``version`` never replaces a higher one, so that old workers in a rolling deploy change nothing back; what was
    taken back keeps its version. ``stamp`` is for schedules: when it changes, or the schedule is taken back, its next due
    time is forgotten.
    """

    kind: str
    name: str
    data: bytes
    version: int = 0
    stamp: str = ""


class Shared(Struct, frozen=True):
    """A shared value and the version that a ``swap`` must name. Version 0 means that the key holds nothing."""

    value: bytes | None
    version: int
