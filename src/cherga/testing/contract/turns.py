"""Taking turns."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from cherga.testing.contract.limits import A, B, C, jobs_of, keys_of, set_limit
from cherga.testing.contract.stage import Stage, ids, new_job, new_jobs
from cherga.words.push import NewJob


class TakingTurns:
    """Jobs of one queue and task that differ in their limit keys."""

    def test_a_rare_key_comes_second_at_the_latest(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=1)
        stage.push_each(*new_jobs(100, limit_keys=(A,)))
        rare = stage.pushed(limit_keys=(B,))
        assert rare.id in _one_by_one(stage, 2)

    def test_a_rare_key_comes_second_at_the_latest_in_one_claim(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(100, limit_keys=(A,)))
        rare = stage.pushed(limit_keys=(B,))
        assert rare.id in ids(stage.claim(2))

    def test_keys_take_turns_over_several_claims(self, stage: Stage) -> None:
        jobs = {job.id: job.limit_keys[0] for key in (A, B, C) for job in _pushed(stage, 9, limit_keys=(key,))}
        order = [jobs[id] for id in _one_by_one(stage, 9)]
        assert [sorted(order[n : n + 3]) for n in (0, 3, 6)] == [[A, B, C]] * 3

    def test_a_key_that_comes_again_and_again_does_not_push_ahead(self, stage: Stage) -> None:
        _pushed(stage, 10, limit_keys=(A,))
        rival = None
        served: list[UUID] = []

        for _ in range(8):
            rival = rival or stage.pushed(limit_keys=(B,)).id
            served += _one_by_one(stage, 1)
            rival = None if served[-1] == rival else rival

        keys = [row.limit_keys for row in stage.broker.get(served) if row]
        assert keys.count((A,)) >= 3

    def test_turns_do_not_change_the_order_within_a_key(self, stage: Stage) -> None:
        jobs = jobs_of(6, A, B)
        stage.push_each(*jobs)
        claimed = stage.claim()
        order = {key: [job.id for job in jobs if job.limit_keys == (key,)] for key in (A, B)}
        assert {key: [id for id in ids(claimed) if id in order[key]] for key in order} == order

    def test_a_higher_priority_goes_before_any_turn(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3, limit_keys=(A,), priority=1), *new_jobs(3, limit_keys=(B,)))
        assert [keys_of(stage, job) for job in stage.claim(4)] == [(A,)] * 3 + [(B,)]

    def test_jobs_without_keys_take_turns_with_those_that_have_one(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(50, limit_keys=(A,)))
        plain = stage.pushed()
        assert plain.id in ids(stage.claim(2))

    def test_tasks_and_queues_keep_to_the_order_of_pushes(self, stage: Stage) -> None:
        jobs = [new_job(task, queue=queue) for _ in range(3) for queue in "pq" for task in ("mail", "export")]
        stage.push_each(*jobs)
        assert ids(stage.claim(7)) == ids(jobs[:7])

    def test_a_key_at_its_limit_loses_its_turn_to_the_others(self, stage: Stage) -> None:
        set_limit(stage, A, max_running=1)
        stage.push_each(*new_jobs(10, limit_keys=(A,)), *new_jobs(3, limit_keys=(B,)))
        assert sorted(keys_of(stage, job) for job in stage.claim(10)) == [(A,)] + [(B,)] * 3


def _pushed(stage: Stage, count: int, **fields: Any) -> list[NewJob]:
    jobs = new_jobs(count, **fields)
    stage.push_each(*jobs)
    return jobs


def _one_by_one(stage: Stage, count: int) -> list[UUID]:
    """Claim and finish this many jobs, one at a time."""
    taken: list[UUID] = []

    for _ in range(count):
        (job,) = stage.claim(1)
        stage.write(job)
        taken.append(job.id)

    return taken
