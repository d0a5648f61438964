"""Rates: so many starts in any window of so many seconds."""

from __future__ import annotations

from functools import partial

import pytest

from cherga.testing.contract.limits import set_limit, take_back
from cherga.testing.contract.stage import TASKS, Stage, ids, new_job, new_jobs, together
from cherga.words.claim import ClaimWish
from cherga.words.job import JobState
from cherga.words.limits import OVERRIDE, Rate
from cherga.words.session import Death
from cherga.words.settlement import Charge

KEY = "key:user"
A, B = f"{KEY}|a", f"{KEY}|b"

CLOSE = 30.0
"""Seconds that a case may take on a busy machine: times in answers are compared with this slack."""


class Rating:
    """``LimitRule.rate`` and ``ClaimAnswer.again_in``."""

    @pytest.mark.parametrize("name", ["task:export", "queue:q", KEY, A])
    def test_so_many_start_and_then_none(self, stage: Stage, name: str) -> None:
        set_limit(stage, name, rate=Rate(3, 3600))
        stage.push_each(*new_jobs(10, queue="q", limit_keys=(A,)))
        jobs = stage.claim(100)
        assert len(jobs) == 3

        for job in jobs:
            stage.write(job)

        assert stage.claim(100) == []
        assert stage.claim(100, session="worker.2") == []

    def test_starts_of_several_claims_add_up(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(5, 3600))
        stage.push_each(*new_jobs(20))
        assert [len(stage.claim(2)) for _ in range(4)] == [2, 2, 1, 0]

    def test_the_window_slides(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(3, 3600))
        stage.push_each(*new_jobs(20))
        assert len(stage.claim(1)) == 1
        stage.pass_time(1800)
        assert len(stage.claim()) == 2
        stage.pass_time(1801)
        assert len(stage.claim()) == 1
        stage.pass_time(1800)
        assert len(stage.claim()) == 2
        stage.pass_time(3601)
        assert len(stage.claim()) == 3

    def test_a_held_up_job_is_told_when_it_may_go(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        stage.push_each(*new_jobs(4))
        assert _again_in(stage.ask(3).again_in, 3600)
        stage.pass_time(1000)
        answer = stage.ask()
        assert answer.jobs == []
        assert _again_in(answer.again_in, 2600)
        stage.pass_time((answer.again_in or 0.0) + 0.001)
        assert len(stage.claim()) == 2

    def test_a_rate_that_holds_nothing_up_tells_no_time(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        stage.push_each(*new_jobs(2), *new_jobs(2, task="mail"))
        assert stage.ask(3).again_in is None
        assert stage.ask().again_in is None

    def test_jobs_that_nobody_wished_for_tell_no_time(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 3600))
        stage.push_each(*new_jobs(4, queue="a"))
        stage.claim()
        assert stage.ask(queues=("b",)).again_in is None
        assert stage.ask(tasks=frozenset({"mail"})).again_in is None

    def test_the_first_to_open_is_told(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 7200))
        set_limit(stage, "task:mail", rate=Rate(1, 3600))
        stage.push_each(*new_jobs(2), *new_jobs(2, task="mail"))
        stage.claim()
        assert _again_in(stage.ask().again_in, 3600)

    def test_a_job_under_two_rates_waits_for_the_later(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 7200))
        set_limit(stage, "queue:q", rate=Rate(1, 3600))
        stage.push_each(*new_jobs(2, queue="q"))
        stage.claim()
        assert _again_in(stage.ask().again_in, 7200)

    def test_a_job_that_lacks_a_slot_too_is_told_no_time(self, stage: Stage) -> None:
        set_limit(stage, "task:export", max_running=1, rate=Rate(1, 3600))
        stage.push_each(*new_jobs(2))
        stage.claim()
        assert stage.ask().again_in is None

    def test_a_rate_of_zero_never_opens(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(0, 60))
        stage.pushed()
        answer = stage.ask()
        assert (answer.jobs, answer.again_in) == ([], None)
        stage.pass_time(1000)
        assert stage.claim() == []

    def test_each_value_of_a_key_has_a_rate_of_its_own(self, stage: Stage) -> None:
        set_limit(stage, KEY, rate=Rate(2, 3600))
        stage.push_each(*new_jobs(5, limit_keys=(A,)), *new_jobs(5, limit_keys=(B,)))
        keys = sorted(stage.row(job).limit_keys for job in stage.claim())
        assert keys == [(A,), (A,), (B,), (B,)]

    def test_a_rate_per_key_and_one_for_the_task_hold_together(self, stage: Stage) -> None:
        set_limit(stage, KEY, rate=Rate(2, 3600))
        set_limit(stage, "task:export", rate=Rate(3, 7200))
        stage.push_each(*new_jobs(5, limit_keys=(A,)), *new_jobs(5, limit_keys=(B,)))
        assert len(stage.claim()) == 3
        stage.pass_time(3601)
        assert stage.claim() == []
        stage.pass_time(3600)
        assert len(stage.claim()) == 3

    def test_a_rate_hides_no_other_job(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 3600))
        stage.push_each(*new_jobs(300, priority=10))
        last = stage.pushed(task="mail", priority=-5)
        assert stage.claim(2)[-1].id == last.id

    # --- what counts as a start

    def test_a_job_given_back_unstarted_takes_its_start_back(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        set_limit(stage, A, rate=Rate(2, 3600))
        stage.push_each(*new_jobs(4, limit_keys=(A,)))
        first, _ = stage.claim()
        stage.write(first, JobState.READY, charge=Charge.REFUND)
        assert len(stage.claim()) == 1
        assert stage.claim() == []

    def test_a_start_taken_back_leaves_the_others_where_they_were(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        stage.push_each(*new_jobs(9))
        (early,) = stage.claim(1)
        stage.pass_time(3000)
        stage.claim(1)
        stage.write(early, JobState.READY, charge=Charge.REFUND)
        assert len(stage.claim()) == 1
        stage.pass_time(1000)  # the early start would have left the window, the two others have not
        assert stage.claim() == []

    @pytest.mark.parametrize(
        ("to", "charge"),
        [
            (JobState.SUCCEEDED, Charge.ATTEMPT),
            (JobState.FAILED, Charge.ATTEMPT),
            (JobState.SCHEDULED, Charge.ATTEMPT),
            (JobState.SCHEDULED, Charge.REFUND),
            (JobState.READY, Charge.INTERRUPTION),
        ],
    )
    def test_a_start_that_came_to_pass_stays_counted(self, stage: Stage, to: JobState, charge: Charge) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 3600))
        job = stage.started()
        stage.pushed()
        stage.write(job, to, charge=charge, delay=60)
        assert stage.claim() == []

    def test_what_never_began_in_a_dead_session_takes_its_start_back(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(4, 3600))
        stage.push_each(*new_jobs(10))
        begun = stage.claim()[0]
        stage.broker.reap([Death("worker.1", frozenset({begun.token}), orderly=True)])
        assert len(stage.claim(session="worker.2")) == 3

    def test_a_crash_takes_no_start_back(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        stage.push_each(*new_jobs(10))
        stage.claim()
        stage.crash()
        assert stage.claim(session="worker.2") == []

    def test_a_retry_is_a_start_of_its_own(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        job = stage.started()
        stage.write(job, JobState.READY)
        stage.write(stage.claim_one(), JobState.READY)
        assert stage.claim() == []

    def test_an_expired_job_is_no_start(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 3600))
        stage.pushed(expires_in=10)
        job = stage.pushed()
        stage.pass_time(11)
        assert ids(stage.claim()) == [job.id]

    def test_a_suspect_starts_under_the_rate(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 100_000))
        stage.make_suspect()
        stage.pass_time(1000)
        stage.tidy()
        answer = stage.ask(alone=True)
        assert (answer.jobs, answer.suspects) == ([], False)
        assert _again_in(answer.again_in, 99_000)
        stage.pass_time(99_100)
        assert len(stage.claim(alone=True)) == 1

    # --- many, and together

    def test_a_rate_of_many_starts_holds(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(400, 64_000))
        stage.push(*new_jobs(900))
        taken = 0

        for _ in range(150):
            stage.pass_time(64)
            taken += len(stage.claim(4))

        assert taken == 400
        stage.pass_time(64_000)
        assert len(stage.claim()) == 400

    def test_rivals_never_exceed_a_rate_together(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(7, 3600))
        stage.push(*new_jobs(60))
        brokers = [stage.broker, stage.connect()]
        wishes = [ClaimWish(session=stage.register(f"worker.{n}"), limit=5, tasks=TASKS) for n in range(6)]
        answers = together(*(partial(brokers[n % 2].claim, wish) for n, wish in enumerate(wishes)))
        assert sum(len(answer.jobs) for answer in answers) == 7

    # --- changing and looking

    def test_a_rate_that_is_raised_counts_what_has_started(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        stage.push_each(*new_jobs(20))
        stage.claim()
        set_limit(stage, "task:export", OVERRIDE, rate=Rate(5, 3600))
        assert len(stage.claim()) == 3
        take_back(stage, "task:export", OVERRIDE)
        assert stage.claim() == []

    def test_a_rate_that_is_taken_back_holds_no_more(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(1, 3600))
        stage.push_each(*new_jobs(20))
        stage.claim()
        take_back(stage, "task:export")
        assert len(stage.claim()) == 19

    def test_a_rate_outlives_the_broker(self, stage: Stage) -> None:
        set_limit(stage, "task:export", rate=Rate(2, 3600))
        stage.push_each(*new_jobs(5))
        stage.claim(1)
        stage.broker.close()
        stage.broker.open()
        assert len(stage.claim()) == 1

    def test_a_prune_forgets_no_start_that_still_counts(self, stage: Stage) -> None:
        set_limit(stage, KEY, rate=Rate(2, 3600))
        stage.push_each(*new_jobs(5, limit_keys=(A,)))

        for job in stage.claim():
            stage.write(job, keep=1)

        stage.pass_time(1800)
        stage.broker.prune()
        assert stage.claim() == []
        stage.pass_time(1801)
        stage.broker.prune()
        assert len(stage.claim()) == 2

    def test_limits_tell_when_the_rate_opens(self, stage: Stage) -> None:
        set_limit(stage, KEY, rate=Rate(2, 3600))
        stage.push_each(new_job(limit_keys=(A,)), new_job(limit_keys=(B,)), new_job(limit_keys=(A,)))
        stage.claim()
        stage.pass_time(600)
        full, free = stage.broker.limits([A, B])
        assert (full.running, full.rule.rate) == (2, Rate(2, 3600))
        assert _again_in(full.again_in, 3000)
        assert free.again_in is None


def _again_in(told: float | None, expected: float) -> bool:
    return told is not None and expected - CLOSE <= told <= expected
