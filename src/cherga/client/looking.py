"""Looking at stored jobs: what an application can be asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from cherga.client.departure import Departure
from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from cherga.client.ids import as_id
from cherga.client.live import Stream, Watch
from cherga.client.lookout import Lookout
from cherga.client.signals import Signals
from cherga.client.snapshot import AsPushed
from cherga.client.submit import Submitter
from cherga.client.task import Task
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.elsewhere import read_state
from cherga.rules.obstacles import Home
from cherga.rules.results import UNKNOWN, Results
from cherga.words.clock import Clock
from cherga.words.errors import ConfigError
from cherga.words.inspection import JobFilter
from cherga.words.job import JobRow, JobState
from cherga.words.push import GROUP_TASK


class Looking(ABC):
    """Gives an application the verbs that read jobs."""

    tasks: Mapping[str, Task[Any, Any]]
    aliases: Mapping[str, str]
    submitter: Submitter
    lookout: Lookout
    clock: Clock
    on: Signals
    departure: Departure | None
    handle_state = None
    """The state that handles show in place of the job's; None: what an application reads is stored."""

    @property
    @abstractmethod
    def broker(self) -> FullBroker:
        """The broker, opened at the first use."""

    @property
    @abstractmethod
    def home(self) -> Home:
        """The place of its jobs, and how a worker for them is started."""

    def get(self, id: UUID | str) -> Job[Any] | None:
        """The job of that id, None when it is not kept. Raises ``ValueError`` for a text that is no UUID."""
        known = as_id(id)

        if (held := self.held(known)) is not None:
            return held

        (row,) = self.broker.get([known])
        return None if row is None else self.handle(row)

    async def aget(self, id: UUID | str) -> Job[Any] | None:
        """The async twin of ``get``."""
        return self.held(as_id(id)) or await self.submitter.call(self.get, id)

    def held(self, id: UUID) -> Job[Any] | None:
        """The handle of a job that the caller's own unit of work holds."""
        return None if self.departure is None else self.departure.find(id)

    def jobs(
        self,
        *,
        owner: str | None = None,
        task: str | None = None,
        queue: str | None = None,
        states: Iterable[JobState | str] = (),
        unfinished: bool = False,
        limit: int = 100,
        before: Job[Any] | None = None,
    ) -> list[Job[Any]]:
        """Jobs that match, newest first; ``before`` gives the page after that job. Raises ``ConfigError``."""
        for what, given in {"owner": owner, "task": task, "queue": queue}.items():
            if given is not None:
                check.text(given, what)

        if before is not None and not isinstance(before, Job):
            raise ConfigError(f"expected before to be a job, got {check.shown(before)}")

        check.count(limit, "limit")
        named = check.texts([states] if isinstance(states, str) else states, "states")
        where = JobFilter(states=frozenset(map(read_state, named)), queue=queue, task=task, owner=owner, unfinished=unfinished)
        # A job that was just enqueued does not know its place yet.
        below = (before.row.sequence or before.refresh().row.sequence) if before else None
        return [self.handle(row) for row in self.broker.find(where, limit, below)]

    async def ajobs(self, **where: Any) -> list[Job[Any]]:
        """The async twin of ``jobs``."""
        return await self.submitter.call(self.jobs, **where)

    def watch(self, id: UUID | str, after: int = 0) -> Watch:
        """The job's live updates, for ``for`` and ``async for``; ends when the job is final. Raises ``JobHeld`` for one whose
        transaction has not committed yet.
        """
        if (held := self.held(as_id(id))) is not None:
            held.expect_stored()

        return Watch(self, id, after)

    def stream(self, id: UUID | str, after: int = 0) -> Stream:
        """The values that a job emits; see ``Job.stream``."""
        return Stream(self, as_id(id), after)

    def group_handle(self, job: Job[Any], callback: Job[Any] | None) -> GroupJob[Any]:
        """The handle on a group, from the job that waits for its members."""
        if isinstance(job, GroupJob):
            job.callback = callback
            return job

        return GroupJob(job.row, self, callback)  # another job has its id

    def handle(self, row: JobRow | AsPushed, existing: bool = False) -> Job[Any]:
        """The handle on a stored job."""
        return GroupJob(row, self, existing=existing) if row.task == GROUP_TASK else Job(row, self, existing)

    def results_of(self, task: str) -> Results:
        """The results of a task, as far as this process knows."""
        known = self.tasks.get(self.aliases.get(task, task))
        return known.results if known else UNKNOWN

    def read_result(self, task: str, data: bytes) -> Any:
        """The value that a task has returned, from its stored form."""
        return self.results_of(task).unpack(data)
