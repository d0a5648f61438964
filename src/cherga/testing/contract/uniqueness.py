"""At most one job holds a unique key."""

from __future__ import annotations

from functools import partial

import pytest

from cherga.testing.contract.stage import SETTINGS, Stage, after, ids, new_job, new_jobs, settlement, together
from cherga.words.claim import ClaimedJob
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.push import NewJob, PushAnswer
from cherga.words.settlement import Charge
from cherga.words.unique import OnConflict, Unique, UniqueWhile

KEY = Unique("export:7")


class Uniqueness:
    """Unique keys: the jobs that hold them, for how long, and the answer to a second enqueue."""

    def test_a_second_job_is_answered_by_the_holder(self, stage: Stage) -> None:
        holder = stage.pushed(unique=KEY)
        second = new_job(unique=KEY)
        (pushed,) = stage.push(second).jobs
        assert (pushed.id, pushed.state, pushed.existing) == (holder.id, JobState.READY, True)
        assert not stage.is_kept(second)

    def test_the_holder_is_answered_as_it_stands(self, stage: Stage) -> None:
        stage.started(unique=KEY)
        assert stage.push(new_job(unique=KEY)).jobs[0].state is JobState.RUNNING

    def test_the_holder_stays_as_it_was(self, stage: Stage) -> None:
        holder = stage.pushed(unique=KEY, payload=b"first")
        before = stage.row(holder)
        stage.push(new_job(unique=KEY, payload=b"second", priority=9))
        assert stage.row(holder) == before

    def test_the_holder_is_found_by_its_key_while_it_holds_it(self, stage: Stage) -> None:
        holding = JobFilter(holds=KEY.key)
        assert stage.broker.find(holding) == []
        holder = stage.pushed(unique=KEY)
        stage.push(new_job(unique=Unique("another")), new_job())
        assert ids(stage.broker.find(holding)) == [holder.id]
        stage.write(stage.claim(limit=1)[0])
        assert stage.broker.find(holding) == []

    def test_the_holder_for_a_period_is_found_until_that_is_over(self, stage: Stage) -> None:
        holder = stage.started(unique=Unique(KEY.key, UniqueWhile.PERIOD, 10.0))
        stage.write(holder)
        assert ids(stage.broker.find(JobFilter(holds=KEY.key))) == [holder.id]
        stage.pass_time(11)
        assert stage.broker.find(JobFilter(holds=KEY.key)) == []

    def test_a_repeated_id_is_not_its_own_rival(self, stage: Stage) -> None:
        holder = stage.pushed(unique=Unique(KEY.key, conflict=OnConflict.REFUSE))
        (answer,) = stage.push(holder).jobs
        assert (answer.id, answer.existing) == (holder.id, True)

    def test_other_keys_and_no_keys_do_not_collide(self, stage: Stage) -> None:
        jobs = [new_job(unique=Unique("a")), new_job(unique=Unique("b")), *new_jobs(2)]
        stage.push(*jobs)
        assert ids(stage.claim()) == ids(jobs)

    def test_a_key_counts_across_tasks_and_queues(self, stage: Stage) -> None:
        stage.pushed(unique=KEY)
        assert stage.push(new_job("mail", queue="other", unique=KEY)).jobs[0].existing

    def test_a_conflict_may_refuse_the_group(self, stage: Stage) -> None:
        holder = stage.pushed(unique=KEY)
        innocent = new_job()
        (answer,) = stage.broker.push([[innocent, new_job(unique=Unique(KEY.key, conflict=OnConflict.REFUSE))]])
        assert answer.refused
        assert not stage.is_kept(innocent)
        assert ids(stage.claim()) == [holder.id]

    def test_the_others_of_a_group_are_stored_beside_a_held_one(self, stage: Stage) -> None:
        holder = stage.pushed(unique=KEY)
        first, last = new_jobs(2)
        answer = stage.push(first, new_job(unique=KEY), last)
        assert [(pushed.id, pushed.existing) for pushed in answer.jobs] == [
            (first.id, False),
            (holder.id, True),
            (last.id, False),
        ]

    def test_the_first_of_a_group_holds_the_key(self, stage: Stage) -> None:
        first, second = new_jobs(2, unique=KEY)
        answer = stage.push(first, second)
        assert [(pushed.id, pushed.existing) for pushed in answer.jobs] == [(first.id, False), (first.id, True)]
        assert len(stage.claim()) == 1

    def test_the_first_group_of_a_push_holds_the_key(self, stage: Stage) -> None:
        first, second = new_jobs(2, unique=KEY)
        answers = stage.broker.push([[first], [second]])
        assert [answer.jobs[0].id for answer in answers] == [first.id, first.id]

    def test_a_job_that_waits_for_one_held_by_another_waits_for_the_holder(self, stage: Stage) -> None:
        stage.pushed(unique=KEY)
        second = new_job(unique=KEY)
        child = after(second)
        stage.push(second, child)
        assert stage.state(child) is JobState.BLOCKED
        stage.write(stage.claim_one())
        assert stage.state(child) is JobState.READY

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    def test_an_end_releases_the_key(self, stage: Stage, end: JobState) -> None:
        job = stage.started(unique=KEY)
        stage.write(job, end)
        _assert_free(stage)

    def test_an_end_that_keeps_nothing_releases_the_key(self, stage: Stage) -> None:
        job = stage.started(unique=KEY)
        stage.write(job, keep=0)
        _assert_free(stage)

    @pytest.mark.parametrize("delay", [None, 60])
    def test_a_person_who_cancels_releases_the_key(self, stage: Stage, delay: float | None) -> None:
        job = stage.pushed(unique=KEY, delay=delay)
        stage.broker.move([job.id], JobState.CANCELLED)
        _assert_free(stage)

    def test_a_failed_parent_releases_the_key_of_its_dependant(self, stage: Stage) -> None:
        parent = stage.pushed()
        stage.push(after(parent, unique=KEY))
        stage.write(stage.claim_one(), JobState.FAILED)
        _assert_free(stage)

    def test_a_job_cancelled_by_its_push_takes_no_key(self, stage: Stage) -> None:
        parent = stage.ended(JobState.FAILED)
        stage.push(after(parent, unique=KEY))
        _assert_free(stage)

    def test_the_crash_cap_releases_the_key(self, stage: Stage) -> None:
        stage.pushed(unique=KEY)

        for _ in range(SETTINGS.crash_cap):
            stage.pass_time(100)
            stage.tidy()
            assert len(stage.claim(alone=True)) == 1
            stage.crash()

        _assert_free(stage)

    @pytest.mark.parametrize("charge", [Charge.ATTEMPT, Charge.REFUND, Charge.INTERRUPTION, Charge.CRASH])
    @pytest.mark.parametrize("to", [JobState.READY, JobState.SCHEDULED])
    def test_a_job_that_runs_again_keeps_its_key(self, stage: Stage, to: JobState, charge: Charge) -> None:
        job = stage.started(unique=KEY)
        stage.write(job, to, charge=charge, delay=60)
        _assert_held_by(stage, job)

    def test_a_crashed_job_keeps_its_key(self, stage: Stage) -> None:
        job = stage.started(unique=KEY)
        stage.crash()
        _assert_held_by(stage, job)

    def test_a_blocked_job_holds_its_key(self, stage: Stage) -> None:
        child = after(stage.pushed(), unique=KEY)
        stage.push(child)
        _assert_held_by(stage, child)

    def test_a_key_for_the_queue_is_held_until_the_claim(self, stage: Stage) -> None:
        unique = Unique(KEY.key, UniqueWhile.QUEUED)
        job = stage.pushed(unique=unique, delay=60)
        _assert_held_by(stage, job)
        stage.pass_time(61)
        stage.tidy()
        _assert_held_by(stage, job)
        stage.claim_one()
        assert not stage.push(new_job(unique=unique)).jobs[0].existing

    def test_a_key_for_a_period_is_held_beyond_the_end(self, stage: Stage) -> None:
        unique = Unique(KEY.key, UniqueWhile.PERIOD, period=600)
        job = stage.started(unique=unique)
        stage.write(job)
        stage.pass_time(500)
        (pushed,) = stage.push(new_job(unique=unique)).jobs
        assert (pushed.id, pushed.existing) == (job.id, True)

    def test_a_key_for_a_period_is_held_by_a_job_that_is_not_kept(self, stage: Stage) -> None:
        unique = Unique(KEY.key, UniqueWhile.PERIOD, period=600)
        job = stage.started(unique=unique)
        stage.write(job, keep=0)
        assert not stage.is_kept(job)
        stage.broker.prune()
        (pushed,) = stage.push(new_job(unique=unique)).jobs
        assert (pushed.id, pushed.state, pushed.existing) == (job.id, JobState.SUCCEEDED, True)
        stage.pass_time(601)
        stage.broker.prune()
        assert stage.is_kept(stage.pushed(unique=unique))

    def test_a_job_that_waits_for_one_held_by_a_job_that_is_not_kept_is_ready(self, stage: Stage) -> None:
        unique = Unique(KEY.key, UniqueWhile.PERIOD, period=600)
        stage.write(stage.started(unique=unique), keep=0)
        second = new_job(unique=unique)
        third = after(second)
        assert stage.push(second, third).jobs[1].state is JobState.READY

    def test_a_job_that_a_person_retried_holds_its_key_for_another_period(self, stage: Stage) -> None:
        unique = Unique(KEY.key, UniqueWhile.PERIOD, period=600)
        job = stage.started(unique=unique)
        stage.write(job, keep=9000)
        stage.pass_time(601)
        assert stage.broker.move([job.id], JobState.READY) == [job.id]
        stage.pass_time(599)
        assert stage.push(new_job(unique=unique)).jobs[0].existing
        stage.pass_time(2)
        assert not stage.push(new_job(unique=unique)).jobs[0].existing

    def test_a_key_for_a_period_is_free_after_it(self, stage: Stage) -> None:
        unique = Unique(KEY.key, UniqueWhile.PERIOD, period=600)
        stage.pushed(unique=unique)
        stage.pass_time(601)
        second = stage.pushed(unique=unique)
        assert stage.is_kept(second)
        assert stage.push(new_job(unique=unique)).jobs[0].id == second.id

    def test_pruning_an_earlier_holder_leaves_the_key_with_the_present_one(self, stage: Stage) -> None:
        first = stage.started(unique=KEY)
        stage.write(first, keep=10)
        second = stage.pushed(unique=KEY)
        stage.pass_time(11)
        assert stage.broker.prune() == 1
        _assert_held_by(stage, second)

    def test_a_person_cannot_retry_while_another_job_holds_the_key(self, stage: Stage) -> None:
        first = stage.started(unique=KEY)
        stage.write(first, JobState.FAILED)
        second = stage.pushed(unique=KEY)
        assert stage.broker.move([first.id], JobState.READY) == []
        assert stage.state(first) is JobState.FAILED
        _assert_held_by(stage, second)

    def test_a_job_that_a_person_retried_holds_its_key_again(self, stage: Stage) -> None:
        job = stage.started(unique=KEY)
        stage.write(job, JobState.FAILED)
        assert stage.broker.move([job.id], JobState.READY) == [job.id]
        _assert_held_by(stage, job)

    def test_fifty_rivals_store_one_job(self, stage: Stage) -> None:
        brokers = [stage.broker, stage.connect()]
        rivals = new_jobs(50, unique=KEY)
        answers = together(*[partial(brokers[index % 2].push, [[job]]) for index, job in enumerate(rivals)])
        pushed = [answer.jobs[0] for (answer,) in answers]
        assert len({each.id for each in pushed}) == 1
        assert [each.existing for each in pushed].count(False) == 1
        assert len(stage.claim()) == 1

    def test_a_race_with_the_end_of_the_holder_leaves_one_holder(self, stage: Stage) -> None:
        for _ in range(10):
            holder = stage.started(unique=KEY)
            rivals = new_jobs(4, unique=KEY)
            together(partial(stage.broker.settle, [settlement(holder)]), *[partial(_push, stage, job) for job in rivals])
            kept = [job for job in rivals if stage.is_kept(job)]
            assert len(kept) <= 1
            stage.broker.move(ids(kept), JobState.CANCELLED)


def _push(stage: Stage, job: NewJob) -> list[PushAnswer]:
    return stage.broker.push([[job]])


def _assert_free(stage: Stage) -> None:
    assert not stage.push(new_job(unique=KEY)).jobs[0].existing


def _assert_held_by(stage: Stage, holder: NewJob | ClaimedJob) -> None:
    (pushed,) = stage.push(new_job(unique=KEY)).jobs
    assert (pushed.id, pushed.existing) == (holder.id, True)
