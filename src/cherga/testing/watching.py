"""An executor that remembers what became of its jobs, for the test that runs them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

from cherga.words.errors import JobFailed
from cherga.words.job import JobError, JobState, Reason
from cherga.words.settlement import Charge, Settlement
from cherga.worker.assignment import Assignment
from cherga.worker.executor import Executor

JOBS_OWN = (Exception, SystemExit, asyncio.CancelledError)
"""Errors that end a job and nothing else. The rest is meant for the test: an interrupt, ``pytest.fail``, its time-out."""


class WatchedExecutor(Executor):
    """Runs jobs as in a worker, without jitter between attempts."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.one.chance = lambda: 0.5
        self._keep_error, self.one.tell_raised = self.one.tell_raised, self._note_raised
        self.one.tell_end = self._note_end
        self.ends: Counter[str] = Counter()
        """The number of attempts that ended each way, by the names of ``Drained``."""
        self.failures: dict[UUID, JobFailed] = {}
        """The jobs that have failed, in order, each with the error that was raised as its cause."""
        self.escaped: BaseException | None = None
        """The error that was raised in a job and is meant for the test."""
        self._raised_last: dict[UUID, BaseException] = {}

    def _note_raised(self, assignment: Assignment, error: BaseException) -> None:
        if isinstance(error, JOBS_OWN):
            self._raised_last.update((each.job.id, error) for each in assignment.undecided())
        else:
            self.escaped = error

        self._keep_error(assignment, error)

    def _note_end(self, assignment: Assignment, settlement: Settlement) -> None:
        cause = self._raised_last.pop(settlement.id, None)

        if assignment.context is not None or settlement.to.final:  # else it never began
            self.ends[_name_of(settlement)] += 1

        if settlement.to is JobState.FAILED:
            failure = self.failures[settlement.id] = _failure(settlement)
            failure.__cause__ = cause

        self.telling.end(assignment, settlement)


def _name_of(settlement: Settlement) -> str:
    if settlement.to.final:
        return settlement.to.value

    return "retried" if settlement.charge is Charge.ATTEMPT else "snoozed"


def _failure(settlement: Settlement) -> JobFailed:
    error = (settlement.attempt and settlement.attempt.error) or JobError("Failed", settlement.message or "")
    return JobFailed(settlement.id, settlement.reason or Reason.ERROR, error.type, error.message, error.traceback)
