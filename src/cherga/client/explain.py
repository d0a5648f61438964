"""Why a job is not running: the facts, gathered from its broker, and the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from cherga.doors.broker import FullBroker
from cherga.rules.limits import limit_names
from cherga.rules.obstacles import JOBS_NAMED, Facts, Obstacle, find_obstacles, tell_when
from cherga.words.clock import Clock
from cherga.words.job import JobFilter, JobHead, JobRow, JobState, OnConflict
from cherga.words.limits import LimitUse

PAGE = 100


class ExplainSource(Protocol):
    """What an explanation needs of the application."""

    @property
    def broker(self) -> FullBroker: ...
    @property
    def clock(self) -> Clock: ...


class Explanation(Struct, frozen=True):
    """Why a job is not running, as it was when it was asked. As text it is a few lines for people."""

    job: UUID
    task: str
    state: JobState
    runs_when: str
    """One sentence: what it takes until it runs, or that it does, or how it ended."""
    obstacles: tuple[Obstacle, ...] = ()
    """What stands in its way; empty when it can start as soon as a slot is free, and for one that runs or has ended."""

    def __str__(self) -> str:
        lines = [f"{self.task} is {self.state}: {self.runs_when}", *(f"- {obstacle.text}" for obstacle in self.obstacles)]
        return "\n".join(lines)


def explain(source: ExplainSource, row: JobRow, head: JobHead, worker: str, error: str | None) -> Explanation:
    """The explanation for a job that was just read."""
    facts = collect(source.broker, source.clock.now(), row, head)
    obstacles = find_obstacles(facts)
    return Explanation(row.id, row.task, row.state, tell_when(facts, obstacles, worker, error), obstacles)


def collect(broker: FullBroker, now: float, row: JobRow, head: JobHead) -> Facts:
    """Ask the broker for what may stand in the way of a job in this state, and for nothing else."""
    if row.state.final:
        return Facts(row=row, now=now)

    workers = broker.workers()

    if row.state is JobState.RUNNING:
        return Facts(row=row, now=now, workers=workers)

    limits = broker.limits(limit_names(row.queue, row.task, row.limit_keys)) if row.state is JobState.READY else []

    return Facts(
        row=row,
        now=now,
        workers=workers,
        paused=broker.paused(),
        limits=limits,
        running={use.name: _running_under(broker, use) for use in limits if _reached(use)},
        upstream=_unfinished(broker, head.after) if row.state is JobState.BLOCKED else (),
        holder=_running_holder(broker, row) if row.state is JobState.BLOCKED else None,
        ready=_others_ready(broker, row) if row.state is JobState.READY else 0,
    )


def _reached(use: LimitUse) -> bool:
    return use.rule.max_running is not None and 0 < use.rule.max_running <= use.running


def _running_under(broker: FullBroker, use: LimitUse) -> list[JobRow]:
    return broker.find(JobFilter(limit=use.name, states=frozenset({JobState.RUNNING})), JOBS_NAMED)


def _unfinished(broker: FullBroker, ids: Sequence[UUID]) -> list[JobRow]:
    return [row for row in broker.get(ids) if row is not None and not row.state.final] if ids else []


def _running_holder(broker: FullBroker, row: JobRow) -> JobRow | None:
    """The job that a successor waits for. It stands in no head: who enqueued the successor did not know it."""
    if row.unique is None or row.unique.conflict is not OnConflict.LATEST:
        return None

    key = row.unique.key
    return next((one for one in _running(broker, row.task) if one.unique is not None and one.unique.key == key), None)


def _running(broker: FullBroker, task: str) -> Iterator[JobRow]:
    where, before = JobFilter(task=task, states=frozenset({JobState.RUNNING})), None

    while page := broker.find(where, PAGE, before):
        yield from page
        before = page[-1].sequence


def _others_ready(broker: FullBroker, row: JobRow) -> int:
    ready = sum(one.count for one in broker.counts() if one.queue == row.queue and one.state is JobState.READY)
    return max(0, ready - 1)
