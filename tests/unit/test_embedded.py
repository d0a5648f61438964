"""An embedded worker keeps its lease for as long as its engine works, and leaves nothing behind when it cannot begin."""

from __future__ import annotations

import threading

import pytest

from cherga import BrokerSettings, BrokerUnavailable, QueueTasks
from cherga.brokers.memory.broker import MemoryBroker
from cherga.testing import FakeClock
from cherga.words.session import SessionInfo
from cherga.worker.child import Stillness
from cherga.worker.embedded import EmbeddedWorker
from cherga.worker.slots import Pulse
from tests.odd_brokers import AppWith


@pytest.mark.parametrize("silent", Pulse)
def test_the_lease_of_an_engine_that_stands_still_is_not_renewed(silent: Pulse, caplog: pytest.LogCaptureFixture) -> None:
    app = QueueTasks("shop", "memory://", stall_limit=8)
    app.task(name="work")(lambda: None)
    clock, worker = FakeClock(), EmbeddedWorker(app)
    worker.stillness = Stillness(clock)
    worker.engine = worker.make_engine()
    kept = []

    for _ in range(12):
        clock.advance(1)

        for pulse in set(Pulse) - {silent}:
            worker.engine.slots.beat(pulse)

        kept.append(worker.sessions() != [])

    assert kept == [True] * 9 + [False] * 3
    assert f"the {silent.name.lower()} stands still" in caplog.text
    worker.engine.slots.beat(silent)
    assert worker.sessions()
    worker.engine.stop()
    worker.engine._claimer.stop()
    app.close()


class Closed(MemoryBroker):
    """Registers nobody at first."""

    errors = 1

    def register(self, session: SessionInfo) -> None:
        self.errors -= 1

        if self.errors >= 0:
            raise BrokerUnavailable("busy")

        super().register(session)


def test_a_block_whose_session_cannot_be_registered_leaves_nothing_behind() -> None:
    app: QueueTasks = AppWith(Closed("memory://", BrokerSettings()))
    work = app.task(name="work")(lambda: "done")
    job = work.enqueue()
    before = set(threading.enumerate())

    with pytest.raises(BrokerUnavailable), app.worker():
        pytest.fail("it works")

    assert set(threading.enumerate()) <= before

    with app.worker():
        assert job.result(10) == "done"
