"""Explanations: the facts about a job that does not run, gathered from its broker, and the answer."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from msgspec import Struct

from cherga.doors.broker import FullBroker
from cherga.rules.limits import limit_names
from cherga.rules.obstacles import JOBS_NAMED, Facts, Home, Obstacle, find_obstacles, tell_when
from cherga.words.clock import Clock
from cherga.words.departure import HandleState
from cherga.words.inspection import JobFilter
from cherga.words.job import JobRow, JobState
from cherga.words.limits import LimitUse

PAGE = 100
"""Jobs that it waits for, looked at."""


class ExplainSource(Protocol):
    """The parts of an application that an explanation needs."""

    @property
    def broker(self) -> FullBroker: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def home(self) -> Home: ...


class Explanation(Struct, frozen=True):
    """The reason why a job was not running when it was asked. As text it is a few lines for people."""

    job: UUID
    task: str
    state: JobState | HandleState
    runs_when: str
    """The sentence that says what it takes until the job runs, or that it runs, or how it ended."""
    obstacles: tuple[Obstacle, ...] = ()
    """The obstacles in its way; none when it can start as soon as a slot is free, and for one that runs or has ended."""

    def __str__(self) -> str:
        return "\n".join([f"{self.task} is {self.state}: {self.runs_when}", *(f"- {one}" for one in self.obstacles)])


def explain(source: ExplainSource, row: JobRow, worker: str, error: str | None) -> Explanation:
    """The explanation for a job that was just read."""
    facts = collect(source.broker, source.clock.now(), row, source.home)
    obstacles = find_obstacles(facts)
    return Explanation(row.id, row.task, row.state, tell_when(facts, obstacles, worker, error), obstacles)


def collect(broker: FullBroker, now: float, row: JobRow, home: Home) -> Facts:
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
        home=home,
        workers=workers,
        paused=broker.paused(),
        limits=limits,
        running={use.name: _running_under(broker, use) for use in limits if _reached(use)},
        upstream=_awaited_by(broker, row) if row.state is JobState.BLOCKED else (),
        ready=_others_ready(broker, row) if row.state is JobState.READY else 0,
    )


def _reached(use: LimitUse) -> bool:
    return use.rule.max_running is not None and 0 < use.rule.max_running <= use.running


def _running_under(broker: FullBroker, use: LimitUse) -> list[JobRow]:
    return broker.find(JobFilter(limit=use.name, states=frozenset({JobState.RUNNING})), JOBS_NAMED)


def _awaited_by(broker: FullBroker, row: JobRow) -> list[JobRow]:
    return broker.find(JobFilter(awaited_by=row.id, unfinished=True), PAGE)


def _others_ready(broker: FullBroker, row: JobRow) -> int:
    ready = sum(one.count for one in broker.counts() if one.queue == row.queue and one.state is JobState.READY)
    return max(0, ready - 1)
