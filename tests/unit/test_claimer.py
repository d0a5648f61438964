"""The claimer: keeps its runners supplied with as few claims as will do, and sleeps while there is nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import msgspec
import pytest

from cherga import BrokerUnavailable, Job, JobState, QueueTasks
from cherga.brokers.memory.broker import MemoryBroker
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.claim import ClaimAnswer, ClaimWish
from cherga.words.clock import SystemClock
from cherga.words.limits import LimitRule, Rate
from cherga.words.session import Death, SessionInfo
from cherga.words.shared import Definition
from cherga.worker.assignment import Assignment
from cherga.worker.claimer import Claimer, ClaimPlan, Lane
from cherga.worker.deadlines import Deadlines
from cherga.worker.executor import Executor
from cherga.worker.host import WorkerHost
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable
from tests.odd_brokers import AppWith

SESSION = "desk.1"


class CountingBroker(MemoryBroker):
    """Knows how it was asked, and may raise once."""

    def __init__(self) -> None:
        super().__init__("memory://", BrokerSettings(crash_backoff=(0.0,)))
        self.wishes: list[ClaimWish] = []
        self.errors: list[Exception] = []
        self.may_write = threading.Event()
        """The settler's."""
        self.held_back: list[bool] = []
        """Whether the settler was, at each claim."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        self.wishes.append(wish)
        self.held_back.append(not self.may_write.is_set())

        if self.errors:
            raise self.errors.pop()

        return super().claim(wish)


class Shelf:
    """A runner with so much room that runs nothing."""

    def __init__(self, room: int) -> None:
        self.refill_below = -1
        self.ahead = 0
        self.size = room
        self.lent = 0
        self.quick = 0
        """Jobs that have ended before a claim for more is over."""
        self.held: list[Assignment] = []

    def start(self) -> None: ...

    def submit(self, assignments: Sequence[Assignment]) -> None:
        self.held += assignments[self.quick :]

    def in_hand(self) -> int:
        return len(self.held)

    def room(self) -> int:
        return self.size - len(self.held)

    def waiting(self) -> int:
        return 0

    def let_go(self) -> list[Assignment]:
        return []

    def hurry(self) -> None: ...

    def take_back(self) -> list[Assignment]:
        taken, self.held = self.held, []
        return taken

    def cancel(self, assignment: Assignment) -> bool:
        return False

    def stop(self) -> None: ...


class Desk:
    """A claimer over two shelves, one for each kind of task."""

    def __init__(self, plain: int = 100, coroutines: int = 100, **plan: Any) -> None:
        self.broker = CountingBroker()
        self.app: QueueTasks = AppWith(self.broker)
        self.work = self.app.task(name="work")(lambda mark="": None)
        self.app.task(name="awork")(nothing)
        self.plain, self.coroutines = Shelf(plain), Shelf(coroutines)
        slots = SlotTable.private(1)
        slots.lease_until = float("inf")
        settler = Settler(self.broker, SystemClock(), 0.05, slots)
        self.broker.may_write = settler.may_write
        executor = Executor(self.app, WorkerHost(self.app, nobody, nobody), "desk", settler, slots, Deadlines(SystemClock()))
        lanes = [Lane(self.plain, lambda: frozenset({"work"})), Lane(self.coroutines, lambda: frozenset({"awork"}))]
        given: dict[str, Any] = {
            "queues": (),
            "weights": (),
            "limit": 1000,
            "poll_interval": 3600.0,
            "lookahead": 0.05,
            "clock": SystemClock(),
            **plan,
        }
        self.claimer = Claimer(self.broker, lanes, executor, settler, slots, ClaimPlan(**given))
        self.broker.register(SessionInfo(id=SESSION, worker="desk", host="here", pid=1))
        self.claimer.session = SESSION

    def start(self) -> None:
        self.claimer.start()


async def nothing() -> None: ...


def nobody() -> NoReturn:
    raise AssertionError("nothing runs here")


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.claimer.stop()


def test_what_is_ready_goes_to_the_runner_of_its_kind(desk: Desk) -> None:
    desk.work.enqueue_many([()] * 3)
    desk.app.add_task("awork")
    desk.start()

    wait_until(lambda: desk.claimer.in_hand() == 4, "all are claimed")
    assert {assignment.job.task for assignment in desk.plain.held} == {"work"}
    assert {assignment.job.task for assignment in desk.coroutines.held} == {"awork"}
    assert {job.status for job in desk.app.jobs()} == {JobState.RUNNING}


def test_kinds_that_share_slots_take_turns() -> None:
    desk, order = Desk(plain=1), list[str]()
    desk.claimer.lanes = [Lane(desk.plain, lambda: frozenset({"work"})), Lane(desk.plain, lambda: frozenset({"awork"}))]
    desk.work.enqueue_many([()] * 3)
    desk.app.tasks["awork"].enqueue_many([()] * 3)
    desk.start()

    for _ in range(6):
        wait_until(lambda: desk.plain.held, "a job is claimed")
        order += [assignment.job.task for assignment in desk.plain.take_back()]
        desk.claimer.wake()

    desk.claimer.stop()
    assert order == ["work", "awork"] * 3


def test_a_sleeping_claimer_is_woken_by_a_new_job_and_else_asks_nothing(desk: Desk) -> None:
    desk.start()
    wait_until(lambda: len(desk.broker.wishes) >= 2, "it has looked for both kinds")
    asked = len(desk.broker.wishes)
    desk.work.enqueue()

    wait_until(lambda: desk.plain.held, "the job is claimed")
    assert len(desk.broker.wishes) <= asked + 4


def test_no_more_is_claimed_than_there_is_room_for() -> None:
    desk = Desk(plain=3)
    desk.work.enqueue_many([()] * 10)
    desk.start()
    wait_until(lambda: len(desk.plain.held) == 3, "the shelf is full")
    desk.plain.held.clear()
    desk.claimer.wake()
    wait_until(lambda: len(desk.plain.held) == 3, "the shelf is full again")
    desk.claimer.stop()

    assert sum(job.status is JobState.RUNNING for job in desk.app.jobs()) == 6


@pytest.mark.parametrize(("ended", "again"), [(1, False), (25, False), (26, True), (101, True)])
def test_a_runner_that_has_most_of_its_jobs_ahead_is_left_alone(ended: int, again: bool) -> None:
    """It rings when they are fewer. A claim for a few of them costs as much as one for many."""
    desk = Desk(plain=101, coroutines=0)
    desk.plain.ahead, desk.plain.quick = 100, ended
    desk.work.enqueue_many([()] * 300)

    assert desk.claimer._round() is again
    assert len(desk.plain.held) == 101 - ended


def test_one_claim_is_never_larger_than_the_limit() -> None:
    desk = Desk(limit=4)
    desk.work.enqueue_many([()] * 10)
    desk.start()
    wait_until(lambda: len(desk.plain.held) == 10, "all are claimed")
    desk.claimer.stop()

    assert max(wish.limit for wish in desk.broker.wishes) == 4


def test_the_wish_says_what_and_from_where() -> None:
    desk = Desk(queues=("a", "b"), weights=(3, 1))
    desk.start()
    wait_until(lambda: len(desk.broker.wishes) >= 2, "it has looked for both kinds")
    desk.claimer.stop()
    wish = desk.broker.wishes[0]

    assert (wish.session, wish.tasks, wish.queues, wish.weights) == (SESSION, frozenset({"work"}), ("a", "b"), (3, 1))
    assert wish.alone


@pytest.mark.parametrize("error", [BrokerUnavailable("busy"), RuntimeError("odd")])
def test_a_broker_that_fails_is_asked_again(desk: Desk, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    desk.broker.errors.append(error)
    desk.work.enqueue()
    desk.start()

    wait_until(lambda: desk.plain.held, "the job is claimed after all")
    assert str(error) in caplog.text


def test_the_settler_writes_nothing_while_somebody_claims(desk: Desk) -> None:
    desk.broker.errors.append(RuntimeError("odd"))
    desk.work.enqueue()
    desk.start()
    wait_until(lambda: desk.plain.held, "the job is claimed after all")
    desk.claimer.stop()

    assert set(desk.broker.held_back) == {True}
    assert desk.broker.may_write.is_set()


def test_tasks_that_nobody_here_knows_are_told_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.app.add_task("elsewhere")
    desk.app.add_task("elsewhere")
    desk.start()
    wait_until(lambda: "elsewhere" in caplog.text, "it is told")
    seen = len(desk.broker.wishes)
    desk.claimer.wake()
    wait_until(lambda: len(desk.broker.wishes) > seen, "it has looked again")
    desk.claimer.stop()

    assert caplog.text.count("'elsewhere'") == 1


def test_nothing_is_claimed_after_a_stop(desk: Desk) -> None:
    desk.start()
    wait_until(lambda: len(desk.broker.wishes) >= 2, "it has looked")
    desk.claimer.stop()
    job = desk.work.enqueue()

    assert job.refresh().status is JobState.READY


def test_a_new_session_claims_from_the_next_look_on(desk: Desk) -> None:
    desk.start()
    wait_until(lambda: len(desk.broker.wishes) >= 2, "it has looked")
    desk.broker.register(SessionInfo(id="desk.2", worker="desk", host="here", pid=1))
    desk.claimer.session = "desk.2"
    job = desk.work.enqueue()
    wait_until(lambda: desk.plain.held, "the job is claimed")

    assert job.refresh().row.session == "desk.2"


def test_a_suspect_runs_alone() -> None:
    """A job whose process has died waits until nothing else runs, and nothing is claimed beside it."""
    desk = Desk()
    suspect = desk.work.enqueue("suspect")
    desk.broker.register(SessionInfo(id="dead.1", worker="dead", host="here", pid=2))
    (claimed,) = desk.broker.claim(ClaimWish(session="dead.1", limit=1, tasks=frozenset({"work"}))).jobs
    desk.broker.reap([Death("dead.1", frozenset({claimed.token}))])
    first = desk.work.enqueue("first")
    desk.start()

    wait_until(lambda: desk.plain.held, "something is claimed")

    for _ in range(2):
        wait_until(lambda: len(desk.plain.held) == 1, "one runs")
        desk.plain.held.clear()
        desk.claimer.wake()

    wait_until(lambda: {suspect.refresh().status, first.refresh().status} == {JobState.RUNNING}, "both had their turn")
    desk.claimer.stop()
    assert suspect.crashes == 1


def crashed_together(desk: Desk, count: int) -> list[Job[Any]]:
    """So many jobs of one process that died."""
    jobs = desk.work.enqueue_many([(f"suspect {number}",) for number in range(count)])
    desk.broker.register(SessionInfo(id="dead.1", worker="dead", host="here", pid=2))
    desk.broker.claim(ClaimWish(session="dead.1", limit=count, tasks=frozenset({"work"})))
    desk.broker.reap([Death("dead.1")])
    return jobs


def test_suspects_run_beside_each_other_and_others_have_their_turn_in_between() -> None:
    desk = Desk()
    suspects = crashed_together(desk, 6)
    fresh = desk.work.enqueue("fresh")
    desk.start()
    seen: list[tuple[int, int]] = []

    while not all(job.refresh().status is JobState.RUNNING for job in (*suspects, fresh)):
        held = wait_until(lambda: list(desk.plain.held), "something is claimed")
        seen.append((sum(each.job.crashes for each in held), len(held)))
        desk.plain.held.clear()
        desk.claimer.wake()

    desk.claimer.stop()
    assert seen == [(4, 4), (0, 1), (2, 2)]


def test_a_claimer_whose_jobs_are_held_up_by_a_rate_looks_again_when_it_opens() -> None:
    desk = Desk()
    rule = LimitRule(rate=Rate(1, 0.3))
    desk.broker.define([Definition("limit", "task:work", msgspec.msgpack.encode(rule))])
    desk.work.enqueue_many([()] * 3)
    desk.start()

    wait_until(lambda: len(desk.plain.held) == 3, "all have been let through, one after the other")
    desk.claimer.stop()
    starts = [job.started_at.timestamp() for job in desk.app.jobs() if job.started_at]
    assert max(starts) - min(starts) >= 0.6 - 1e-3
