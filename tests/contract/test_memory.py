"""The contract on the memory broker, and what it keeps of what is over: nothing."""

from __future__ import annotations

import pytest

from cherga.brokers.memory import MemoryBroker
from cherga.doors.broker import Topic
from cherga.rules.settings import BrokerSettings
from cherga.testing.contract import BrokerContract, Stage
from cherga.testing.contract.stage import after, new_job, new_jobs
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.push import GROUP_TASK
from cherga.words.report import EventKind, Report
from cherga.words.unique import OnConflict, Unique
from tests.contract.memory_harness import MemoryHarness


class TestMemory(BrokerContract):
    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()


def test_a_store_without_a_name_is_private() -> None:
    first, second = (MemoryBroker("memory://", BrokerSettings()) for _ in range(2))
    job = new_job()
    first.push([[job]])
    assert second.get([job.id]) == [None]


def test_a_store_with_a_name_is_shared() -> None:
    first, second, other = (MemoryBroker(f"memory://{name}", BrokerSettings()) for name in ("one", "one", "another"))
    job = new_job()
    first.push([[job]])
    assert second.get([job.id]) == first.get([job.id]) != [None]
    assert other.get([job.id]) == [None]


def test_nothing_is_kept_of_what_is_over() -> None:
    harness = MemoryHarness()
    stage = Stage(harness)
    _live(stage)
    stage.pass_time(400 * 86_400.0)
    stage.tidy()
    stage.claim()
    stage.crash()
    stage.pass_time(400 * 86_400.0)
    stage.tidy()

    while stage.broker.prune():
        pass

    store = harness.store
    kept = [store.rows, store.streams, store.counts, store.lanes, store.places, store.waiting, store.releases]
    assert kept == [{}] * 7
    assert [store.keys.holders, store.keys.successors, store.orphans, *vars(store.kinship).values()] == [{}] * 6
    assert [store.sessions, store.running] == [{}, {}]
    assert [store.bells.listened_topics(), store.bells.followed_jobs()] == [set(), set()]
    assert [store.due.first(), store.expiring.first(), store.outdated.first()] == [None] * 3


def _live(stage: Stage) -> None:
    """A bit of everything, all of it ended."""
    parent = new_job()
    stage.push(parent, *[after(parent) for _ in range(150)])
    stage.push(*(members := new_jobs(3, parent=parent.id)), after(*members, task=GROUP_TASK), new_job(GROUP_TASK))
    stage.push_each(*new_jobs(3, unique=Unique("a")), new_job(unique=Unique("b"), delay=60), new_job(expires_in=60))

    with stage.broker.listen([Topic.READY]), stage.following(parent.id):
        for job in stage.claim(2):
            stage.broker.report([Report(job.id, job.sequence, job.token, events=((EventKind.LOG, b"x"),))])
            stage.write(job)

    stage.push_each(*new_jobs(3, unique=Unique("c", conflict=OnConflict.LATEST)))
    stage.claim()
    stage.push_each(*new_jobs(3, unique=Unique("c", conflict=OnConflict.LATEST)))
    stage.tidy()
    stage.broker.move([parent.id], JobState.CANCELLED, family=True)
    unfinished = stage.broker.find(JobFilter(unfinished=True), limit=1000)
    stage.broker.move([row.id for row in unfinished], JobState.CANCELLED)
