"""Attempts that are ended from outside: which of them may be settled at once, asked for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from cherga import BrokerUnavailable, QueueTasks
from cherga.brokers.memory.broker import MemoryBroker
from cherga.rules.settings import BrokerSettings
from cherga.words.claim import ClaimWish
from cherga.words.job import JobRow
from cherga.words.limits import LimitUse
from cherga.words.outcomes import Interrupted
from cherga.words.session import SessionInfo
from cherga.worker.assignment import Assignment
from cherga.worker.executor import timed_out
from cherga.worker.verdicts import settle_now
from tests.odd_brokers import AppWith


class AskedBroker(MemoryBroker):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__("memory://", BrokerSettings())
        self.asked: list[str] = []
        self.away = False

    def get(self, ids: Sequence[UUID]) -> list[JobRow | None]:
        self.asked.append("get")

        if self.away:
            raise BrokerUnavailable("away")

        return super().get(ids)

    def limits(self, names: Sequence[str]) -> list[LimitUse]:
        self.asked.append("limits")
        return super().limits(names)


@pytest.fixture
def broker() -> AskedBroker:
    return AskedBroker()


@pytest.fixture
def app(broker: AskedBroker) -> QueueTasks:
    app = AppWith(broker)
    app.task(name="plain")(lambda number: None)
    app.task(name="again", retry=3)(lambda number: None)
    app.task(name="limited", max_running=5)(lambda number: None)
    app.task(name="keyed", max_running=5, key=["number"])(lambda number: None)
    app.task(name="one", unique=True)(lambda number: None)
    app.publish()
    broker.register(SessionInfo(id="here.1", worker="here", host="host", pid=1))
    return app


def late(app: QueueTasks, *names: str) -> list[Assignment]:
    """Attempts of these tasks that are past their time."""
    for number, name in enumerate(names):
        app.tasks[name].enqueue(number)

    jobs = app.broker.claim(ClaimWish(session="here.1", limit=100, tasks=frozenset(app.tasks))).jobs
    assignments: list[Any] = [Assignment(job, app.tasks[job.task], app.tasks[job.task].policy) for job in jobs]

    for each in assignments:
        each.verdict = timed_out(each)

    return assignments


def names_of(assignments: Sequence[Assignment]) -> list[str]:
    return [each.task.name for each in assignments]


def test_many_are_judged_by_two_questions(app: QueueTasks, broker: AskedBroker) -> None:
    judged = late(app, *["plain"] * 30)
    broker.asked.clear()
    assert settle_now(broker, judged) == judged
    assert broker.asked == ["get", "limits"]


def test_each_is_judged_by_itself(app: QueueTasks, broker: AskedBroker) -> None:
    judged = late(app, "plain", "again", "limited", "keyed", "one", "plain")
    assert names_of(settle_now(broker, judged)) == ["plain", "plain"]


def test_nothing_is_asked_where_all_have_to_wait_anyway(app: QueueTasks, broker: AskedBroker) -> None:
    judged = late(app, "again", "one")
    broker.asked.clear()
    assert settle_now(broker, judged) == []
    assert broker.asked == []


def test_who_was_interrupted_and_who_has_no_verdict_wait(app: QueueTasks, broker: AskedBroker) -> None:
    first, second = late(app, "plain", "plain")
    first.verdict, second.verdict = Interrupted(), None
    assert settle_now(broker, [first, second]) == []


def test_a_broker_that_is_away_lets_all_wait(app: QueueTasks, broker: AskedBroker) -> None:
    judged = late(app, "plain", "plain")
    broker.away = True
    assert settle_now(broker, judged) == []
