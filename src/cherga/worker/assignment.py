"""A claimed job on its way through a worker process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

import msgspec

from cherga.client.context import Context
from cherga.client.task import Task
from cherga.rules.decide import Policy
from cherga.rules.reading import read_or
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobRow, JobState
from cherga.words.later import asyncio
from cherga.words.outcomes import Outcome
from cherga.words.push import JobHead

if TYPE_CHECKING:
    from cherga.worker.calls import Call

_read_head = msgspec.msgpack.Decoder(JobHead).decode

A = TypeVar("A", bound="Assignment", contravariant=True)


class Steps(Protocol[A]):
    """The steps in which an attempt of one job differs from one of a batch. The executor takes them in this order."""

    def begin(self, assignment: A, deadline: float | None, /) -> None: ...
    def feed(self, assignment: A, feed: UUID, /) -> None: ...
    def arguments(self, assignment: A, /) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    def returned(self, assignment: A, value: object, /) -> Outcome: ...
    def raised(self, assignment: A, error: BaseException, /) -> Outcome: ...
    def end(self, assignment: A, outcome: Outcome, /) -> None: ...
    def put_down(self, assignment: A, outcome: Outcome, /) -> None: ...


class Wishes:
    """The callbacks that a job asked for at its end, and the error that its attempt raised."""

    __slots__ = ("_on_failure", "_on_success", "error")

    def __init__(self, head: JobHead) -> None:
        self._on_success = head.on_success
        self._on_failure = head.on_failure
        self.error: BaseException | None = None

    def name(self, end: JobState) -> str | None:
        """The task whose function is called at this end; None: nobody is."""
        match end:
            case JobState.SUCCEEDED:
                return self._on_success
            case JobState.FAILED:
                return self._on_failure
            case _:
                return None


def wishes_of(row: JobRow) -> Wishes:
    """The options that a stored job asked for; none when its head cannot be read."""
    return Wishes(read_or(_read_head, row.head or None, JobHead()))


class Assignment:
    """A job with what is needed to run it. Whoever takes it out of ``Running`` settles it, and nobody else."""

    __slots__ = (
        "context",
        "coroutine",
        "deadline",
        "ended",
        "feed",
        "job",
        "policy",
        "session",
        "should_retry",
        "slot",
        "started",
        "steps",
        "task",
        "told",
        "verdict",
        "wishes",
    )

    steps: Steps[Any]
    """The way it is run; given by the executor."""

    def __init__(self, job: ClaimedJob, task: Task[..., object], policy: Policy, wishes: Wishes | None = None) -> None:
        self.job = job
        self.task = task
        self.policy = policy
        self.context: Context | None = None
        self.coroutine: asyncio.Task[None] | None = None
        self.slot = -1
        self.session = ""
        """For which it was claimed."""
        self.feed: UUID | None = None
        """The job whose result it is given."""
        self.started = 0.0
        self.deadline = float("inf")
        """On the monotonic clock."""
        self.told = False
        """Its failure is in the log."""
        self.ended = False
        """Its function has returned or raised."""
        self.should_retry: Callable[[BaseException], bool] | None = None
        """The task's own executor, where it has one, on whether another attempt may help."""
        self.verdict: Outcome | None = None
        """The outcome of the attempt, whatever the function still does: set by a time-out or a cancellation."""
        self.wishes = wishes
        """The callbacks that the job asked for at its end."""

    @property
    def jobs(self) -> Sequence[ClaimedJob]:
        """The jobs that it stands for."""
        return (self.job,)

    def once(self) -> Collection[int]:
        """Tokens of those that must not run twice, where its policy says that there are any."""
        return (self.job.token,)

    def undecided(self) -> Sequence[Assignment]:
        """The jobs that end as the call does."""
        return (self,)


class Running:
    """The assignments whose user code runs, by claim token. Safe from any thread: each step is one dict operation."""

    def __init__(self) -> None:
        self._by_token: dict[int, Assignment] = {}
        self.calls: dict[int, Call] = {}
        """The calls that run many jobs, by their own tokens."""

    def add(self, assignment: Assignment) -> None:
        self._by_token[assignment.job.token] = assignment

    def take(self, assignment: Assignment) -> bool:
        """True when the caller is the one who settles it: true once."""
        return self._by_token.pop(assignment.job.token, None) is not None

    def find(self, token: int) -> Assignment | None:
        return self._by_token.get(token)

    def call_of(self, token: int) -> Call | None:
        """The call that runs the job with this token among others."""
        return next((call for call in list(self.calls.values()) if token in call.open), None)

    def all(self) -> list[Assignment]:
        return list(self._by_token.values())

    def __len__(self) -> int:
        return len(self._by_token)
