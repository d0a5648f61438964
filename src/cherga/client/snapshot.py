"""Snapshots: a stored job as it stood when it was last read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from cherga.rules.codec import decode
from cherga.rules.newcomers import make_row, read_times
from cherga.rules.progress import read_progress
from cherga.rules.reading import read_or
from cherga.words.clock import moment
from cherga.words.departure import HandleState
from cherga.words.job import Attempt, JobError, JobRow, JobState, Progress, Reason
from cherga.words.push import JobHead, NewJob

V = TypeVar("V")
D = TypeVar("D")

_decode_head = msgspec.msgpack.Decoder(JobHead).decode
_decode_attempts = msgspec.msgpack.Decoder(list[Attempt]).decode


class AsPushed(Struct, frozen=True, gc=False):
    """The row of a job as far as its sender knows it, without asking the broker: few who enqueue look at more than the id."""

    job: NewJob
    id: UUID
    state: JobState
    now: float

    @property
    def task(self) -> str:
        return self.job.task

    def make_row(self) -> JobRow:
        """The row itself."""
        return make_row(self.job, self.id, self.state, read_times(self.job, self.now), self.now, len(self.job.edges))


class Snapshot:
    """A row, readable; what is packed is unpacked at the first look."""

    __slots__ = ("_head", "_meta", "_shown")

    def __init__(self, row: JobRow | AsPushed) -> None:
        self._show(row)

    def _show(self, row: JobRow | AsPushed) -> None:
        """Show this row from now on."""
        self._shown = row
        self._head: JobHead | None = None
        self._meta: dict[str, Any] | None = None

    @property
    def row(self) -> JobRow:
        """The stored row."""
        if isinstance(self._shown, AsPushed):
            self._shown = self._shown.make_row()

        return self._shown

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self._shown.id

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self._shown.task

    @property
    def queue(self) -> str:
        """The queue it is in."""
        return self.row.queue

    @property
    def priority(self) -> int:
        """Its priority; higher runs first."""
        return self.row.priority

    @property
    def status(self) -> JobState | HandleState:
        """The state at the last look; ``refresh`` looks again. ``held`` while the job waits for its transaction to commit."""
        return self.row.state

    @property
    def reason(self) -> Reason | None:
        """The reason why the job is in its state, where the state alone does not say."""
        return self.row.reason

    @property
    def message(self) -> str | None:
        """The message that was given when the job was cancelled."""
        return self.row.message

    @property
    def owner(self) -> str | None:
        """The job's owner, such as ``"user:7"``."""
        return self.row.owner

    @property
    def description(self) -> str | None:
        """Its description, for people."""
        return self.head.description

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return self.head.tags

    @property
    def parent(self) -> UUID | None:
        """The id of the job inside which this one was enqueued, or of the group that it belongs to; it need not be kept."""
        return self.row.parent

    @property
    def root(self) -> UUID:
        """The id of the first job of the family: its own when nobody is its parent."""
        return self.head.root or self.row.parent or self.id

    @property
    def attempt(self) -> int:
        """Attempts counted so far."""
        return self.row.attempt

    @property
    def crashes(self) -> int:
        """Times that the process died under it."""
        return self.row.crashes

    @property
    def interruptions(self) -> int:
        """Times that a deploy or a stop ended an attempt."""
        return self.row.interruptions

    @property
    def enqueued_at(self) -> datetime | None:
        """The time of the enqueue."""
        return moment(self.row.enqueued_at)

    @property
    def run_at(self) -> datetime | None:
        """The time when it may run, for one that is scheduled."""
        return moment(self.row.run_at)

    @property
    def started_at(self) -> datetime | None:
        """The time when the last attempt started."""
        return moment(self.row.started_at)

    @property
    def finished_at(self) -> datetime | None:
        """The time when it became final."""
        return moment(self.row.finished_at)

    @property
    def expires_at(self) -> datetime | None:
        """The time when it ends as cancelled if it has not begun."""
        return moment(self.row.expires_at)

    @property
    def head(self) -> JobHead:
        """The values that were set at enqueue and that no query needs."""
        if self._head is None:
            self._head = _read(_decode_head, self.row.head, JobHead())

        return self._head

    @property
    def progress(self) -> Progress | None:
        """The progress that the job told last; None before it told any."""
        return read_progress(self.row.progress)

    @property
    def meta(self) -> dict[str, Any]:
        """The values that the job told about itself with ``ctx.meta``, else those given with it at enqueue."""
        if self._meta is None:
            meta: Any = _read(decode, self.row.meta or self.head.meta, None)
            self._meta = meta if isinstance(meta, dict) else {}

        return self._meta

    @property
    def attempts(self) -> list[Attempt]:
        """The last ten attempts that are over, oldest first, with worker, times and error."""
        kept = self._kept_attempts()
        return [*kept, last] if (last := _last_attempt(self.row)) else kept

    @property
    def error(self) -> JobError | None:
        """The error of the last attempt that failed."""
        kept = self._kept_attempts()
        return kept[-1].error if kept and self.row.state is not JobState.SUCCEEDED else None

    @property
    def arguments(self) -> Any:
        """The stored arguments as plain data: by name, or ``[args, kwargs]`` from a sender that knew no signature."""
        return _read(decode, self.row.payload, None)

    def _kept_attempts(self) -> list[Attempt]:
        return _read(_decode_attempts, self.row.attempts, None) or []


def _read(read: Callable[[bytes], V], data: bytes | None, default: D) -> V | D:
    """A packed column, or the default where it is empty or cannot be read: a handle shows, it does not judge."""
    return read_or(read, data, default)


def _last_attempt(row: JobRow) -> Attempt | None:
    """The attempt that succeeded, which the row tells without a history entry."""
    if row.state is not JobState.SUCCEEDED or row.started_at is None or row.finished_at is None:
        return None

    return Attempt(row.attempt, worker_of(row.session), row.started_at, row.finished_at)


def worker_of(session: str | None) -> str:
    """The worker's name, which a session's id begins with."""
    return (session or "").rpartition(".")[0]
