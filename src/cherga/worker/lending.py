"""Jobs that wait for jobs: their slots are lent meanwhile, and a wait that could never end is refused."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol
from uuid import UUID

from cherga.client.context import Context, current
from cherga.client.handle import Job
from cherga.client.waiting import OUTSIDE, Stopped, Wait
from cherga.doors.broker import FullBroker
from cherga.rules.limits import limit_names
from cherga.words.errors import NoCurrentJob, WouldDeadlock
from cherga.words.inspection import JobFilter
from cherga.words.job import JobRow, JobState
from cherga.words.push import GROUP_TASK
from cherga.worker.assignment import Assignment, Running

FARTHEST = 100
"""Jobs that are looked at for a circle."""


class Lender(Protocol):
    """A runner whose slots can be lent."""

    def lend(self) -> bool:
        """Let one job more run, for one waits; False when everything that can be lent is."""
        ...

    def reclaim(self) -> None:
        """The job that waited goes on: one job less may be started."""
        ...

    def is_here(self) -> bool:
        """True when the caller holds up every other job of the runner."""
        ...


class Lending:
    """Serves the waits of one engine's jobs."""

    def __init__(self, broker: Callable[[], FullBroker], running: Running, threads: Lender, loop: Lender) -> None:
        self._broker = broker
        self._running = running
        self._threads = threads
        self._loop = loop
        self._lock = threading.Lock()
        self._waits: dict[UUID, Counter[UUID]] = {}
        """For which jobs the jobs of this process wait, and how often."""

    def on_loop(self) -> bool:
        """See ``Waits``."""
        return self._loop.is_here()

    @contextmanager
    def begin(self, job: Job[Any]) -> Iterator[Wait]:
        """See ``Waits``."""
        try:
            context = current()
        except NoCurrentJob:
            yield OUTSIDE
            return

        # Noted first: of two jobs that begin to wait for each other, one at least sees the other.
        with self._noted(context, job.id):
            yield LendingWait(self, context, job)

    def check(self, context: Context, job: Job[Any]) -> None:
        """Raise ``WouldDeadlock`` when this job would wait for that one without end. Asks the broker."""
        self._refuse_held_limits(context, self._refuse_circles(context, job))

    # --- slots

    @contextmanager
    def lent(self, context: Context, wake: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """See ``Wait``."""
        with context.waking(wake), self._lent(context):
            yield lambda: _go_on(context)

    @contextmanager
    def _lent(self, context: Context) -> Iterator[None]:
        """A job lends its slot once, however many jobs it waits for."""
        lender = self._lender(self._running.find(context.job.token), self._waits[context.job_id].total())

        if lender is None:
            yield
            return

        if not lender.lend():
            raise WouldDeadlock(
                f"job {context.job_id} ({context.task_name}) would wait for a job that may never run here: too many jobs of "
                "this worker wait already; use more workers, or let jobs follow each other with using(after=…)"
            )

        try:
            yield
        finally:
            lender.reclaim()

    def _lender(self, assignment: Assignment | None, waits: int) -> Lender | None:
        if assignment is None or waits > 1:
            return None

        if not assignment.task.is_async:
            return self._threads

        return self._loop if self._loop.is_here() else None

    @contextmanager
    def _noted(self, context: Context, target: UUID) -> Iterator[None]:
        with self._lock:
            self._waits.setdefault(context.job_id, Counter())[target] += 1

        try:
            yield
        finally:
            with self._lock:
                waits = self._waits[context.job_id]
                waits[target] -= 1

                if not waits.total():
                    del self._waits[context.job_id]

    # --- circles

    def _refuse_circles(self, context: Context, job: Job[Any]) -> list[JobRow]:
        """Follow what the job waits for, as far as that is known: waits of this process, and what stands behind what.

        Returns all jobs that have to end before this one goes on.
        """
        who = f"job {context.job_id} ({context.task_name})"

        if job.id == context.job_id:
            unique = context.job.unique_key if job.existing else None
            key = "" if unique is None else f": it holds the unique key {unique!r} itself"
            raise WouldDeadlock(f"{who} would wait for itself{key}")

        rows: dict[UUID, JobRow | None] = {job.id: job.row}
        seen: dict[UUID, JobRow | None] = {}

        while rows and len(seen) < FARTHEST:
            seen |= rows
            following = {id: row for row in rows.values() if row is not None for id in self._ahead_of(row)}

            if context.job_id in following:
                holder = following[context.job_id]
                raise WouldDeadlock(f"{who} would wait for ever: job {holder.id} ({holder.task}) {_how(holder)} this one")

            ahead = [id for id in following if id not in seen]
            rows = dict(zip(ahead, self._broker().get(ahead), strict=True)) if ahead else {}

        return [row for row in seen.values() if row is not None]

    def _refuse_held_limits(self, context: Context, targets: Sequence[JobRow]) -> None:
        """A job that may not start while this one holds its limit: nobody frees a slot when all who hold one wait."""
        to_start = [row for row in targets if not (row.state.final or row.state is JobState.RUNNING or row.task == GROUP_TASK)]

        for target in {(row.queue, row.task, row.limit_keys): row for row in to_start}.values():
            self._refuse_held_limit(context, target)

    def _refuse_held_limit(self, context: Context, target: JobRow) -> None:
        broker = self._broker()

        for use in broker.limits(limit_names(target.queue, target.task, target.limit_keys)):
            most = use.rule.max_running

            if most is not None and 0 < most <= use.running and self._all_wait(broker, use.name, most, context):
                raise WouldDeadlock(
                    f"job {context.job_id} ({context.task_name}) would wait for ever: job {target.id} ({target.task}) may not "
                    f"start while {use.name} has {use.running} of {most} running, this one among them, and all of them wait"
                )

    def _all_wait(self, broker: FullBroker, limit: str, most: int, context: Context) -> bool:
        """True when those who hold the limit, this job among them, all wait for others; as far as this process knows."""
        holders = {row.id for row in broker.find(JobFilter(states=frozenset({JobState.RUNNING}), limit=limit), most + 1)}

        with self._lock:
            return context.job_id in holders and holders <= self._waits.keys()

    def _ahead_of(self, row: JobRow) -> list[UUID]:
        """The jobs that must end before this one does."""
        if row.state is JobState.BLOCKED:
            return [each.id for each in self._broker().find(JobFilter(awaited_by=row.id, unfinished=True), FARTHEST)]

        with self._lock:
            return list(self._waits.get(row.id, ()))


class LendingWait:
    """A wait of a job of this engine."""

    def __init__(self, lending: Lending, context: Context, job: Job[Any]) -> None:
        self._lending = lending
        self._context = context
        self._job = job

    def check(self) -> None:
        """See ``Wait``."""
        self._lending.check(self._context, self._job)

    def lend(self, wake: Callable[[], None]) -> AbstractContextManager[Callable[[], None]]:
        """See ``Wait``."""
        return self._lending.lent(self._context, wake)


def _go_on(context: Context) -> None:
    if context.cancelled:
        raise Stopped


def _how(holder: JobRow) -> str:
    return "is blocked behind" if holder.state is JobState.BLOCKED else "waits for"
