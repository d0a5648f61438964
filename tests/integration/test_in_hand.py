"""What a worker has in hand: bounded however quick its jobs are and however slowly their ends are written."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from cherga import JobState
from cherga.brokers.memory.broker import MemoryBroker
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.settlement import Settled, Settlement
from cherga.worker.slots import MOST_AHEAD
from tests.odd_brokers import AppWith

JOBS = 12_000
SLOTS = 100
USUAL = 100
"""Jobs that may have ended and not be written however slow they are."""


class Ledger(MemoryBroker):
    """Writes ends only while its gate is open."""

    def __init__(self) -> None:
        super().__init__("memory://", BrokerSettings())
        self.gate = threading.Event()
        self.came = threading.Event()

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        self.came.set()
        assert self.gate.wait(30)
        return super().settle(settlements)

    def count(self, state: JobState) -> int:
        return sum(row.count for row in self.counts() if row.state is state)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.gate.set()


@pytest.mark.parametrize("is_async", [False, True])
def test_what_has_ended_and_is_not_written_counts(ledger: Ledger, is_async: bool) -> None:
    app = AppWith(ledger)
    ran: list[int] = []

    async def awork(number: int) -> None:
        ran.append(number)

    task = app.task(name="work", on_crash="fail")(awork if is_async else ran.append)
    task.enqueue_many([(number,) for number in range(JOBS)])

    with app.worker(concurrency=SLOTS) as worker:
        assert ledger.came.wait(10)
        wait_until(lambda: len(ran) == ledger.count(JobState.RUNNING), "all that was claimed has run")
        held = ledger.count(JobState.RUNNING)
        begun = worker.engine.slots.begun()

        assert held <= SLOTS + MOST_AHEAD + max(USUAL, MOST_AHEAD)
        assert begun is not None
        assert len(begun.once) == held
        ledger.gate.set()
        wait_until(lambda: ledger.count(JobState.SUCCEEDED) == JOBS, "all are done", 30)

    assert sorted(ran) == list(range(JOBS))
    assert not worker.engine.slots.once
