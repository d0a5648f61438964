"""Jobs that wait for other jobs."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from cherga.testing.contract.stage import SETTINGS, Stage, after, ids, new_job, new_jobs, settlement, together
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState, Reason
from cherga.words.push import Edge, EdgePolicy, NewJob

ENDED = EdgePolicy.ENDED
PAGE = 100
"""Dependants that go in one step, as ``settle`` promises."""


class Dependants:
    """Edges: what blocks, what releases, what cancels, and that no release is ever lost."""

    def test_a_job_waits_for_its_parent(self, stage: Stage) -> None:
        parent, child = _pair(stage)
        row = stage.row(child)
        assert (row.state, row.pending, row.ready_at) == (JobState.BLOCKED, 1, None)
        assert ids(stage.claim()) == [parent.id]

    def test_success_releases_the_dependant(self, stage: Stage) -> None:
        _, child = _pair(stage)
        stage.write(stage.claim_one())
        row = stage.row(child)
        assert (row.state, row.pending) == (JobState.READY, 0)
        assert row.ready_at is not None
        assert ids(stage.claim()) == [child.id]

    @pytest.mark.parametrize(("end", "words"), [(JobState.FAILED, "failed"), (JobState.CANCELLED, "was cancelled")])
    def test_any_other_end_cancels_the_dependant_and_says_why(self, stage: Stage, end: JobState, words: str) -> None:
        parent, child = _pair(stage)
        stage.write(stage.claim_one(), end)
        late = after(parent)
        stage.push(late)

        for row in (stage.row(child), stage.row(late)):
            assert (row.state, row.reason) == (JobState.CANCELLED, Reason.UPSTREAM)
            assert row.message == f"a job that it waited for {words}"

        row = stage.row(child)
        assert row.finished_at is not None

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    def test_a_job_that_waits_for_any_end_is_released_by_it(self, stage: Stage, end: JobState) -> None:
        _, child = _pair(stage, policy=ENDED)
        stage.write(stage.claim_one(), end)
        assert stage.state(child) is JobState.READY

    @pytest.mark.parametrize("to", [JobState.READY, JobState.SCHEDULED])
    def test_another_attempt_of_the_parent_releases_nobody(self, stage: Stage, to: JobState) -> None:
        _, child = _pair(stage, policy=ENDED)
        stage.write(stage.claim_one(), to, delay=60)
        stage.tidy()
        assert stage.state(child) is JobState.BLOCKED

    def test_a_crash_of_the_parent_releases_nobody(self, stage: Stage) -> None:
        _, child = _pair(stage, policy=ENDED)
        stage.claim_one()
        stage.crash()
        stage.tidy()
        assert stage.state(child) is JobState.BLOCKED

    def test_a_dependant_with_a_later_time_is_scheduled_when_released(self, stage: Stage) -> None:
        parent = new_job()
        child = after(parent, delay=60)
        stage.push(parent, child)
        assert stage.state(child) is JobState.BLOCKED
        stage.write(stage.claim_one())
        assert stage.state(child) is JobState.SCHEDULED
        stage.pass_time(61)
        stage.tidy()
        assert stage.state(child) is JobState.READY

    def test_a_dependant_whose_time_has_come_is_ready_when_released(self, stage: Stage) -> None:
        parent = new_job()
        child = after(parent, delay=60)
        stage.push(parent, child)
        stage.pass_time(61)
        stage.tidy()
        assert stage.state(child) is JobState.BLOCKED
        stage.write(stage.claim_one())
        assert stage.state(child) is JobState.READY

    # --- shapes

    def test_a_chain_runs_in_its_order(self, stage: Stage) -> None:
        chain = _chain(6)
        stage.push(*chain)
        ran = [_run_one(stage) for _ in chain]
        assert ids(ran) == ids(chain)
        assert stage.states(chain) == [JobState.SUCCEEDED] * 6

    def test_a_group_may_name_the_dependant_before_its_parent(self, stage: Stage) -> None:
        chain = _chain(4)
        stage.push(*reversed(chain))
        assert ids([_run_one(stage) for _ in chain]) == ids(chain)

    def test_a_failure_cancels_the_rest_of_the_chain(self, stage: Stage) -> None:
        chain = _chain(6)
        stage.push(*chain)
        _run_one(stage)
        _run_one(stage, JobState.FAILED)
        stage.tidy()
        assert stage.states(chain) == [JobState.SUCCEEDED, JobState.FAILED] + [JobState.CANCELLED] * 4
        assert {stage.row(job).reason for job in chain[2:]} == {Reason.UPSTREAM}

    def test_a_cancelled_dependant_is_an_end_for_those_behind_it(self, stage: Stage) -> None:
        parent = new_job()
        cancelled = after(parent)
        cleaner = after(cancelled, policy=ENDED)
        stage.push(parent, cancelled, cleaner)
        _run_one(stage, JobState.FAILED)
        stage.tidy()
        assert stage.states([cancelled, cleaner]) == [JobState.CANCELLED, JobState.READY]

    def test_a_diamond_waits_for_both_branches(self, stage: Stage) -> None:
        top, left, right, bottom = _diamond()
        stage.push(top, left, right, bottom)
        assert stage.row(bottom).pending == 2
        _run_one(stage)
        first, second = stage.claim()
        stage.write(first)
        assert (stage.state(bottom), stage.row(bottom).pending) == (JobState.BLOCKED, 1)
        stage.write(second)
        assert (stage.state(bottom), stage.row(bottom).pending) == (JobState.READY, 0)

    def test_one_failed_branch_cancels_the_bottom_of_a_diamond(self, stage: Stage) -> None:
        top, left, right, bottom = _diamond()
        stage.push(top, left, right, bottom)
        _run_one(stage)
        first, second = stage.claim()
        stage.write(first, JobState.FAILED)
        assert stage.state(bottom) is JobState.CANCELLED
        stage.write(second)
        assert stage.state(bottom) is JobState.CANCELLED

    def test_policies_count_for_each_edge(self, stage: Stage) -> None:
        strict, lenient = new_jobs(2)
        child = new_job(edges=(Edge(strict.id), Edge(lenient.id, ENDED)))
        stage.push(strict, lenient, child)
        first, second = stage.claim()
        stage.write(second, JobState.FAILED)
        assert stage.state(child) is JobState.BLOCKED
        stage.write(first)
        assert stage.state(child) is JobState.READY

    def test_a_parent_named_twice_is_one_parent(self, stage: Stage) -> None:
        parent = new_job()
        child = after(parent, parent)
        stage.push(parent, child)
        assert stage.row(child).pending == 1
        _run_one(stage)
        assert stage.state(child) is JobState.READY

    # --- parents that are there already

    def test_a_parent_that_succeeded_blocks_nobody(self, stage: Stage) -> None:
        child = after(stage.ended())
        assert stage.push(child).jobs[0].state is JobState.READY
        assert stage.row(child).pending == 0

    @pytest.mark.parametrize("end", [JobState.FAILED, JobState.CANCELLED])
    def test_a_parent_that_failed_cancels_at_the_push(self, stage: Stage, end: JobState) -> None:
        child = after(stage.ended(end))
        assert stage.push(child).jobs[0].state is JobState.CANCELLED
        assert stage.row(child).reason is Reason.UPSTREAM

    def test_a_parent_that_failed_blocks_nobody_who_waits_for_any_end(self, stage: Stage) -> None:
        child = after(stage.ended(JobState.FAILED), policy=ENDED)
        assert stage.push(child).jobs[0].state is JobState.READY

    def test_a_chain_behind_a_parent_that_failed_is_cancelled(self, stage: Stage) -> None:
        failed = stage.ended(JobState.FAILED)
        first = after(failed)
        second = after(first)
        cleaner = after(second, policy=ENDED)
        stage.push(cleaner, second, first)
        stage.tidy()
        assert stage.states([first, second, cleaner]) == [JobState.CANCELLED, JobState.CANCELLED, JobState.READY]

    def test_finished_and_unfinished_parents_count_together(self, stage: Stage) -> None:
        done = stage.ended()
        open_one = stage.pushed()
        child = after(done, open_one)
        stage.push(child)
        assert (stage.state(child), stage.row(child).pending) == (JobState.BLOCKED, 1)
        _run_one(stage)
        assert stage.state(child) is JobState.READY

    def test_a_running_parent_is_waited_for(self, stage: Stage) -> None:
        parent = stage.started()
        child = after(parent)
        stage.push(child)
        stage.write(parent)
        assert stage.state(child) is JobState.READY

    def test_a_parent_may_come_from_an_earlier_group_of_the_push(self, stage: Stage) -> None:
        parent = new_job()
        answers = stage.broker.push([[parent], [after(parent)]])
        assert [answer.refused for answer in answers] == [None, None]

    def test_a_parent_of_a_refused_group_is_not_kept(self, stage: Stage) -> None:
        refused = after(new_job())
        answers = stage.broker.push([[refused], [after(refused)]])
        assert all(answer.refused for answer in answers)

    def test_a_pruned_parent_is_unknown(self, stage: Stage) -> None:
        parent = stage.ended(keep=0)
        (answer,) = stage.broker.push([[after(parent)]])
        assert answer.refused

    @pytest.mark.parametrize("length", [1, 2, 4])
    def test_jobs_that_wait_for_each_other_in_a_circle_are_refused(self, stage: Stage, length: int) -> None:
        names = [new_job().id for _ in range(length)]
        circle = [new_job(id=id, edges=(Edge(names[place - 1]),)) for place, id in enumerate(names)]
        (answer,) = stage.broker.push([circle])
        assert answer.refused
        assert stage.broker.counts() == []

    # --- many

    def test_many_dependants_go_in_pages(self, stage: Stage) -> None:
        parent, children = _fan(stage, 250)
        stage.write(stage.claim_one())
        assert stage.states(children).count(JobState.READY) == PAGE
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.READY: 250}
        assert stage.state(parent) is JobState.SUCCEEDED

    def test_many_dependants_are_cancelled_in_pages(self, stage: Stage) -> None:
        _, children = _fan(stage, 250)
        stage.write(stage.claim_one(), JobState.FAILED)
        assert stage.states(children).count(JobState.CANCELLED) == PAGE
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.CANCELLED: 250}

    def test_a_job_may_wait_for_many_parents(self, stage: Stage) -> None:
        parents = new_jobs(150)
        child = after(*parents)
        stage.push(*parents, child)
        assert stage.row(child).pending == 150
        *others, last = stage.claim()
        stage.broker.settle([settlement(job) for job in others])
        stage.tidy()
        assert (stage.state(child), stage.row(child).pending) == (JobState.BLOCKED, 1)
        stage.write(last)
        assert stage.state(child) is JobState.READY

    def test_promote_releases_at_most_its_limit(self, stage: Stage) -> None:
        _, children = _fan(stage, 250)
        stage.write(stage.claim_one())
        stage.broker.promote(limit=40)
        assert PAGE < stage.states(children).count(JobState.READY) <= PAGE + 40

    def test_a_recorded_release_outlives_the_broker(self, stage: Stage) -> None:
        _, children = _fan(stage, 150)
        stage.write(stage.claim_one())
        stage.broker.close()
        stage.broker.open()
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.READY: 150}

    def test_a_parent_that_is_kept_no_time_still_releases_all(self, stage: Stage) -> None:
        _, children = _fan(stage, 150)
        stage.write(stage.claim_one(), keep=0)
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.READY: 150}

    def test_a_parent_that_is_kept_no_time_is_kept_until_its_dependant_has_ended(self, stage: Stage) -> None:
        parent = new_job()
        stage.push(parent, after(parent))
        stage.write(stage.claim_one(), keep=0, result=b"\x07")
        assert stage.row(parent).result == b"\x07"
        stage.write(stage.claim_one())
        stage.broker.prune()
        assert stage.broker.get([parent.id]) == [None]

    def test_a_retry_of_the_parent_takes_no_release_back(self, stage: Stage) -> None:
        parent, children = _fan(stage, 150)
        stage.write(stage.claim_one())
        stage.broker.move([parent.id], JobState.READY)
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.READY: 150}

    def test_a_deep_chain_is_cancelled_to_its_end(self, stage: Stage) -> None:
        chain = _chain(150)
        stage.push(*chain)
        _run_one(stage, JobState.FAILED)
        stage.tidy()
        assert Counter(stage.states(chain[1:])) == {JobState.CANCELLED: 149}

    def test_the_last_two_parents_may_end_at_the_same_instant(self, stage: Stage) -> None:
        brokers = [stage.broker, stage.connect()]

        for _ in range(15):
            parents = new_jobs(2)
            child = after(*parents)
            stage.push(*parents, child)
            ends = zip(brokers, stage.claim(), strict=True)
            together(*[partial(broker.settle, [settlement(job)]) for broker, job in ends])
            assert (stage.state(child), stage.row(child).pending) == (JobState.READY, 0)
            stage.write(stage.claim_one())

    def test_a_push_that_races_with_the_end_of_its_parent_is_never_stranded(self, stage: Stage) -> None:
        for _ in range(15):
            parent = stage.started()
            child = after(parent)
            together(partial(stage.write, parent), partial(stage.push, child))
            stage.tidy()
            assert stage.state(child) is JobState.READY
            stage.write(stage.claim_one())

    # --- other ends

    def test_a_person_who_cancels_the_parent_cancels_its_dependants(self, stage: Stage) -> None:
        parent, child = _pair(stage)
        stage.broker.move([parent.id], JobState.CANCELLED)
        stage.tidy()
        assert stage.row(child).reason is Reason.UPSTREAM

    def test_an_expired_parent_cancels_its_dependants(self, stage: Stage) -> None:
        parent = new_job(expires_in=60)
        child = after(parent)
        stage.push(parent, child)
        stage.pass_time(61)
        stage.tidy()
        assert stage.row(child).reason is Reason.UPSTREAM

    def test_a_poisonous_parent_cancels_its_dependants(self, stage: Stage) -> None:
        _, child = _pair(stage)

        for _ in range(SETTINGS.crash_cap):
            stage.pass_time(100)
            stage.tidy()
            stage.claim_one(alone=True)
            stage.crash()

        stage.tidy()
        assert stage.row(child).reason is Reason.UPSTREAM

    def test_a_dependant_that_a_person_cancelled_stays_cancelled(self, stage: Stage) -> None:
        _, child = _pair(stage)
        stage.broker.move([child.id], JobState.CANCELLED)
        _run_one(stage)
        stage.tidy()
        assert (stage.state(child), stage.row(child).reason) == (JobState.CANCELLED, Reason.ASKED)

    def test_a_dependant_that_a_person_retried_no_longer_waits(self, stage: Stage) -> None:
        parent, child = _pair(stage)
        stage.broker.move([child.id], JobState.CANCELLED)
        assert stage.broker.move([child.id], JobState.READY) == [child.id]
        assert (stage.state(child), stage.row(child).pending) == (JobState.READY, 0)
        jobs = stage.claim()
        assert {job.id for job in jobs} == {parent.id, child.id}
        stage.write(next(job for job in jobs if job.id == parent.id), JobState.FAILED)
        stage.tidy()
        assert stage.state(child) is JobState.RUNNING


def _pair(stage: Stage, policy: EdgePolicy = EdgePolicy.SUCCEEDED) -> tuple[NewJob, NewJob]:
    parent = new_job()
    child = after(parent, policy=policy)
    stage.push(parent, child)
    return parent, child


def _chain(length: int) -> list[NewJob]:
    chain = [new_job()]

    while len(chain) < length:
        chain.append(after(chain[-1]))

    return chain


def _diamond() -> tuple[NewJob, NewJob, NewJob, NewJob]:
    top = new_job()
    left, right = after(top), after(top)
    return top, left, right, after(left, right)


def _fan(stage: Stage, width: int) -> tuple[NewJob, list[NewJob]]:
    parent = new_job()
    children = [after(parent) for _ in range(width)]
    stage.push(parent, *children)
    return parent, children


def _run_one(stage: Stage, to: JobState = JobState.SUCCEEDED) -> ClaimedJob:
    job = stage.claim_one()
    stage.write(job, to)
    return job
