"""Suspects: jobs whose process has died, and how the guilty one is found without harm to the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from cherga.rules.deaths import FREE_LOSSES
from cherga.testing.contract.stage import SETTINGS, TASKS, Stage, ids, new_jobs, settlement, together
from cherga.words.claim import ClaimedJob
from cherga.words.job import Attempt, JobRow, JobState, Reason
from cherga.words.push import JobHead, NewJob, OnCrash, Overrides
from cherga.words.session import Death
from cherga.words.settlement import Settled
from cherga.words.shared import PauseScope

MUST_NOT_RUN_TWICE = msgspec.msgpack.encode(JobHead(overrides=Overrides(on_crash=OnCrash.FAIL)))


class Suspects:
    """Jobs whose process has died before."""

    def test_a_suspect_is_not_claimed_beside_others(self, stage: Stage) -> None:
        stage.make_suspect()
        innocent = stage.pushed()
        answer = stage.ask()
        assert ids(answer.jobs) == [innocent.id]
        assert answer.suspects

    def test_a_suspect_is_claimed_alone(self, stage: Stage) -> None:
        suspect = stage.make_suspect()
        stage.push_each(*new_jobs(3))
        assert ids(stage.claim(alone=True)) == [suspect.id]

    def test_half_of_those_that_were_in_company_run_together(self, stage: Stage) -> None:
        jobs = _crashed_together(stage, 5)
        taken = [stage.claim(session=f"worker.{n}", alone=True) for n in (2, 3)]
        assert [len(page) for page in taken] == [4, 0]
        stage.broker.settle([settlement(job) for job in taken[0]])
        (last,) = stage.claim(session="worker.3", alone=True)
        assert {last.id, *ids(taken[0])} == set(ids(jobs))

    def test_a_claim_takes_no_more_suspects_than_it_wishes(self, stage: Stage) -> None:
        _crashed_together(stage, 10)
        assert len(stage.claim(3, alone=True)) == 3

    def test_what_had_not_begun_was_no_company(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(5))
        first, second, *others = stage.claim()
        stage.broker.reap([Death("worker.1", frozenset({first.token, second.token}))])
        assert [stage.row(job).suspect for job in (first, second, *others)] == [1, 1, 0, 0, 0]

    def test_pages_of_one_death_are_one_company(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(9))
        jobs = stage.claim()
        freed = stage.broker.reap([Death("worker.1")], limit=4)

        while page := stage.broker.reap(limit=4):
            freed += page

        assert set(freed) == set(ids(jobs))
        assert {stage.row(job).suspect for job in jobs} == {8}

    @pytest.mark.parametrize("count", [1, 2, 3, 8, 60])
    def test_the_guilty_one_is_found_in_few_deaths_and_the_others_succeed(self, stage: Stage, count: int) -> None:
        jobs = new_jobs(count)
        stage.push_each(*jobs)
        pill = jobs[count // 2]
        deaths = _deaths_until_found(stage, pill, stage.crash)
        innocent = [stage.row(job) for job in jobs if job is not pill]
        assert stage.row(pill).reason is Reason.POISON
        assert deaths <= max(SETTINGS.crash_cap, (count - 1).bit_length() + SETTINGS.crash_cap - 1)
        assert all(row.state in (JobState.SUCCEEDED, JobState.READY) and row.crashes <= 1 for row in innocent)
        stage.broker.settle([settlement(job) for _ in innocent for job in stage.claim(alone=True)])
        assert {row.state for row in map(stage.row, ids(innocent))} <= {JobState.SUCCEEDED}

    def test_a_job_in_company_is_never_poison(self, stage: Stage) -> None:
        broker = stage.connect(crash_cap=1)
        stage.push_each(*new_jobs(4))
        jobs = stage.claim()
        broker.reap([Death("worker.1")])
        assert [stage.state(job) for job in jobs] == [JobState.READY] * 4

    def test_a_death_in_company_costs_a_suspect_nothing(self, stage: Stage) -> None:
        _crashed_together(stage, 4)
        group = stage.claim(alone=True)
        before = [_counters(stage.row(job)) for job in group]
        stage.crash()
        assert [_counters(stage.row(job)) for job in group] == [(attempts - 1, 1, 0) for attempts, _, _ in before]
        assert [stage.row(job).suspect for job in group] == [1, 1]

    def test_those_that_are_suspected_least_go_first(self, stage: Stage) -> None:
        lonely = stage.make_suspect(priority=100)
        crowd = _crashed_together(stage, 3)
        assert set(ids(stage.claim(alone=True))) < set(ids(crowd))
        assert stage.state(lonely) is JobState.READY

    def test_suspects_leave_half_of_the_workers_to_others(self, stage: Stage) -> None:
        _crashed_together(stage, 20)
        workers = [f"worker.{n}" for n in range(2, 6)]
        together(*[partial(stage.register, worker) for worker in workers])
        answers = [stage.ask(3, session=worker, alone=True) for worker in workers]
        assert [len(answer.jobs) for answer in answers] == [3, 3, 0, 0]
        assert [answer.suspects for answer in answers] == [True, True, False, False]
        fresh = stage.pushed()
        assert ids(stage.claim(session="worker.5", alone=True)) == [fresh.id]

    def test_the_only_worker_runs_suspects(self, stage: Stage) -> None:
        _crashed_together(stage, 2)
        assert len(stage.claim(alone=True)) == 1

    def test_the_dead_occupy_no_worker(self, stage: Stage) -> None:
        _crashed_together(stage, 4)
        assert len(stage.claim(1, session="worker.2", alone=True)) == 1
        stage.broker.reap([Death("worker.2", frozenset())])
        assert len(stage.claim(1, session="worker.3", alone=True)) == 1

    @pytest.mark.parametrize("orderly", [False, True])
    def test_a_suspect_that_was_given_back_or_interrupted_is_one_as_before(self, stage: Stage, orderly: bool) -> None:
        _crashed_together(stage, 5)
        group = stage.claim(alone=True)
        stage.broker.reap([Death("worker.1", None if orderly else frozenset(), orderly)])
        assert [stage.row(job).suspect for job in group] == [4] * 4

    def test_a_suspect_that_is_to_run_again_by_a_persons_wish_is_none(self, stage: Stage) -> None:
        job = stage.make_suspect()
        stage.broker.move([job.id], JobState.CANCELLED)
        stage.broker.move([job.id], JobState.READY)
        assert stage.row(job).suspect == 0
        assert ids(stage.claim()) == [job.id]

    def test_a_worker_that_runs_nothing_takes_others_when_there_is_no_suspect(self, stage: Stage) -> None:
        jobs = new_jobs(3)
        stage.push_each(*jobs)
        answer = stage.ask(alone=True)
        assert ids(answer.jobs) == ids(jobs)
        assert not answer.suspects

    def test_suspects_of_other_queues_and_tasks_are_not_told(self, stage: Stage) -> None:
        stage.make_suspect(queue="a")
        assert not stage.ask(queues=("b",)).suspects
        assert not stage.ask(tasks=frozenset({"mail"})).suspects
        assert stage.claim(queues=("b",), alone=True) == []

    def test_a_paused_suspect_is_not_handed_out(self, stage: Stage) -> None:
        stage.make_suspect(queue="a")
        stage.broker.pause(PauseScope("a"), True)
        answer = stage.ask(alone=True)
        assert (answer.jobs, answer.suspects) == ([], False)

    def test_a_suspect_may_succeed(self, stage: Stage) -> None:
        suspect = stage.make_suspect()
        stage.write(stage.claim_one(alone=True))
        assert (stage.state(suspect), stage.row(suspect).crashes) == (JobState.SUCCEEDED, 1)

    def test_the_wait_grows_with_the_crashes(self, stage: Stage) -> None:
        job = stage.make_suspect()
        assert stage.state(job) is JobState.READY
        stage.claim_one(alone=True)
        stage.crash()
        assert stage.state(job) is JobState.SCHEDULED
        stage.pass_time(SETTINGS.crash_backoff[1] / 2)
        stage.tidy()
        assert stage.state(job) is JobState.SCHEDULED
        stage.pass_time(SETTINGS.crash_backoff[1])
        stage.tidy()
        assert ids(stage.claim(alone=True)) == [job.id]

    def test_the_last_wait_repeats(self, stage: Stage) -> None:
        broker = stage.connect(crash_cap=10, crash_backoff=(0.0, 10.0))
        job = stage.pushed()

        for _ in range(5):
            stage.claim_one(alone=True)
            broker.reap([Death("worker.1")])
            stage.pass_time(11)
            stage.tidy()

        assert (stage.state(job), stage.row(job).crashes) == (JobState.READY, 5)

    def test_at_the_crash_cap_the_job_fails(self, stage: Stage) -> None:
        job = stage.pushed()

        for crashes in range(1, SETTINGS.crash_cap + 1):
            assert stage.state(job) is JobState.READY
            stage.claim_one(alone=True)
            stage.crash()
            assert stage.row(job).crashes == crashes
            stage.pass_time(100)
            stage.tidy()

        row = stage.row(job)
        assert (row.state, row.reason) == (JobState.FAILED, Reason.POISON)
        assert row.finished_at is not None

    def test_the_crash_cap_is_a_setting(self, stage: Stage) -> None:
        broker = stage.connect(crash_cap=1)
        job = stage.started()
        broker.reap([Death("worker.1")])
        assert stage.row(job).reason is Reason.POISON

    def test_interruptions_are_no_crashes(self, stage: Stage) -> None:
        job = stage.pushed()

        for _ in range(SETTINGS.crash_cap + 2):
            stage.claim_one()
            stage.broker.reap([Death("worker.1", orderly=True)])

        assert (stage.state(job), stage.row(job).interruptions) == (JobState.READY, SETTINGS.crash_cap + 2)

    @pytest.mark.parametrize(("orderly", "reason"), [(False, Reason.CRASHED), (True, Reason.INTERRUPTED)])
    def test_a_job_that_must_not_run_twice_fails(self, stage: Stage, orderly: bool, reason: Reason) -> None:
        job = stage.started(head=MUST_NOT_RUN_TWICE)
        stage.broker.reap([Death("worker.1", orderly=orderly)])
        assert (stage.state(job), stage.row(job).reason) == (JobState.FAILED, reason)

    def test_a_job_that_must_not_run_twice_goes_back_when_it_never_began(self, stage: Stage) -> None:
        job = stage.started(head=MUST_NOT_RUN_TWICE)
        stage.broker.reap([Death("worker.1", frozenset())])
        assert stage.state(job) is JobState.READY

    def test_a_crashed_attempt_cannot_be_settled(self, stage: Stage) -> None:
        job = stage.started()
        stage.crash()
        again = stage.claim_one(alone=True)
        assert stage.broker.settle([settlement(job, JobState.FAILED)]) == [Settled.REFUSED]
        stage.write(again)


class Losses:
    """Workers that vanish with their supervisors: nobody saw what happened."""

    def test_nobody_is_suspected(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3))
        jobs = stage.claim()
        stage.sweep_past_the_lease()
        assert [_counters(stage.row(job)) for job in jobs] == [(0, 0, 0)] * 3
        assert ids(stage.claim()) == ids(jobs)

    def test_it_stands_in_the_history(self, stage: Stage) -> None:
        job = stage.started()
        stage.sweep_past_the_lease()
        (attempt,) = _history(stage.row(job))
        assert (attempt.number, attempt.reason, attempt.error and attempt.error.type) == (1, Reason.LOST, "Lost")

    def test_it_is_told(self, stage: Stage) -> None:
        job = stage.started()
        stage.sweep_past_the_lease()
        (notice,) = stage.broker.notices(stage.register("teller.1"), TASKS)
        assert (notice.id, notice.state, notice.reason) == (job.id, JobState.READY, Reason.LOST)

    def test_a_job_under_which_workers_vanish_again_and_again_is_suspected_in_the_end(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3))

        for _ in range(FREE_LOSSES):
            jobs = stage.claim()
            stage.sweep_past_the_lease()
            assert [stage.row(job).suspect for job in jobs] == [0, 0, 0]

        stage.claim()
        stage.sweep_past_the_lease()
        assert [(stage.row(job).suspect, stage.row(job).crashes) for job in jobs] == [(2, 1)] * 3

    def test_a_job_that_takes_whole_hosts_along_is_poison_in_the_end_and_its_neighbours_are_not(self, stage: Stage) -> None:
        jobs = new_jobs(4)
        stage.push_each(*jobs)
        pill = jobs[1]
        losses = _deaths_until_found(stage, pill, stage.sweep_past_the_lease)
        assert stage.row(pill).reason is Reason.POISON
        assert losses <= FREE_LOSSES + 2 + SETTINGS.crash_cap
        assert all(stage.state(job) in (JobState.SUCCEEDED, JobState.READY) for job in jobs if job is not pill)

    def test_work_that_must_not_run_twice_fails(self, stage: Stage) -> None:
        job = stage.started(head=MUST_NOT_RUN_TWICE)
        stage.sweep_past_the_lease()
        assert (stage.state(job), stage.row(job).reason) == (JobState.FAILED, Reason.CRASHED)


def _crashed_together(stage: Stage, count: int) -> list[ClaimedJob]:
    """So many jobs of one process that has died."""
    stage.push_each(*new_jobs(count))
    jobs = stage.claim()
    stage.crash()
    return jobs


def _deaths_until_found(stage: Stage, pill: NewJob, die: Callable[[], object]) -> int:
    """Run everything, and die whenever the pill is among what runs, until it has failed; return how often that was."""
    deaths = 0

    while stage.state(pill) is not JobState.FAILED:
        group = stage.claim(alone=True)

        if pill.id in ids(group):
            deaths += 1
            die()
        else:
            stage.broker.settle([settlement(job) for job in group])

        stage.pass_time(100)
        stage.tidy()
        stage.broker.reap()

    return deaths


def _history(row: JobRow) -> list[Attempt]:
    return msgspec.msgpack.decode(row.attempts, type=list[Attempt]) if row.attempts else []


def _counters(row: JobRow) -> tuple[int, int, int]:
    """Attempts, crashes, interruptions."""
    return row.attempt, row.crashes, row.interruptions
