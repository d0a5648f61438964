"""The order in which a worker tells what happens to one job."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from cherga import QueueTasks
from cherga.client.signals import Event
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState
from cherga.words.settlement import Settlement
from cherga.worker.assignment import Assignment
from cherga.worker.callbacks import Callbacks
from cherga.worker.herald import DirectHerald
from cherga.worker.telling import Telling


class Told:
    """A worker's telling whose broker answers when the test says so."""

    def __init__(self) -> None:
        self.app = QueueTasks("telling", "memory://")
        self.task = self.app.task(name="task", retry=3)(lambda: None)
        self.heard: list[str] = []
        self.answers: dict[int, Callable[[bool], None]] = {}
        callbacks = Callbacks(self.app, contextvars.Context, lambda awaited: None)
        self.telling = Telling(self.app, "anna", self.answers.__setitem__, callbacks, contextvars.Context)
        self.telling.herald = DirectHerald()
        self.app.on.started(self._hear)
        self.app.on.retried(self._hear)

    def _hear(self, event: Event) -> None:
        self.heard.append(f"{event.name} {event.attempt}")

    def start(self, attempt: int) -> None:
        self.telling.start(claimed(attempt))

    def end(self, attempt: int) -> None:
        job = claimed(attempt)
        task: Any = self.task
        assignment: Any = Assignment(job, task, task.policy)
        self.telling.end(assignment, Settlement(job.id, job.sequence, job.token, JobState.SCHEDULED))


def claimed(attempt: int) -> ClaimedJob:
    return ClaimedJob(
        UUID(int=1), 1, 100 + attempt, "task", "default", 0, b"", None, attempt, attempt, 0, 0, 0.0, 0.0, None, None, None
    )


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_next_attempt_may_be_claimed_before_the_end_of_the_last_one_is_told_and_is_told_behind_it(told: Told) -> None:
    told.start(1)
    told.end(1)
    told.start(2)
    assert told.heard == ["started 1"]

    told.answers[101](True)
    assert told.heard == ["started 1", "retried 1", "started 2"]


def test_a_start_is_told_also_when_the_end_before_was_refused(told: Told) -> None:
    told.end(1)
    told.start(2)
    told.answers[101](False)
    assert told.heard == ["started 2"]


def test_a_start_waits_for_nothing_that_was_told_already(told: Told) -> None:
    told.end(1)
    told.answers[101](True)
    told.start(2)
    assert told.heard == ["retried 1", "started 2"]
