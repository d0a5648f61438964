"""Deleting what is over."""

from __future__ import annotations

from collections import Counter

import pytest

from cherga.testing.contract.stage import Stage, after, ids, new_job, new_jobs, settlement
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState
from cherga.words.report import Reading

DAYS = 86_400.0


class Pruning:
    """``prune``: by time, by caps, never too early."""

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    def test_a_final_job_is_deleted_after_its_time(self, stage: Stage, end: JobState) -> None:
        job = stage.ended(end, keep=100)
        stage.pass_time(101)
        assert stage.broker.prune() == 1
        assert not stage.is_kept(job)

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    def test_a_final_job_is_kept_for_its_time(self, stage: Stage, end: JobState) -> None:
        job = stage.ended(end, keep=100)
        stage.pass_time(50)
        assert stage.broker.prune() == 0
        assert stage.is_kept(job)

    def test_what_is_not_final_is_never_deleted(self, stage: Stage) -> None:
        running = stage.started()
        jobs = [new_job(), new_job(delay=10_000 * DAYS), after(running)]
        stage.push(*jobs)
        stage.pass_time(1000 * DAYS)
        assert stage.broker.prune() == 0
        assert stage.states(jobs) == [JobState.READY, JobState.SCHEDULED, JobState.BLOCKED]

    def test_a_job_that_a_person_cancelled_is_kept_for_a_while(self, stage: Stage) -> None:
        job = stage.pushed()
        stage.broker.move([job.id], JobState.CANCELLED)
        stage.pass_time(1)
        assert stage.broker.prune() == 0
        stage.pass_time(400 * DAYS)
        assert stage.broker.prune() == 1
        assert not stage.is_kept(job)

    def test_at_most_the_limit_is_deleted(self, stage: Stage) -> None:
        _end_all(stage, 25, keep=10)
        stage.pass_time(11)
        assert [stage.broker.prune(limit=10) for _ in range(4)] == [10, 10, 5, 0]

    def test_over_the_cap_the_oldest_successes_go(self, stage: Stage) -> None:
        broker = stage.connect(succeeded_cap=5)
        jobs = _end_all(stage, 8)
        assert broker.prune() == 3
        assert [stage.is_kept(job) for job in jobs] == [False] * 3 + [True] * 5
        assert broker.prune() == 0

    def test_over_the_cap_the_oldest_failures_go(self, stage: Stage) -> None:
        broker = stage.connect(failed_cap=5)
        failed = _end_all(stage, 4, JobState.FAILED)
        cancelled = _end_all(stage, 4, JobState.CANCELLED)
        broker.prune()
        kept = [job for job in (*failed, *cancelled) if stage.is_kept(job)]
        assert len(kept) == 5
        assert stage.is_kept(failed[-1])
        assert stage.is_kept(cancelled[-1])

    def test_successes_do_not_count_for_the_cap_of_failures(self, stage: Stage) -> None:
        broker = stage.connect(failed_cap=3)
        _end_all(stage, 10)
        _end_all(stage, 3, JobState.FAILED)
        assert broker.prune() == 0

    def test_the_cap_keeps_to_the_limit(self, stage: Stage) -> None:
        broker = stage.connect(succeeded_cap=0)
        _end_all(stage, 25)
        assert broker.prune(limit=10) == 10

    def test_a_parent_is_kept_while_a_dependant_waits_for_it(self, stage: Stage) -> None:
        broker = stage.connect(succeeded_cap=0)
        parent = stage.started()
        children = [after(parent) for _ in range(150)]
        stage.push(*children)
        stage.write(parent, keep=10)
        stage.pass_time(11)
        assert broker.prune() == 0
        assert stage.is_kept(parent)
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.READY: 150}

    def test_parents_that_are_waited_for_do_not_hold_up_the_others(self, stage: Stage) -> None:
        parents = [stage.started() for _ in range(3)]
        stage.push(*[after(parent) for parent in parents for _ in range(101)])

        for parent in parents:
            stage.write(parent, keep=10)

        _end_all(stage, 1, keep=20, queue="other")
        stage.pass_time(21)
        assert stage.broker.prune(limit=1) == 1

    def test_a_parent_is_kept_until_its_dependant_has_ended(self, stage: Stage) -> None:
        parent = stage.started()
        child = after(parent)
        stage.push(child)
        stage.write(parent, keep=10)
        stage.pass_time(11)
        assert stage.broker.prune() == 0
        job = stage.claim_one()
        assert stage.broker.prune() == 0
        assert stage.is_kept(parent)
        stage.write(job, keep=1000)
        assert stage.broker.prune() == 1
        assert not stage.is_kept(parent)

    def test_a_parent_goes_when_its_dependants_have_ended(self, stage: Stage) -> None:
        parent = stage.started()
        stage.push(*[after(parent) for _ in range(150)])
        stage.write(parent, keep=10)
        stage.pass_time(11)
        assert stage.broker.prune() == 0
        stage.tidy()
        stage.broker.settle([settlement(child, keep=1000) for child in stage.claim()])
        assert stage.broker.prune() == 1
        assert not stage.is_kept(parent)

    def test_a_retried_job_is_no_longer_deleted(self, stage: Stage) -> None:
        job = stage.ended(keep=10)
        stage.broker.move([job.id], JobState.READY)
        stage.pass_time(11)
        assert stage.broker.prune() == 0
        assert stage.state(job) is JobState.READY

    def test_a_deleted_job_is_gone_everywhere(self, stage: Stage) -> None:
        job = stage.ended(keep=10)
        stage.pass_time(11)
        stage.broker.prune()
        assert stage.broker.counts() == []
        assert stage.broker.follow([Reading(job.id)]) == [None]
        assert stage.broker.move([job.id], JobState.READY) == []

    def test_a_deleted_id_may_be_used_again(self, stage: Stage) -> None:
        job = stage.ended(keep=10)
        stage.pass_time(11)
        stage.broker.prune()
        assert ids([stage.pushed(id=job.id)]) == ids(stage.claim())

    def test_an_empty_store_has_nothing_to_delete(self, stage: Stage) -> None:
        assert stage.broker.prune() == 0


def _end_all(
    stage: Stage, count: int, end: JobState = JobState.SUCCEEDED, keep: float = DAYS, queue: str = "default"
) -> list[ClaimedJob]:
    """So many jobs, ended one after the other."""
    stage.push(*new_jobs(count, queue=queue))
    jobs = stage.claim(queues=(queue,))

    for job in jobs:
        stage.write(job, end, keep=keep)

    return jobs
