"""Queues that hold only so many waiting jobs."""

from __future__ import annotations

from functools import partial

import pytest

from cherga.testing.contract.limits import set_limit, take_back
from cherga.testing.contract.stage import Stage, after, ids, new_job, new_jobs, together
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState, Reason
from cherga.words.limits import OVERRIDE, Overflow, Rate
from cherga.words.push import EdgePolicy, NewJob
from cherga.words.unique import Unique


class Capping:
    """``LimitRule.max_length`` and ``Overflow``."""

    def test_a_full_queue_refuses_one_job_more(self, stage: Stage) -> None:
        set_limit(stage, "queue:mail", max_length=3)
        answers = stage.broker.push([[job] for job in new_jobs(5, queue="mail")])
        assert [answer.refused is None for answer in answers] == [True] * 3 + [False] * 2
        assert len(stage.broker.find(JobFilter(queue="mail"))) == 3

    def test_the_refusal_says_which_queue_and_how_many(self, stage: Stage) -> None:
        set_limit(stage, "queue:mail", max_length=3)
        stage.push(*new_jobs(3, queue="mail"))
        refused = _refused(stage, new_job(queue="mail"))
        assert "queue 'mail' is full" in refused
        assert "3 jobs wait" in refused

    def test_only_that_queue_is_full(self, stage: Stage) -> None:
        set_limit(stage, "queue:mail", max_length=0)
        stage.pushed(queue="other")
        assert _refused(stage, new_job(queue="mail"))

    def test_scheduled_ready_and_blocked_jobs_count(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=3)
        first = stage.pushed(queue="q")
        stage.pushed(queue="q", delay=60, task="mail")
        stage.push(after(first, queue="q"))
        assert _refused(stage, new_job(queue="q"))
        assert _refused(stage, new_job(queue="q", delay=60))
        assert _refused(stage, after(first, queue="q"))

    def test_running_and_ended_jobs_do_not_count(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=2)
        stage.push(*new_jobs(2, queue="q"))
        first, _ = stage.claim()
        stage.write(first)
        stage.push(*new_jobs(2, queue="q"))
        assert _refused(stage, new_job(queue="q"))

    def test_a_group_is_stored_whole_or_refused(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=3)
        stage.pushed(queue="q")
        assert _refused(stage, *new_jobs(3, queue="q"), new_job(queue="other"))
        assert len(stage.broker.find(JobFilter())) == 1
        stage.push(*new_jobs(2, queue="q"), *new_jobs(5, queue="other"))

    def test_one_refusal_harms_no_other_group(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=2)
        groups = [new_jobs(1, queue="q"), new_jobs(2, queue="q"), new_jobs(1, queue="other"), new_jobs(1, queue="q")]
        assert [answer.refused is None for answer in stage.broker.push(groups)] == [True, False, True, True]

    def test_a_job_that_is_kept_already_is_answered_by_a_full_queue(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=1)
        job = stage.pushed(queue="q")
        assert stage.push(job).jobs[0].id == job.id

    def test_a_holder_is_answered_by_a_full_queue(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=1)
        holder = stage.pushed(queue="q", unique=Unique("k"))
        (answer,) = stage.push(new_job(queue="q", unique=Unique("k"))).jobs
        assert (answer.id, answer.existing) == (holder.id, True)

    @pytest.mark.parametrize("overflow", Overflow)
    def test_what_is_kept_comes_back_into_a_full_queue(self, stage: Stage, overflow: Overflow) -> None:
        set_limit(stage, "queue:q", max_length=1, overflow=overflow)
        jobs = [stage.started(queue="q") for _ in range(3)]
        stage.write(jobs[0], JobState.READY)
        stage.write(jobs[1], JobState.SCHEDULED, delay=10)
        stage.write(jobs[2], JobState.FAILED)
        assert stage.broker.move([jobs[2].id], JobState.READY) == [jobs[2].id]
        stage.pass_time(11)
        stage.tidy()
        assert [row.state for row in stage.broker.find(JobFilter(queue="q"))] == [JobState.READY] * 3

    def test_a_cap_can_be_raised_and_taken_back(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=0)
        assert _refused(stage, new_job(queue="q"))
        set_limit(stage, "queue:q", OVERRIDE, max_length=1)
        stage.pushed(queue="q")
        assert _refused(stage, new_job(queue="q"))
        take_back(stage, "queue:q", OVERRIDE)
        take_back(stage, "queue:q")
        stage.pushed(queue="q")

    def test_a_cap_leaves_running_free(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=5)
        stage.push(*new_jobs(5, queue="q"))
        answer = stage.ask()
        assert (len(answer.jobs), answer.again_in) == (5, None)

    def test_a_rule_for_a_task_caps_no_queue(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_length=0, rate=Rate(9, 60))
        stage.pushed(queue="q")

    def test_rivals_never_fill_a_queue_beyond_its_cap(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=10)
        brokers = [stage.broker, stage.connect()]
        pushes = [partial(brokers[n % 2].push, [[job] for job in new_jobs(4, queue="q")]) for n in range(6)]
        answers = [answer for batch in together(*pushes) for answer in batch]
        assert sum(answer.refused is None for answer in answers) == 10
        assert len(stage.broker.find(JobFilter(queue="q"))) == 10

    # --- dropping the oldest

    def test_the_oldest_is_dropped_for_the_newest(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=3, overflow=Overflow.DROP_OLDEST)
        jobs = new_jobs(5, queue="q")
        stage.push_each(*jobs)
        assert stage.states(jobs) == [JobState.CANCELLED] * 2 + [JobState.READY] * 3
        row = stage.row(jobs[0])
        assert (row.reason, row.message) == (Reason.DROPPED, "the queue was full")
        assert row.finished_at is not None

    def test_the_first_that_came_is_dropped_whatever_its_priority_and_time(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=2, overflow=Overflow.DROP_OLDEST)
        jobs = [new_job(queue="q", delay=60, priority=9), new_job(queue="q"), new_job(queue="q", task="mail")]
        stage.push_each(*jobs)
        assert stage.states(jobs) == [JobState.CANCELLED, JobState.READY, JobState.READY]

    def test_a_job_of_another_queue_or_that_runs_is_not_dropped(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=1, overflow=Overflow.DROP_OLDEST)
        running, other = stage.started(queue="q"), stage.pushed(queue="other")
        jobs = new_jobs(2, queue="q")
        stage.push_each(*jobs)
        assert (stage.state(running), stage.state(other)) == (JobState.RUNNING, JobState.READY)
        assert stage.states(jobs) == [JobState.CANCELLED, JobState.READY]

    def test_a_group_drops_as_many_as_it_needs(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=4, overflow=Overflow.DROP_OLDEST)
        old, new = new_jobs(4, queue="q"), new_jobs(3, queue="q")
        stage.push_each(*old)
        stage.push(*new)
        assert stage.states(old) == [JobState.CANCELLED] * 3 + [JobState.READY]
        assert stage.states(new) == [JobState.READY] * 3

    def test_a_group_above_the_cap_is_refused_and_drops_nothing(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=2, overflow=Overflow.DROP_OLDEST)
        old = new_jobs(2, queue="q")
        stage.push_each(*old)
        assert _refused(stage, *new_jobs(3, queue="q"))
        assert stage.states(old) == [JobState.READY] * 2

    def test_a_blocked_job_is_not_dropped(self, stage: Stage) -> None:
        parent = stage.pushed(queue="other")
        set_limit(stage, "queue:q", max_length=1, overflow=Overflow.DROP_OLDEST)
        blocked = after(parent, queue="q")
        stage.push(blocked)
        assert _refused(stage, new_job(queue="q"))
        assert stage.state(blocked) is JobState.BLOCKED

    def test_a_job_that_a_new_one_waits_for_is_not_dropped(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=2, overflow=Overflow.DROP_OLDEST)
        oldest, next_one = stage.pushed(queue="q"), stage.pushed(queue="q")
        new = after(oldest, queue="q")
        stage.push(new)
        assert stage.states([oldest, next_one, new]) == [JobState.READY, JobState.CANCELLED, JobState.BLOCKED]
        assert _refused(stage, after(oldest, queue="q"))

    def test_a_dropped_job_ends_as_any_other(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_length=1, overflow=Overflow.DROP_OLDEST)
        old = stage.pushed(queue="q", unique=Unique("k"))
        careless, strict = after(old, policy=EdgePolicy.ENDED), after(old)
        stage.push_each(careless, strict)
        new = stage.pushed(queue="q")
        stage.tidy()
        assert stage.states([old, careless, strict]) == [JobState.CANCELLED, JobState.READY, JobState.CANCELLED]
        assert ids(stage.claim(queues=("q",))) == [new.id]
        again = stage.pushed(queue="q", unique=Unique("k"))
        assert stage.state(again) is JobState.READY


def _refused(stage: Stage, *group: NewJob) -> str:
    (answer,) = stage.broker.push([group])
    assert answer.refused is not None
    assert answer.jobs == ()
    return answer.refused
