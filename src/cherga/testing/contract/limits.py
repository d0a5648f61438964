"""Limits on how many jobs run at the same time: which rules hold, and for what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cherga.testing.contract.stage import Stage, ids, new_job, new_jobs
from cherga.words.claim import ClaimedJob
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.limits import LIMIT, OVERRIDE, LimitRule, LimitUse
from cherga.words.push import NewJob
from cherga.words.shared import Definition, PauseScope

KEY = "key:user"
A, B, C = (f"{KEY}|{value}" for value in "abc")


class Limiting:
    """``LimitRule.max_running``."""

    @pytest.mark.parametrize("name", ["task:export", "queue:q", KEY, A])
    def test_a_claim_takes_no_more_than_the_limit_allows(self, stage: Stage, name: str) -> None:
        set_limit(stage, name, max_running=3)
        stage.push_each(*new_jobs(10, queue="q", limit_keys=(A,)))
        assert len(stage.claim(100)) == 3
        assert stage.claim(100) == []
        assert stage.claim(100, session="worker.2") == []

    def test_a_limit_holds_for_its_own_jobs_alone(self, stage: Stage) -> None:
        set_limit(stage, "task:mail", max_running=0)
        set_limit(stage, "queue:q", max_running=0)
        set_limit(stage, A, max_running=0)
        free = [new_job("export"), new_job("export", queue="task:mail"), new_job("export", limit_keys=(B,))]
        stage.push_each(new_job("mail"), new_job("export", queue="q"), new_job("export", limit_keys=(A,)), *free)
        assert set(ids(stage.claim())) == set(ids(free))

    def test_each_value_of_a_key_has_slots_of_its_own(self, stage: Stage) -> None:
        set_limit(stage, KEY, max_running=2)
        stage.push_each(*jobs_of(5, A, B, C))
        assert count_keys(stage, stage.claim()) == {A: 2, B: 2, C: 2}

    def test_a_claim_fills_the_slots_of_every_value(self, stage: Stage) -> None:
        set_limit(stage, KEY, max_running=2)
        stage.push_each(*jobs_of(2, A, B, C))
        assert [len(stage.claim(2)) for _ in range(4)] == [2, 2, 2, 0]

    def test_a_value_with_a_rule_of_its_own_goes_by_that(self, stage: Stage) -> None:
        set_limit(stage, KEY, max_running=1)
        set_limit(stage, B, max_running=3)
        stage.push_each(*jobs_of(5, A, B))
        assert count_keys(stage, stage.claim()) == {A: 1, B: 3}

    def test_an_override_for_all_values_leaves_a_rule_for_one_value(self, stage: Stage) -> None:
        set_limit(stage, B, max_running=3)
        set_limit(stage, KEY, OVERRIDE, max_running=1)
        stage.push_each(*jobs_of(5, A, B))
        assert count_keys(stage, stage.claim()) == {A: 1, B: 3}

    def test_a_key_with_values_counts_across_tasks_and_queues(self, stage: Stage) -> None:
        set_limit(stage, KEY, max_running=2)
        stage.push_each(*(new_job(task, queue=queue, limit_keys=(A,)) for task in ("mail", "export") for queue in "pq"))
        assert len(stage.claim()) == 2

    def test_a_job_counts_for_all_its_limits(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=4)
        set_limit(stage, "queue:q", max_running=3)
        set_limit(stage, KEY, max_running=2)
        stage.push_each(*(new_job(queue="q", limit_keys=(key,)) for key in (A, B, C) for _ in range(5)))
        jobs = stage.claim()
        assert len(jobs) == 3
        assert max(count_keys(stage, jobs).values()) <= 2
        stage.push_each(*new_jobs(5, queue="p"))
        assert [job.queue for job in stage.claim()] == ["p"]

    def test_a_job_with_two_keys_needs_room_under_both(self, stage: Stage) -> None:
        set_limit(stage, A, max_running=5)
        set_limit(stage, B, max_running=1)
        stage.push_each(*new_jobs(4, limit_keys=(A, B)))
        assert len(stage.claim()) == 1
        stage.push_each(*new_jobs(4, limit_keys=(A,)))
        assert len(stage.claim(3)) == 3
        assert running_under(stage, A, B) == [4, 1]

    def test_a_key_named_twice_counts_once(self, stage: Stage) -> None:
        set_limit(stage, A, max_running=2)
        stage.push_each(*new_jobs(4, limit_keys=(A, A)))
        assert len(stage.claim()) == 2
        assert running_under(stage, A) == [2]

    def test_a_name_with_a_bar_is_no_value_of_another(self, stage: Stage) -> None:
        set_limit(stage, "queue:a", max_running=0)
        job = stage.pushed(queue="a|b")
        assert ids(stage.claim()) == [job.id]

    def test_what_is_without_a_rule_is_without_a_limit(self, stage: Stage) -> None:
        stage.push_each(*jobs_of(20, A, B))
        assert len(stage.claim()) == 40

    def test_slots_over_several_claims_add_up(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=5)
        stage.push_each(*new_jobs(20))
        assert [len(stage.claim(2)) for _ in range(4)] == [2, 2, 1, 0]

    # --- closed lanes

    def test_a_limit_that_is_reached_hides_no_other_job(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=1)
        set_limit(stage, A, max_running=1)
        stage.push_each(*new_jobs(300, priority=10), *new_jobs(300, task="mail", priority=5, limit_keys=(A,)))
        last = stage.pushed(task="mail", priority=-5)
        assert [job.task for job in stage.claim(2)] == ["export", "mail"]
        assert ids(stage.claim(1)) == [last.id]

    def test_a_limit_that_is_reached_hides_no_other_queue(self, stage: Stage) -> None:
        set_limit(stage, "queue:a", max_running=1)
        stage.push_each(*new_jobs(5, queue="a"), *new_jobs(5, queue="b"))
        assert [job.queue for job in stage.claim(3, queues=("a", "b"))] == ["a", "b", "b"]

    def test_what_a_limited_queue_cannot_use_of_its_share_the_others_may(self, stage: Stage) -> None:
        set_limit(stage, "queue:a", max_running=1)
        stage.push_each(*new_jobs(20, queue="a"), *new_jobs(20, queue="b"))
        jobs = stage.claim(8, queues=("a", "b"), weights=(3, 1))
        assert sorted(job.queue for job in jobs) == ["a"] + ["b"] * 7

    def test_the_best_jobs_get_the_slots(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=3)
        jobs = [new_job(priority=priority) for priority in (0, 5, -3, 5, 9)]
        stage.push_each(*jobs)
        assert ids(stage.claim()) == ids([jobs[4], jobs[1], jobs[3]])

    def test_unknown_tasks_are_named_also_beside_full_ones(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=0)
        stage.push_each(new_job(), new_job("fax"))
        answer = stage.ask()
        assert (answer.jobs, answer.unknown) == ([], frozenset({"fax"}))

    def test_a_pause_and_a_limit_hold_together(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_running=1)
        stage.push_each(*new_jobs(2, queue="q", limit_keys=(A,)), *new_jobs(2, queue="q", task="mail"))
        stage.broker.pause(PauseScope(None, "export"), True)
        (job,) = stage.claim()
        assert job.task == "mail"
        stage.write(job)
        stage.broker.pause(PauseScope(None, "mail"), True)
        assert stage.claim() == []
        stage.broker.pause(PauseScope(None, "export"), False)
        assert [job.task for job in stage.claim()] == ["export"]

    def test_an_expired_job_takes_no_slot(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=1)
        stage.pushed(expires_in=10)
        job = stage.pushed()
        stage.pass_time(11)
        assert ids(stage.claim()) == [job.id]
        assert running_under(stage, "task:export") == [1]

    # --- changing rules

    def test_a_limit_of_zero_stops(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=0)
        stage.push_each(*new_jobs(3))
        answer = stage.ask()
        assert (answer.jobs, answer.again_in) == ([], None)

    def test_a_limit_goes_up_and_down_at_run_time(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(20))
        set_limit(stage, "task:export", max_running=2)
        jobs = stage.claim()
        set_limit(stage, "task:export", max_running=5)
        jobs += stage.claim()
        assert len(jobs) == 5
        set_limit(stage, "task:export", max_running=3)

        for job in jobs[:2]:
            stage.write(job)
            assert stage.claim() == []

        stage.write(jobs[2])
        assert len(stage.claim()) == 1

    def test_jobs_that_ran_before_the_limit_was_set_count(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(10, limit_keys=(A,)))
        stage.claim(3)
        set_limit(stage, KEY, max_running=4)
        assert len(stage.claim()) == 1

    def test_an_override_goes_before_the_code(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(20))
        set_limit(stage, "task:export", OVERRIDE, max_running=4)
        set_limit(stage, "task:export", version=7, max_running=1)
        assert len(stage.claim()) == 4

    def test_an_override_that_is_taken_back_leaves_the_code(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(20))
        set_limit(stage, "task:export", max_running=1)
        set_limit(stage, "task:export", OVERRIDE, max_running=0)
        assert stage.claim() == []
        take_back(stage, "task:export", OVERRIDE)
        assert len(stage.claim()) == 1

    def test_a_limit_that_is_taken_back_holds_no_more(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(20))
        set_limit(stage, "task:export", max_running=1)
        stage.claim()
        take_back(stage, "task:export")
        assert len(stage.claim()) == 19

    def test_a_rule_of_an_older_version_changes_nothing(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(20))
        set_limit(stage, "task:export", version=2, max_running=2)
        set_limit(stage, "task:export", version=1, max_running=9)
        assert len(stage.claim()) == 2

    @pytest.mark.parametrize("kind", [LIMIT, OVERRIDE])
    @pytest.mark.parametrize("data", [b"\xc1", b"\x80garbage", b"\x93\x01\x02\x03", b"\x81\xabmax_running\xa1x"])
    def test_a_rule_that_cannot_be_read_is_no_rule(self, stage: Stage, kind: str, data: bytes) -> None:
        stage.broker.define([Definition(kind, "task:export", data)])
        set_limit(stage, "task:mail", max_running=1)
        stage.push_each(*new_jobs(3), *new_jobs(3, task="mail"))
        assert sorted(job.task for job in stage.claim()) == ["export"] * 3 + ["mail"]
        assert stage.broker.limits(["task:export"]) == []

    def test_a_limit_declared_by_another_connection_holds(self, stage: Stage) -> None:
        other = stage.connect()
        stage.push_each(*new_jobs(4))
        assert len(stage.claim(1)) == 1
        other.define([_definition("task:export", LIMIT, 0, max_running=2)])
        assert len(stage.claim()) == 1

    def test_a_limit_outlives_the_broker(self, stage: Stage) -> None:
        set_limit(stage, A, OVERRIDE, max_running=2)
        stage.push_each(*new_jobs(4, limit_keys=(A,)))
        stage.claim(1)
        stage.broker.close()
        stage.broker.open()
        assert running_under(stage, A) == [1]
        assert len(stage.claim()) == 1

    @pytest.mark.parametrize("value", ["черга", "a'b\"c;--", "a|b", "", "x" * 500])
    def test_any_value_can_be_limited(self, stage: Stage, value: str) -> None:
        set_limit(stage, KEY, max_running=1)
        stage.push_each(*new_jobs(2, limit_keys=(f"{KEY}|{value}",)), *new_jobs(2, limit_keys=(f"{KEY}|other",)))
        assert len(stage.claim()) == 2

    # --- looking

    def test_limits_tell_rule_and_use(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_running=5)
        set_limit(stage, KEY, max_running=2)
        stage.push_each(*(new_job(queue="q", limit_keys=(key,)) for key in (A, A, A, B)))
        stage.claim()
        assert stage.broker.limits([B, "task:export", "queue:q", A]) == [
            LimitUse(B, LimitRule(2), 1),
            LimitUse("queue:q", LimitRule(5), 3),
            LimitUse(A, LimitRule(2), 2),
        ]

    def test_limits_tell_the_rule_in_force(self, stage: Stage) -> None:
        set_limit(stage, "task:mail", max_running=1)
        set_limit(stage, "task:mail", OVERRIDE, max_running=9)
        assert [use.rule for use in stage.broker.limits(["task:mail"])] == [LimitRule(9)]

    def test_nobody_asked_for_no_limits(self, stage: Stage) -> None:
        set_limit(stage, "task:mail", max_running=1)
        assert stage.broker.limits([]) == []

    def test_jobs_can_be_found_by_their_limit(self, stage: Stage) -> None:
        jobs = [new_job("mail", queue="q", limit_keys=(A, B)), new_job("export", limit_keys=(B,)), new_job("mail")]
        stage.push_each(*jobs)
        expected = {"queue:q": jobs[:1], "task:mail": [jobs[2], jobs[0]], A: jobs[:1], B: [jobs[1], jobs[0]], C: [], KEY: []}
        assert {name: ids(stage.broker.find(JobFilter(limit=name))) for name in expected} == {
            name: ids(found) for name, found in expected.items()
        }

    def test_jobs_under_a_limit_are_found_by_state_and_page(self, stage: Stage) -> None:
        jobs = new_jobs(5, limit_keys=(A,))
        stage.push_each(*jobs)
        (running,) = stage.claim(1)
        assert ids(stage.broker.find(JobFilter(limit=A, states=frozenset({JobState.RUNNING})))) == [running.id]
        newest = stage.broker.find(JobFilter(limit=A), limit=2)
        older = stage.broker.find(JobFilter(limit=A), limit=2, before=newest[-1].sequence)
        assert ids(newest) + ids(older) == ids(jobs[:0:-1])

    def test_limit_keys_are_kept_with_the_job(self, stage: Stage) -> None:
        job = stage.pushed(limit_keys=(B, A))
        assert stage.row(job).limit_keys == (B, A)
        stage.write(stage.claim_one(), JobState.READY)
        assert stage.row(job).limit_keys == (B, A)


def set_limit(stage: Stage, name: str, kind: str = LIMIT, version: int = 0, **rule: Any) -> None:
    """Declare a rule."""
    stage.broker.define([_definition(name, kind, version, **rule)])


def take_back(stage: Stage, name: str, kind: str = LIMIT) -> None:
    """Take a rule back."""
    stage.broker.define([Definition(kind, name, b"")])


def _definition(name: str, kind: str, version: int, **rule: Any) -> Definition:
    return Definition(kind, name, msgspec.msgpack.encode(LimitRule(**rule)), version)


def jobs_of(count: int, *keys: str) -> list[NewJob]:
    """So many new jobs of each key."""
    return [new_job(limit_keys=(key,)) for key in keys for _ in range(count)]


def keys_of(stage: Stage, job: ClaimedJob) -> tuple[str, ...]:
    """The limit keys of a job."""
    return stage.row(job).limit_keys


def count_keys(stage: Stage, jobs: list[ClaimedJob]) -> dict[str, int]:
    """The number of these jobs of each key."""
    keys = [key for job in jobs for key in keys_of(stage, job)]
    return {key: keys.count(key) for key in sorted(set(keys))}


def running_under(stage: Stage, *names: str) -> list[int]:
    """The number of jobs that run under each of these limits, as the broker tells."""
    return [use.running for use in stage.broker.limits(names)]
