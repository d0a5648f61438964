"""The order in which jobs are handed out. Ids are random throughout, so no order comes about by luck."""

from __future__ import annotations

import random

import pytest

from cherga.testing.contract.stage import TASKS, Stage, ids, new_job, new_jobs
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState
from cherga.words.push import NewJob


class Ordering:
    """Priority, then age; queues strict or by weight."""

    def test_the_higher_priority_goes_first(self, stage: Stage) -> None:
        jobs = [new_job(priority=priority) for priority in (3, -100, 0, 100, -1, 7)]
        stage.push_each(*jobs)
        assert [job.priority for job in stage.claim()] == [100, 7, 3, 0, -1, -100]

    @pytest.mark.parametrize("priority", [-5, 0, 5])
    def test_at_one_priority_the_older_goes_first(self, stage: Stage, priority: int) -> None:
        jobs = new_jobs(60, priority=priority)
        stage.push_each(*jobs)
        assert ids(stage.claim()) == ids(jobs)

    def test_jobs_of_one_group_go_in_their_order(self, stage: Stage) -> None:
        group = new_jobs(60)
        stage.push(*group)
        assert ids(stage.claim()) == ids(group)

    def test_tasks_of_one_queue_share_its_order(self, stage: Stage) -> None:
        jobs = [new_job(task) for task in ("mail", "export", "mail", "shrink", "export")]
        stage.push_each(*jobs)
        assert ids(stage.claim()) == ids(jobs)

    def test_pages_follow_the_order(self, stage: Stage) -> None:
        jobs = _shuffled_priorities(120)
        stage.push_each(*jobs)
        pages = [page for _ in range(20) if (page := stage.claim(7))]
        assert [job.id for page in pages for job in page] == ids(_by_priority(jobs))

    def test_many_queues_and_tasks_together_follow_one_order(self, stage: Stage) -> None:
        chance = random.Random(3)
        jobs = [
            new_job(chance.choice(sorted(TASKS)), queue=chance.choice("abcd"), priority=chance.randint(-2, 2))
            for _ in range(150)
        ]
        stage.push_each(*jobs)
        pages = [page for _ in range(20) if (page := stage.claim(11))]
        assert [job.id for page in pages for job in page] == ids(_by_priority(jobs))

    def test_a_claim_never_takes_more_than_its_limit(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(10))
        assert [len(stage.claim(limit)) for limit in (0, 1, 4, 100)] == [0, 1, 4, 5]

    def test_a_later_job_of_higher_priority_overtakes(self, stage: Stage) -> None:
        slow = new_jobs(5)
        stage.push_each(*slow)
        stage.claim(2)
        urgent = stage.pushed(priority=1)
        assert ids(stage.claim()) == [urgent.id, *ids(slow[2:])]

    def test_a_promoted_job_queues_behind_those_ready_before_it(self, stage: Stage) -> None:
        late = stage.pushed(delay=10)
        early = stage.pushed()
        stage.pass_time(11)
        stage.tidy()
        last = stage.pushed()
        assert ids(stage.claim()) == [early.id, late.id, last.id]

    def test_a_promoted_job_keeps_its_priority(self, stage: Stage) -> None:
        late = stage.pushed(delay=10, priority=1)
        early = stage.pushed()
        stage.pass_time(11)
        stage.tidy()
        assert ids(stage.claim()) == [late.id, early.id]

    def test_a_retried_job_queues_behind_those_ready_before_it(self, stage: Stage) -> None:
        failing = stage.started()
        waiting = stage.pushed()
        stage.write(failing, JobState.READY)
        assert ids(stage.claim()) == [waiting.id, failing.id]

    def test_a_job_that_a_person_retried_queues_behind(self, stage: Stage) -> None:
        failed = stage.ended(JobState.FAILED)
        waiting = stage.pushed()
        stage.broker.move([failed.id], JobState.READY)
        assert ids(stage.claim()) == [waiting.id, failed.id]

    def test_without_named_queues_all_are_served_by_priority(self, stage: Stage) -> None:
        jobs = [new_job(queue=queue, priority=priority) for queue, priority in (("a", 0), ("b", 2), ("c", 1), ("a", 3))]
        stage.push_each(*jobs)
        assert [job.priority for job in stage.claim()] == [3, 2, 1, 0]

    def test_only_the_named_queues_are_served(self, stage: Stage) -> None:
        stage.push_each(*[new_job(queue=queue) for queue in ("a", "b", "c")])
        assert [job.queue for job in stage.claim(queues=("c", "a"))] == ["c", "a"]

    def test_a_queue_that_does_not_exist_is_empty(self, stage: Stage) -> None:
        stage.pushed(queue="a")
        assert stage.claim(queues=("nowhere",)) == []

    def test_a_strict_order_of_queues_comes_before_priority(self, stage: Stage) -> None:
        low = [new_job(queue="low", priority=100) for _ in range(3)]
        high = [new_job(queue="high", priority=-100) for _ in range(3)]
        stage.push_each(*low, *high)
        assert ids(stage.claim(4, queues=("high", "low"))) == ids([*high, *low[:1]])

    def test_within_a_strict_queue_priority_decides(self, stage: Stage) -> None:
        jobs = [new_job(queue=queue, priority=priority) for queue in ("b", "a") for priority in (1, 3, 2)]
        stage.push_each(*jobs)
        order = [(job.queue, job.priority) for job in stage.claim(queues=("a", "b"))]
        assert order == [("a", 3), ("a", 2), ("a", 1), ("b", 3), ("b", 2), ("b", 1)]

    def test_weights_split_the_limit(self, stage: Stage) -> None:
        self._fill(stage, "a", "b")
        assert _shares(stage.claim(8, queues=("a", "b"), weights=(3, 1))) == {"a": 6, "b": 2}

    def test_a_weighted_answer_is_ordered_by_priority(self, stage: Stage) -> None:
        stage.push_each(*[new_job(queue=queue, priority=priority) for queue in ("a", "b") for priority in (1, 3, 2, 4)])
        priorities = [job.priority for job in stage.claim(4, queues=("a", "b"), weights=(1, 1))]
        assert priorities == [4, 4, 3, 3]

    def test_what_one_weighted_queue_cannot_use_goes_to_the_others(self, stage: Stage) -> None:
        self._fill(stage, "b")
        assert _shares(stage.claim(8, queues=("a", "b"), weights=(3, 1))) == {"b": 8}

    def test_a_small_weight_is_served_even_by_claims_of_one(self, stage: Stage) -> None:
        self._fill(stage, "a", "b")
        served = _shares([job for _ in range(100) for job in stage.claim(1, queues=("a", "b"), weights=(3, 1))])
        assert sum(served.values()) == 100
        assert 4 <= served["b"] <= 60

    def _fill(self, stage: Stage, *queues: str) -> None:
        stage.push_each(*[new_job(queue=queue) for queue in queues for _ in range(100)])


def _shuffled_priorities(count: int) -> list[NewJob]:
    chance = random.Random(7)
    return [new_job(priority=chance.randint(-3, 3)) for _ in range(count)]


def _by_priority(jobs: list[NewJob]) -> list[NewJob]:
    return sorted(jobs, key=lambda job: -job.priority)


def _shares(jobs: list[ClaimedJob]) -> dict[str, int]:
    queues = [job.queue for job in jobs]
    return {queue: queues.count(queue) for queue in queues}
