"""Slots under a limit: how they come back, and rivals for them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from cherga.doors.broker import FullBroker
from cherga.testing.contract.limits import KEY, A, B, C, count_keys, jobs_of, running_under, set_limit
from cherga.testing.contract.stage import TASKS, Stage, ids, new_job, new_jobs, settlement, together
from cherga.words.claim import ClaimWish
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.session import Death
from cherga.words.settlement import Charge


class Slots:
    """A running job holds a slot until it runs no more."""

    @pytest.mark.parametrize(
        ("to", "fields"),
        [
            (JobState.SUCCEEDED, {}),
            (JobState.SUCCEEDED, {"keep": 0}),
            (JobState.FAILED, {}),
            (JobState.CANCELLED, {}),
            (JobState.SCHEDULED, {"delay": 60}),
            (JobState.SCHEDULED, {"delay": 60, "charge": Charge.REFUND}),
            (JobState.READY, {"charge": Charge.REFUND}),
            (JobState.READY, {"charge": Charge.INTERRUPTION}),
        ],
    )
    def test_a_settlement_gives_the_slot_back(self, stage: Stage, to: JobState, fields: dict[str, Any]) -> None:
        set_limit(stage, A, max_running=1)
        stage.push_each(*new_jobs(3, limit_keys=(A,)))

        for _ in range(3):
            (job,) = stage.claim()
            assert stage.claim() == []
            stage.write(job, to, **fields)
            assert running_under(stage, A) == [0]

    def test_a_refused_settlement_gives_no_slot_back(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=1)
        old = stage.started()
        stage.write(old, JobState.READY)
        stage.pushed()
        (job,) = stage.claim(1)
        stage.broker.settle([settlement(old)])
        assert stage.claim() == []
        stage.write(job)
        stage.broker.settle([settlement(job)])  # a repeated call
        assert len(stage.claim()) == 1

    @pytest.mark.parametrize("started", [None, frozenset()])
    @pytest.mark.parametrize("orderly", [True, False])
    def test_a_dead_session_gives_its_slots_back(self, stage: Stage, started: frozenset[int] | None, orderly: bool) -> None:
        set_limit(stage, A, max_running=2)
        stage.push_each(*new_jobs(4, limit_keys=(A,)))
        assert len(stage.claim()) == 2
        assert len(stage.broker.reap([Death("worker.1", started, orderly)])) == 2
        assert running_under(stage, A) == [0]
        assert len(stage.claim(session="worker.2")) == 2
        assert stage.claim(session="worker.3") == []

    def test_a_lease_that_runs_out_gives_its_slots_back(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=1)
        stage.started()
        last = stage.pushed()
        stage.sweep_past_the_lease()
        assert ids(stage.claim(session="worker.2")) == [last.id]

    def test_a_job_marked_to_be_cancelled_keeps_its_slot_until_it_ends(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=1)
        job = stage.started()
        stage.pushed()
        stage.broker.move([job.id], JobState.CANCELLED)
        assert stage.claim() == []
        stage.write(job, JobState.CANCELLED)
        assert len(stage.claim()) == 1

    def test_what_a_running_job_tells_changes_no_slots(self, stage: Stage) -> None:
        set_limit(stage, A, max_running=2)
        job = stage.started(limit_keys=(A,))
        stage.broker.heartbeat(["worker.1"])
        stage.register()
        stage.broker.move([job.id], JobState.CANCELLED)
        assert running_under(stage, A, "task:export") == [1]

    def test_a_job_run_again_counts_again(self, stage: Stage) -> None:
        set_limit(stage, A, max_running=1)
        job = stage.started(limit_keys=(A,))
        stage.write(job, JobState.FAILED)
        stage.broker.move([job.id], JobState.READY)
        stage.push_each(*new_jobs(2, limit_keys=(A,)))
        assert len(stage.claim()) == 1
        assert running_under(stage, A) == [1]

    def test_a_suspect_counts_like_any_other(self, stage: Stage) -> None:
        suspect = stage.make_suspect(limit_keys=(A,))
        stage.pass_time(1000)
        stage.tidy()
        set_limit(stage, A, max_running=1)
        other = stage.pushed(limit_keys=(A,))
        (job,) = stage.claim(alone=True)
        assert job.id == suspect.id
        assert stage.claim() == []
        stage.write(job)
        assert ids(stage.claim()) == [other.id]

    def test_a_suspect_at_its_limit_does_not_ask_for_an_empty_worker(self, stage: Stage) -> None:
        stage.make_suspect()
        stage.pass_time(1000)
        stage.tidy()
        assert stage.ask().suspects
        set_limit(stage, "task:export", max_running=0)
        answer = stage.ask(alone=True)
        assert (answer.jobs, answer.suspects) == ([], False)

    def test_pruning_what_has_ended_forgets_no_slot(self, stage: Stage) -> None:
        set_limit(stage, KEY, max_running=1)
        stage.push_each(*jobs_of(2, A, B))
        first, _ = stage.claim()
        stage.write(first, keep=1)
        stage.pass_time(2)
        stage.broker.prune()
        assert len(stage.claim()) == 1
        assert running_under(stage, A, B) == [1, 1]

    # --- rivals

    def test_rivals_never_exceed_a_limit_together(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=7)
        set_limit(stage, KEY, max_running=3)
        stage.push(*(new_job(limit_keys=(key,)) for key in (A, B, C) for _ in range(30)))
        brokers = [stage.broker, stage.connect()]
        wishes = [ClaimWish(session=stage.register(f"worker.{n}"), limit=5, tasks=TASKS) for n in range(6)]
        answers = together(*(partial(brokers[n % 2].claim, wish) for n, wish in enumerate(wishes)))
        jobs = [job for answer in answers for job in answer.jobs]
        assert len(jobs) == 7
        assert max(count_keys(stage, jobs).values()) <= 3

    def test_rivals_that_work_through_a_limited_queue_finish_it(self, stage: Stage) -> None:
        set_limit(stage, "queue:q", max_running=2)
        stage.push(*(new_job(queue="q", limit_keys=(key,)) for key in (A, B) for _ in range(20)))
        brokers = [stage.broker, stage.connect()]
        works = [partial(_work, brokers[n % 2], stage.register(f"worker.{n}")) for n in range(4)]
        most = max(together(*works))
        assert most <= 2
        assert {row.state for row in stage.broker.find(JobFilter(queue="q"))} == {JobState.SUCCEEDED}


def _work(broker: FullBroker, session: str) -> int:
    """Run jobs until none is left; return the most that were seen to run under the limit of queue ``q``."""
    most = 0

    while broker.find(JobFilter(queue="q", unfinished=True), 1):
        for job in broker.claim(ClaimWish(session=session, limit=3, tasks=TASKS)).jobs:
            (use,) = broker.limits(["queue:q"])
            most = max(most, use.running)
            broker.settle([settlement(job)])

    return most
