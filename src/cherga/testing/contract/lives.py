"""Whole lives of many jobs at once: nothing lost, nothing invented, nothing completed twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from uuid import UUID

from cherga.doors.broker import FullBroker
from cherga.testing.contract.stage import TASKS, Stage, after, ids, new_job, new_jobs, session_info, settlement, together
from cherga.testing.waiting import wait_until
from cherga.words.claim import ClaimedJob, ClaimWish
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.push import NewJob
from cherga.words.session import Death
from cherga.words.settlement import Charge, Settled, Settlement

UNFINISHED = JobFilter(unfinished=True)


class Lives:
    """Several producers and workers on several connections."""

    def test_every_job_is_completed_exactly_once(self, stage: Stage) -> None:
        jobs = new_jobs(240)
        producers = [partial(_produce, broker, jobs[part::2]) for part, broker in enumerate(_two_brokers(stage))]
        written = _work_through(stage, producers)
        assert Counter(written) == dict.fromkeys(ids(jobs), 1)
        assert Counter(stage.states(jobs)) == {JobState.SUCCEEDED: 240}

    def test_retries_and_give_backs_complete_each_job_once(self, stage: Stage) -> None:
        jobs = new_jobs(120)
        stage.push(*jobs)
        written = _work_through(stage, [], decide=_sometimes_again)
        assert Counter(written) == dict.fromkeys(ids(jobs), 1)

    def test_chains_are_run_in_order_by_many_workers(self, stage: Stage) -> None:
        chains = [_chain(5) for _ in range(20)]

        for chain in chains:
            stage.push(*chain)

        written = _work_through(stage, [])
        assert len(written) == 100

        for before, behind in (pair for chain in chains for pair in pairwise(chain)):
            assert (stage.row(before).finished_at or 0.0) <= (stage.row(behind).started_at or 0.0)

    def test_dying_workers_lose_no_job(self, stage: Stage) -> None:
        broker = stage.connect(crash_cap=100, crash_backoff=(0.0,))
        jobs = new_jobs(60)
        stage.push(*jobs)
        together(*[partial(_work_and_die, broker, f"mortal.{number}") for number in range(6)])
        assert set(stage.states(jobs)) <= {JobState.SUCCEEDED, JobState.READY}
        written = _work_through(stage, [], alone=True)
        assert stage.states(jobs) == [JobState.SUCCEEDED] * 60
        assert len(written) == len(set(written))

    def test_a_mixed_push_and_cancel_storm_leaves_nothing_behind(self, stage: Stage) -> None:
        jobs = new_jobs(200)
        first, second = _two_brokers(stage)
        cancel = partial(_cancel_often, second, ids(jobs))
        _work_through(stage, [partial(_produce, first, jobs), cancel])
        stage.broker.move(ids(jobs), JobState.CANCELLED)
        assert set(stage.states(jobs)) <= {JobState.SUCCEEDED, JobState.CANCELLED}


def _two_brokers(stage: Stage) -> tuple[FullBroker, FullBroker]:
    return stage.broker, stage.connect()


Decide = Callable[[ClaimedJob], Settlement]


def _sometimes_again(job: ClaimedJob) -> Settlement:
    """Give back, retry, then succeed."""
    match job.claims:
        case 1:
            return settlement(job, JobState.READY, charge=Charge.REFUND)
        case 2:
            return settlement(job, JobState.READY)
        case _:
            return settlement(job)


def _work_through(
    stage: Stage, producers: Sequence[Callable[[], None]], decide: Decide = settlement, alone: bool = False
) -> list[UUID]:
    """Let four workers run until every job has ended; return the jobs whose success was written, in order."""
    written: list[UUID] = []
    brokers = _two_brokers(stage)
    producing = [len(producers)]

    def produce(producer: Callable[[], None]) -> None:
        producer()
        producing[0] -= 1

    def work(number: int) -> None:
        broker, session = brokers[number % 2], f"worker.{number}"
        broker.register(session_info(session))
        wish = ClaimWish(session=session, limit=7, tasks=TASKS, alone=alone)
        wait_until(lambda: _work_once(broker, wish, decide, written) and not producing[0], "every job has ended")

    together(*[partial(work, number) for number in range(4)], *[partial(produce, each) for each in producers])
    return written


def _work_once(broker: FullBroker, wish: ClaimWish, decide: Decide, written: list[UUID]) -> bool:
    """Run what can be claimed; return whether nothing is left to do for anybody."""
    jobs = broker.claim(wish).jobs
    settlements = [decide(job) for job in jobs]
    answers = broker.settle(settlements)
    written += [
        each.id
        for each, answer in zip(settlements, answers, strict=True)
        if answer is Settled.WRITTEN and each.to is JobState.SUCCEEDED
    ]
    broker.promote()
    return not jobs and not broker.find(UNFINISHED, limit=1)


def _work_and_die(broker: FullBroker, session: str) -> None:
    """Claim some jobs, complete half of them, and die."""
    for _ in range(3):
        broker.register(session_info(session))
        jobs = broker.claim(ClaimWish(session=session, limit=4, tasks=TASKS)).jobs
        broker.settle([settlement(job) for job in jobs[::2]])
        broker.reap([Death(session)])


def _produce(broker: FullBroker, jobs: list[NewJob]) -> None:
    for start in range(0, len(jobs), 5):
        broker.push([[job] for job in jobs[start : start + 5]])


def _cancel_often(broker: FullBroker, wanted: list[UUID]) -> None:
    chance = random.Random(11)

    for _ in range(20):
        broker.move(chance.sample(wanted, 10), JobState.CANCELLED)


def _chain(length: int) -> list[NewJob]:
    chain = [new_job()]

    while len(chain) < length:
        chain.append(after(chain[-1]))

    return chain
