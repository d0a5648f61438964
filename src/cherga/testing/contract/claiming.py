"""Handing jobs out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from uuid import UUID

import msgspec
import pytest

from cherga.doors.broker import FullBroker
from cherga.testing.contract.stage import TASKS, Stage, ids, new_job, new_jobs, together
from cherga.words.claim import ClaimWish
from cherga.words.clock import SystemClock
from cherga.words.job import JobState
from cherga.words.push import JobHead
from cherga.words.session import Death
from cherga.words.settlement import Charge
from cherga.words.shared import PauseScope
from cherga.words.unique import Unique

Close = Callable[[Stage, int], object]
"""Adds so many ready jobs that no claim may hand out."""


def _paused(stage: Stage, count: int) -> None:
    stage.broker.pause(PauseScope("closed"), True)
    stage.push(*new_jobs(count, queue="closed"))


def _unknown(stage: Stage, count: int) -> None:
    stage.push(*new_jobs(count, task="fax"))


def _suspect(stage: Stage, count: int) -> None:
    stage.push(*new_jobs(count))
    stage.claim(count)

    while stage.crash():
        pass


class Claiming:
    """Tokens, counters, sessions, and what is passed over."""

    def test_a_claimed_job_runs_in_the_session(self, stage: Stage) -> None:
        job = stage.started()
        row = stage.row(job)
        assert (row.state, row.session, row.token) == (JobState.RUNNING, "worker.1", job.token)

    def test_a_claim_counts_the_attempt_at_once(self, stage: Stage) -> None:
        job = stage.started()
        row = stage.row(job)
        assert (job.attempt, job.claims, job.crashes, job.interruptions) == (1, 1, 0, 0)
        assert (row.attempt, row.claims, row.crashes, row.interruptions) == (1, 1, 0, 0)

    def test_a_claimed_job_brings_all_that_a_worker_needs(self, stage: Stage) -> None:
        new = stage.pushed(
            task="mail", payload=b"\x01", queue="q", priority=3, owner="user:7", unique=Unique("k"), head=b"\x80"
        )
        job, row = stage.claim_one(), stage.row(new)
        assert (job.id, job.sequence, job.task, job.queue, job.priority) == (new.id, row.sequence, "mail", "q", 3)
        assert (job.payload, job.head, job.owner, job.unique_key, job.meta) == (b"\x01", b"\x80", "user:7", "k", None)
        assert (job.enqueued_at, job.started_at) == (row.enqueued_at, row.started_at)

    def test_a_job_without_options_is_claimed_without_them(self, stage: Stage) -> None:
        job = stage.started()
        assert (job.head, job.owner, job.unique_key, job.meta) == (None, None, None, None)

    def test_every_claim_has_a_fresh_token(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(50))
        jobs = stage.claim()
        tokens = {job.token for job in jobs}

        for job in jobs:
            stage.write(job, JobState.READY)

        tokens |= {job.token for job in stage.claim()}
        assert len(tokens) == 100

    def test_tokens_cannot_be_guessed_from_each_other(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(20))
        tokens = sorted(job.token for job in stage.claim())
        gaps = [high - low for low, high in pairwise(tokens)]
        assert min(gaps) > 1000

    def test_attempts_and_claims_count_on(self, stage: Stage) -> None:
        stage.write(stage.started(), JobState.READY)
        job = stage.claim_one()
        assert (job.attempt, job.claims) == (2, 2)

    def test_claims_never_go_back(self, stage: Stage) -> None:
        stage.pushed()

        for claims in range(1, 5):
            job = stage.claim_one()
            assert (job.attempt, job.claims) == (1, claims)
            stage.write(job, JobState.READY, charge=Charge.REFUND)

    def test_the_first_start_is_remembered(self, stage: Stage) -> None:
        job = stage.started()
        stage.write(job, JobState.SCHEDULED, delay=1000)
        stage.pass_time(1001)
        stage.tidy()
        again = stage.claim_one()
        row = stage.row(job)
        assert (row.first_started_at, row.started_at) == (job.started_at, again.started_at)
        assert again.started_at - job.started_at == pytest.approx(1000, abs=30)

    def test_meta_goes_along_to_the_next_attempt(self, stage: Stage) -> None:
        stage.write(stage.started(), JobState.READY, meta=b"\x81\xa1k\x01")
        assert stage.claim_one().meta == b"\x81\xa1k\x01"

    @pytest.mark.parametrize(
        ("payload", "described", "meta"), [(1, 0, 0), (4096, 1, 4096), (4097, 5000, 4097), (1, 5000, 1), (9, 0, 9999)]
    )
    def test_a_job_of_any_size_comes_as_it_was_stored(self, stage: Stage, payload: int, described: int, meta: int) -> None:
        head = msgspec.msgpack.encode(JobHead(description="d" * described)) if described else None
        first = stage.started(payload=b"p" * payload, head=head)
        stage.write(first, JobState.READY, meta=b"m" * meta or None)
        beside = stage.pushed()
        job, other = stage.claim()
        assert (job.payload, job.head, job.meta) == (b"p" * payload, head, b"m" * meta or None)
        assert (job.id, other.id, other.payload, other.head, other.meta) == (first.id, beside.id, b"\x90", None, None)
        assert (stage.row(job).started_at, stage.row(job).enqueued_at) == (job.started_at, job.enqueued_at)

    def test_a_job_is_handed_out_once(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(10))
        first, second = stage.claim(6), stage.claim(6, session="worker.2")
        assert (len(first), len(second)) == (6, 4)
        assert not set(ids(first)) & set(ids(second))
        assert stage.claim() == []

    def test_another_connection_does_not_hand_it_out_again(self, stage: Stage) -> None:
        other = stage.connect()
        stage.started()
        stage.register("worker.2")
        assert other.claim(ClaimWish(session="worker.2", limit=9, tasks=TASKS)).jobs == []

    def test_a_session_that_is_not_registered_gets_nothing(self, stage: Stage) -> None:
        job = stage.pushed()
        assert stage.broker.claim(ClaimWish(session="stranger", limit=9, tasks=TASKS)).jobs == []
        assert stage.state(job) is JobState.READY

    def test_a_session_that_has_ended_gets_nothing(self, stage: Stage) -> None:
        stage.pushed()
        session = stage.register()
        stage.broker.reap([Death(session)])
        assert stage.broker.claim(ClaimWish(session=session, limit=9, tasks=TASKS)).jobs == []

    def test_an_empty_store_has_nothing_to_hand_out(self, stage: Stage) -> None:
        answer = stage.ask()
        assert (answer.jobs, answer.suspects, answer.unknown) == ([], False, frozenset())

    def test_unknown_tasks_are_left_alone_and_named(self, stage: Stage) -> None:
        known = new_job("export")
        strange = [new_job("fax"), new_job("fax"), new_job("telex")]
        stage.push_each(*strange, known)
        answer = stage.ask()
        assert ids(answer.jobs) == [known.id]
        assert answer.unknown == {"fax", "telex"}
        assert stage.states(strange) == [JobState.READY] * 3

    def test_unknown_tasks_are_named_even_when_the_limit_is_reached(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3), new_job("fax"))
        assert stage.ask(2).unknown == {"fax"}

    def test_unknown_tasks_of_other_queues_are_not_named(self, stage: Stage) -> None:
        stage.push_each(new_job("fax", queue="a"), new_job("telex", queue="b"))
        assert stage.ask(queues=("b",)).unknown == {"telex"}

    def test_unknown_tasks_are_named_only_while_their_jobs_are_ready(self, stage: Stage) -> None:
        stage.pushed(task="fax", delay=60)
        running = stage.pushed(task="telex")
        assert ids(stage.claim(tasks=frozenset({"telex"}))) == [running.id]
        assert stage.ask().unknown == frozenset()

    def test_a_worker_without_tasks_gets_nothing(self, stage: Stage) -> None:
        stage.pushed()
        assert stage.claim(tasks=frozenset()) == []

    def test_the_name_of_the_task_counts_not_the_queue(self, stage: Stage) -> None:
        job = stage.pushed(task="mail", queue="export")
        assert stage.claim(tasks=frozenset({"export"})) == []
        assert ids(stage.claim(tasks=frozenset({"mail"}))) == [job.id]

    def test_many_claimers_never_share_a_job(self, stage: Stage) -> None:
        stage.push(*new_jobs(300))
        brokers = [stage.broker, stage.connect()]
        sessions = [stage.register(f"worker.{number}") for number in range(8)]
        wishes = [ClaimWish(session=session, limit=13, tasks=TASKS) for session in sessions]
        drains = [partial(_drain, brokers[n % 2], wish) for n, wish in enumerate(wishes)]
        taken = [id for claimed in together(*drains) for id in claimed]
        assert len(taken) == 300
        assert len(set(taken)) == 300

    @pytest.mark.parametrize("close", [_paused, _unknown, _suspect])
    def test_closed_jobs_are_passed_over_without_looking_at_each(self, stage: Stage, close: Close) -> None:
        close(stage, 100)
        few = _fastest(partial(stage.ask, 1))
        close(stage, 4000)
        assert stage.claim(1) == []
        assert _fastest(partial(stage.ask, 1)) < 10 * few


def _drain(broker: FullBroker, wish: ClaimWish) -> list[UUID]:
    """Claim until nothing is left."""
    taken: list[UUID] = []

    while jobs := broker.claim(wish).jobs:
        taken += ids(jobs)

    return taken


def _fastest(call: Callable[[], object]) -> float:
    """The shortest time of thirty calls, in seconds."""
    return min(_duration(call) for _ in range(30))


def _duration(call: Callable[[], object]) -> float:
    begun = SystemClock.monotonic()
    call()
    return SystemClock.monotonic() - begun
