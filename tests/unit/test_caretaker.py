"""The caretaker: what is dead is freed, however much it is."""

from __future__ import annotations

from cherga import JobState, QueueTasks
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.claim import ClaimWish
from cherga.words.clock import SystemClock
from cherga.words.session import Death, SessionInfo
from cherga.worker.caretaker import PAGE, Caretaker

MANY = 3 * PAGE + 1


def app_with_a_dead_session() -> QueueTasks:
    """One in whose hands are more jobs than fit three pages."""
    app = QueueTasks("shop", "memory://")
    mail = app.task(name="mail")(lambda user: None)
    mail.enqueue_many([(user,) for user in range(MANY)])
    app.broker.register(SessionInfo(id="dead.1", worker="dead", host="here", pid=1))
    assert len(app.broker.claim(ClaimWish(session="dead.1", limit=MANY, tasks=frozenset({"mail"}))).jobs) == MANY
    return app


def ready(app: QueueTasks) -> int:
    return sum(row.count for row in app.broker.counts() if row.state is JobState.READY)


def test_all_jobs_of_a_named_death_are_free_long_before_the_next_sweep() -> None:
    app = app_with_a_dead_session()
    caretaker = Caretaker(app.broker, BrokerSettings(sweep=3600.0), SystemClock())
    caretaker.start()
    wait_until(lambda: app.broker.workers(), "its first sweep finds nobody dead")
    caretaker.bury([Death("dead.1", frozenset())])

    wait_until(lambda: ready(app) == MANY, "all jobs are ready again")
    caretaker.stop()


def test_one_sweep_frees_all_jobs_of_a_session_that_it_finds_dead() -> None:
    app = app_with_a_dead_session()
    app.broker.reap([Death("dead.1", frozenset())], limit=1)  # somebody began with it, and ended
    caretaker = Caretaker(app.broker, BrokerSettings(sweep=3600.0), SystemClock())
    caretaker.start()

    wait_until(lambda: ready(app) == MANY, "all jobs are ready again")
    caretaker.stop()


def test_a_caretaker_that_stops_frees_all_that_was_buried() -> None:
    app = app_with_a_dead_session()
    caretaker = Caretaker(app.broker, BrokerSettings(sweep=3600.0), SystemClock())
    caretaker.start()
    caretaker.bury([Death("dead.1", frozenset())])
    caretaker.stop()

    assert ready(app) == MANY
