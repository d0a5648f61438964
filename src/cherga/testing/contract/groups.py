"""Jobs that belong together: one handle for many, one failure for all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from cherga.doors.broker import Topic
from cherga.testing.contract.stage import SOON, Stage, after, ids, new_job, new_jobs, settlement
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState, Reason
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, JobHead, NewJob, OnCrash, Overrides

TOGETHER = EdgePolicy.TOGETHER
PAGE = 100
DAYS = 86_400.0


class Grouping:
    """``GROUP_TASK``: a job that needs no worker."""

    def test_a_group_of_nobody_has_succeeded(self, stage: Stage) -> None:
        group = new_job(GROUP_TASK)
        assert stage.push(group).jobs[0].state is JobState.SUCCEEDED
        row = stage.row(group)
        assert (row.result, row.attempt, row.claims, row.reason) == (None, 0, 0, None)
        assert row.finished_at is not None
        assert stage.ask().unknown == frozenset()

    def test_a_group_succeeds_with_its_last_member(self, stage: Stage) -> None:
        group, _ = _group(stage, 3)
        first, second, third = stage.claim()
        assert stage.row(group).pending == 3
        stage.write(first)
        stage.write(second)
        assert stage.state(group) is JobState.BLOCKED
        stage.write(third)
        row = stage.row(group)
        assert (row.state, row.pending, row.ready_at, row.claims) == (JobState.SUCCEEDED, 0, None, 0)
        assert stage.claim() == []

    def test_a_group_of_what_has_ended_succeeds_at_the_push(self, stage: Stage) -> None:
        group = after(stage.ended(), task=GROUP_TASK)
        assert stage.push(group).jobs[0].state is JobState.SUCCEEDED

    def test_a_group_never_waits_for_a_time(self, stage: Stage) -> None:
        group = new_job(GROUP_TASK, delay=60)
        assert stage.push(group).jobs[0].state is JobState.SUCCEEDED
        member = new_job()
        stage.push(member, later := after(member, task=GROUP_TASK, delay=60))
        stage.write(stage.claim_one())
        assert stage.state(later) is JobState.SUCCEEDED

    @pytest.mark.parametrize("first", [True, False])
    def test_what_waits_for_a_group_goes_on(self, stage: Stage, first: bool) -> None:
        member = new_job()
        group = after(member, task=GROUP_TASK)
        last = after(group)
        stage.push(*((last, group, member) if first else (member, group, last)))
        stage.write(stage.claim_one())
        stage.tidy()
        assert ids(stage.claim()) == [last.id]

    def test_what_waits_for_a_group_of_nobody_goes_on(self, stage: Stage) -> None:
        group = new_job(GROUP_TASK)
        last, outer = after(group), after(group, task=GROUP_TASK)
        stage.push(last, outer, group)
        stage.tidy()
        assert stage.states([last, outer]) == [JobState.READY, JobState.SUCCEEDED]

    def test_groups_in_groups_succeed_from_the_inside(self, stage: Stage) -> None:
        inner, members = _group(stage, 2)
        outer = after(inner, task=GROUP_TASK)
        stage.push(outer)
        _end_all(stage)
        stage.tidy()
        assert stage.states([inner, outer, *members]) == [JobState.SUCCEEDED] * 4

    def test_a_failed_member_cancels_its_group(self, stage: Stage) -> None:
        group, _ = _group(stage, 2)
        first, _ = stage.claim()
        stage.write(first, JobState.FAILED)
        row = stage.row(group)
        assert (row.state, row.reason) == (JobState.CANCELLED, Reason.UPSTREAM)

    def test_a_group_that_waits_for_any_end_succeeds_over_failures(self, stage: Stage) -> None:
        group, _ = _group(stage, 2, policy=EdgePolicy.ENDED)
        first, second = stage.claim()
        stage.write(first, JobState.FAILED)
        stage.write(second)
        assert stage.state(group) is JobState.SUCCEEDED

    def test_a_group_tells_who_follows_it(self, stage: Stage) -> None:
        group, _ = _group(stage, 1)

        with stage.following(group.id) as listener:
            stage.write(stage.claim_one())
            assert listener.wait(SOON)

    def test_a_group_is_not_run_again(self, stage: Stage) -> None:
        group, _ = _group(stage, 1)
        stage.broker.move([group.id], JobState.CANCELLED)
        assert stage.broker.move([group.id], JobState.READY) == []
        assert stage.state(group) is JobState.CANCELLED

    # --- how long

    @pytest.mark.parametrize(("overrides", "keep"), [(None, DAYS), (Overrides(result_ttl=50), 50.0)])
    def test_a_group_is_kept_as_long_as_a_result(self, stage: Stage, overrides: Overrides | None, keep: float) -> None:
        head = msgspec.msgpack.encode(JobHead(overrides=overrides)) if overrides else None
        group = stage.pushed(task=GROUP_TASK, head=head)
        stage.pass_time(keep - 10)
        assert stage.broker.prune() == 0
        stage.pass_time(20)
        assert stage.broker.prune() == 1
        assert not stage.is_kept(group)

    def test_members_are_kept_while_their_group_is(self, stage: Stage) -> None:
        _, members = _group(stage, 3)
        _end_all(stage, keep=10)
        stage.pass_time(11)
        assert stage.broker.prune() == 0
        assert stage.states(members) == [JobState.SUCCEEDED] * 3

    def test_members_go_after_their_group(self, stage: Stage) -> None:
        group, members = _group(stage, 3)
        _end_all(stage, keep=10)
        stage.pass_time(DAYS + 10)
        assert _prune_all(stage) == 4
        assert not any(stage.is_kept(job) for job in (group, *members))

    def test_members_of_a_cancelled_group_are_kept_with_it(self, stage: Stage) -> None:
        group, _ = _group(stage, 2)
        stage.broker.move([group.id], JobState.CANCELLED)
        _end_all(stage, keep=10)
        stage.pass_time(11)
        assert stage.broker.prune() == 0

    def test_a_member_that_had_ended_before_the_push_is_kept_as_well(self, stage: Stage) -> None:
        member = stage.ended(keep=10)
        stage.push(after(member, task=GROUP_TASK))
        stage.pass_time(11)
        assert stage.broker.prune() == 0
        assert stage.is_kept(member)

    def test_members_do_not_hold_up_what_else_is_to_go(self, stage: Stage) -> None:
        _group(stage, 30)
        _end_all(stage, keep=10)
        stage.pushed()
        stage.write(stage.claim_one(), keep=20)
        stage.pass_time(21)
        assert stage.broker.prune(limit=5) == 1

    def test_over_the_cap_members_are_kept_too(self, stage: Stage) -> None:
        broker = stage.connect(succeeded_cap=2)
        group, members = _group(stage, 5)
        stage.broker.move([group.id], JobState.CANCELLED)
        _end_all(stage)
        assert broker.prune() == 0
        assert stage.states(members) == [JobState.SUCCEEDED] * 5


class Together:
    """``EdgePolicy.TOGETHER``: what one failure means for the others."""

    def test_success_releases_as_ever(self, stage: Stage) -> None:
        group, members = _family(stage, 3)
        _end_all(stage)
        assert stage.states([group, *members]) == [JobState.SUCCEEDED] * 4

    @pytest.mark.parametrize("end", [JobState.FAILED, JobState.CANCELLED])
    def test_any_other_end_cancels_those_that_wait(self, stage: Stage, end: JobState) -> None:
        group, members = _family(stage, 4)
        stage.write(stage.claim(1)[0], end)
        assert stage.states([group, *members[1:]]) == [JobState.CANCELLED] * 4
        assert {stage.row(job).reason for job in (group, *members[1:])} == {Reason.UPSTREAM}
        assert stage.claim() == []

    def test_members_that_run_are_told_to_stop(self, stage: Stage) -> None:
        _family(stage, 3)
        first, second, _ = stage.claim()
        stage.write(second)

        with stage.broker.listen([Topic.CANCEL]) as listener:
            stage.write(first, JobState.FAILED)
            assert listener.wait(SOON)

        (cancel,) = stage.broker.heartbeat(["worker.1"]).cancels
        assert cancel.id not in (first.id, second.id)

    def test_what_has_ended_stays_as_it_is(self, stage: Stage) -> None:
        _, members = _family(stage, 2)
        first, second = stage.claim()
        stage.write(first)
        stage.write(second, JobState.FAILED)
        stage.tidy()
        assert stage.states(members) == [JobState.SUCCEEDED, JobState.FAILED]

    def test_children_of_members_are_cancelled_too(self, stage: Stage) -> None:
        _, (first, second) = _family(stage, 2)
        grandchildren = new_jobs(2, parent=second.id, delay=60)
        stage.push(*grandchildren)
        stage.write(stage.claim(1)[0], JobState.FAILED)
        stage.tidy()
        assert stage.states([first, second, *grandchildren]) == [JobState.FAILED, *[JobState.CANCELLED] * 3]

    def test_jobs_that_are_no_children_are_left_alone(self, stage: Stage) -> None:
        member, stranger = new_jobs(2)
        group = new_job(GROUP_TASK, edges=(Edge(member.id, TOGETHER), Edge(stranger.id, TOGETHER)))
        stage.push(member, stranger, group)
        stage.write(stage.claim(1)[0], JobState.FAILED)
        stage.tidy()
        assert stage.states([group, stranger]) == [JobState.CANCELLED, JobState.READY]

    def test_a_callback_is_cancelled_with_its_members(self, stage: Stage) -> None:
        callback, members = _family(stage, 3, task="mail")
        stage.write(stage.claim(1)[0], JobState.FAILED)
        assert stage.states([callback, *members[1:]]) == [JobState.CANCELLED] * 3

    @pytest.mark.parametrize("policy", [EdgePolicy.SUCCEEDED, EdgePolicy.ENDED])
    @pytest.mark.parametrize("first", [True, False])
    def test_together_goes_before_a_milder_policy_for_the_same_parent(
        self, stage: Stage, policy: EdgePolicy, first: bool
    ) -> None:
        group, bad = new_job(GROUP_TASK), new_job()
        good = new_job(parent=group.id, delay=60)
        policies = (TOGETHER, policy) if first else (policy, TOGETHER)
        stage.push(bad, good, msgspec.structs.replace(group, edges=tuple(Edge(bad.id, each) for each in policies)))
        stage.write(stage.claim_one(), JobState.FAILED)
        assert stage.states([group, good]) == [JobState.CANCELLED] * 2

    def test_a_member_that_had_failed_before_the_push_cancels_the_others(self, stage: Stage) -> None:
        failed = stage.ended(JobState.FAILED)
        group = after(failed, policy=TOGETHER, task=GROUP_TASK)
        members = new_jobs(3, parent=group.id)
        stage.push(members[0], group, *members[1:])
        stage.tidy()
        assert stage.states([group, *members]) == [JobState.CANCELLED] * 4

    def test_many_members_are_cancelled_in_pages(self, stage: Stage) -> None:
        _, members = _family(stage, 251)
        stage.write(stage.claim(1)[0], JobState.FAILED)
        assert stage.states(members).count(JobState.CANCELLED) == PAGE
        assert stage.broker.promote(limit=10).next_in == 0.0
        stage.tidy()
        assert Counter(stage.states(members[1:])) == {JobState.CANCELLED: 250}

    def test_a_crashed_member_that_fails_cancels_the_others(self, stage: Stage) -> None:
        head = msgspec.msgpack.encode(JobHead(overrides=Overrides(on_crash=OnCrash.FAIL)))
        group, (first, second) = _family(stage, 2, head=head)
        stage.claim(1)
        stage.crash()
        stage.tidy()
        assert stage.states([group, first, second]) == [JobState.CANCELLED, JobState.FAILED, JobState.CANCELLED]


def _group(stage: Stage, size: int, policy: EdgePolicy = EdgePolicy.SUCCEEDED) -> tuple[NewJob, list[NewJob]]:
    members = new_jobs(size)
    group = after(*members, policy=policy, task=GROUP_TASK)
    stage.push(*members, group)
    return group, members


def _family(stage: Stage, size: int, task: str = GROUP_TASK, **fields: Any) -> tuple[NewJob, list[NewJob]]:
    """A group whose members are its children."""
    group = new_job(task)
    members = new_jobs(size, parent=group.id, **fields)
    group = msgspec.structs.replace(group, edges=tuple(Edge(member.id, TOGETHER) for member in members))
    stage.push(*members, group)
    return group, members


def _end_all(stage: Stage, keep: float = DAYS) -> list[ClaimedJob]:
    jobs = stage.claim()
    stage.broker.settle([settlement(job, keep=keep) for job in jobs])
    return jobs


def _prune_all(stage: Stage) -> int:
    total = 0

    while count := stage.broker.prune():
        total += count

    return total
