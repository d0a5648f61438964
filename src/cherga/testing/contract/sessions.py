"""Leases, and what becomes of the jobs of a worker that died."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from cherga.testing.contract.stage import SETTINGS, Stage, ids, new_jobs, session_info, together
from cherga.words.job import Attempt, JobRow, JobState, Reason
from cherga.words.push import JobHead, OnCrash, Overrides
from cherga.words.session import Death

MUST_NOT_RUN_TWICE = msgspec.msgpack.encode(JobHead(overrides=Overrides(on_crash=OnCrash.FAIL)))


class Leases:
    """``register``, ``heartbeat``, ``workers`` and the end of a lease."""

    def test_a_registered_session_is_a_worker(self, stage: Stage) -> None:
        info = session_info("worker.1", queues=("a", "b"), concurrency=8, release="1.2", started_at=1000.0)
        stage.broker.register(info)
        (worker,) = stage.broker.workers()
        assert (worker.session, worker.running) == (info, 0)
        assert 0 < worker.expires_in <= SETTINGS.lease

    def test_workers_are_listed_oldest_first(self, stage: Stage) -> None:
        for started_at, id in ((30.0, "c.1"), (10.0, "b.1"), (20.0, "a.1")):
            stage.broker.register(session_info(id, started_at=started_at))

        assert [worker.session.id for worker in stage.broker.workers()] == ["b.1", "a.1", "c.1"]

    def test_a_worker_tells_how_many_jobs_it_runs(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(5))
        stage.claim(3)
        assert [worker.running for worker in stage.broker.workers()] == [3]

    def test_a_session_whose_lease_has_ended_is_no_worker(self, stage: Stage) -> None:
        stage.register()
        stage.pass_time(SETTINGS.lease + 1)
        assert stage.broker.workers() == []

    def test_a_heartbeat_renews_the_lease(self, stage: Stage) -> None:
        stage.register()
        stage.pass_time(20)
        before = stage.broker.workers()[0].expires_in
        assert stage.broker.heartbeat(["worker.1"]).lost == ()
        assert stage.broker.workers()[0].expires_in > before + 10

    def test_registering_again_renews_the_lease(self, stage: Stage) -> None:
        job = stage.started()
        stage.pass_time(20)
        stage.register()
        (worker,) = stage.broker.workers()
        assert worker.expires_in > 20
        assert worker.running == 1
        stage.write(job)

    def test_a_heartbeat_names_the_sessions_that_are_lost(self, stage: Stage) -> None:
        stage.register()
        assert stage.broker.heartbeat(["ghost.1", "worker.1", "ghost.2"]).lost == ("ghost.1", "ghost.2")

    def test_a_heartbeat_of_nobody_says_nothing(self, stage: Stage) -> None:
        signals = stage.broker.heartbeat([])
        assert (signals.lost, signals.cancels) == ((), ())

    def test_a_session_that_is_renewed_is_never_reaped(self, stage: Stage) -> None:
        job = stage.started()

        for _ in range(30):
            stage.pass_time(SETTINGS.heartbeat)
            stage.broker.heartbeat(["worker.1"])
            assert stage.broker.reap() == []

        stage.write(job)

    def test_a_session_that_is_not_renewed_is_reaped(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.sweep_past_the_lease() == [job.id]
        row = stage.row(job)
        assert (row.state, row.reason, row.session) == (JobState.READY, Reason.LOST, None)
        assert (row.attempt, row.crashes, row.interruptions, row.claims) == (0, 0, 0, 1)
        assert stage.broker.heartbeat(["worker.1"]).lost == ("worker.1",)

    def test_a_lease_is_kept_to_its_end(self, stage: Stage) -> None:
        job = stage.started()

        for _ in range(int(SETTINGS.lease / SETTINGS.sweep) - 1):
            stage.pass_time(SETTINGS.sweep)
            assert stage.broker.reap() == []

        assert stage.state(job) is JobState.RUNNING

    def test_a_late_heartbeat_saves_a_session_that_nobody_reaped(self, stage: Stage) -> None:
        job = stage.started()
        stage.pass_time(SETTINGS.lease + 1)
        assert stage.broker.heartbeat(["worker.1"]).lost == ()
        assert stage.broker.reap() == []
        stage.write(job)

    def test_only_the_dead_are_reaped(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(2))
        dead, alive = stage.claim(1), stage.claim(1, session="worker.2")

        for _ in range(8):
            stage.pass_time(SETTINGS.sweep)
            stage.broker.heartbeat(["worker.2"])
            stage.broker.reap()

        assert [stage.state(job) for job in (*dead, *alive)] == [JobState.READY, JobState.RUNNING]

    def test_after_an_outage_no_lease_is_taken_for_expired(self, stage: Stage) -> None:
        job = stage.started()
        stage.pass_time(10 * SETTINGS.lease)
        assert stage.broker.reap() == []
        stage.pass_time(SETTINGS.sweep)
        assert stage.broker.reap() == []
        assert stage.broker.heartbeat(["worker.1"]).lost == ()
        stage.write(job)

    def test_one_full_lease_after_an_outage_the_dead_are_reaped(self, stage: Stage) -> None:
        job = stage.started()
        stage.pass_time(10 * SETTINGS.lease)
        stage.broker.reap()
        assert stage.sweep_past_the_lease() == [job.id]

    def test_an_outage_does_not_protect_those_whose_death_was_seen(self, stage: Stage) -> None:
        job = stage.started()
        stage.pass_time(10 * SETTINGS.lease)
        assert stage.crash() == [job.id]


class Deaths:
    """``reap`` with deaths that somebody saw."""

    def test_a_job_that_had_begun_is_charged_a_crash(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.crash() == [job.id]
        row = stage.row(job)
        assert (row.state, row.crashes, row.interruptions) == (JobState.READY, 1, 0)
        assert (row.session, stage.broker.workers()) == (None, [])

    def test_the_attempt_of_a_crash_was_counted_at_the_claim(self, stage: Stage) -> None:
        stage.started()
        stage.crash()
        job = stage.claim_one(alone=True)
        assert (job.attempt, job.claims, job.crashes) == (2, 2, 1)

    def test_what_never_began_goes_back_uncharged(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3))
        begun, *waiting = stage.claim()
        freed = stage.broker.reap([Death("worker.1", frozenset({begun.token}))])
        assert set(freed) == set(ids([begun, *waiting]))
        assert [_counters(stage.row(job)) for job in (begun, *waiting)] == [(1, 1, 0), (0, 0, 0), (0, 0, 0)]
        assert ids(stage.claim()) == ids(waiting)

    def test_when_nobody_can_tell_all_had_begun(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3))
        jobs = stage.claim()
        stage.crash()
        assert [stage.row(job).crashes for job in jobs] == [1, 1, 1]

    def test_an_orderly_end_is_an_interruption(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.broker.reap([Death("worker.1", orderly=True)]) == [job.id]
        assert _counters(stage.row(job)) == (0, 0, 1)
        assert ids(stage.claim()) == [job.id]

    def test_an_orderly_end_charges_only_what_had_begun(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(2))
        begun, waiting = stage.claim()
        stage.broker.reap([Death("worker.1", frozenset({begun.token}), orderly=True)])
        assert [_counters(stage.row(job)) for job in (begun, waiting)] == [(0, 0, 1), (0, 0, 0)]

    @pytest.mark.parametrize(("orderly", "reason"), [(False, Reason.CRASHED), (True, Reason.INTERRUPTED)])
    def test_what_had_begun_stands_in_the_history(self, stage: Stage, orderly: bool, reason: Reason) -> None:
        job = stage.started()
        stage.broker.reap([Death("worker.1", orderly=orderly)])
        (attempt,) = _history(stage.row(job))
        assert (attempt.number, attempt.worker, attempt.started_at, attempt.reason) == (1, "worker", job.started_at, reason)

    def test_what_never_began_stands_in_no_history(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.reap([Death("worker.1", frozenset())])
        assert _history(stage.row(job)) == []

    def test_deaths_of_several_sessions_are_reported_together(self, stage: Stage) -> None:
        stage.push_each(*new_jobs(3))
        first, second, third = (stage.claim(1, session=f"worker.{n}")[0] for n in (1, 2, 3))
        freed = stage.broker.reap([Death("worker.1"), Death("worker.3", orderly=True)])
        assert set(freed) == {first.id, third.id}
        assert stage.state(second) is JobState.RUNNING
        assert [worker.session.id for worker in stage.broker.workers()] == ["worker.2"]

    def test_a_death_of_nobody_frees_nothing(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.crash("ghost.1") == []
        assert stage.state(job) is JobState.RUNNING

    def test_an_idle_session_ends_without_a_trace(self, stage: Stage) -> None:
        stage.register()
        assert stage.crash() == []
        assert stage.broker.workers() == []
        assert stage.broker.heartbeat(["worker.1"]).lost == ("worker.1",)

    def test_a_death_reported_twice_is_charged_once(self, stage: Stage) -> None:
        job = stage.started()
        stage.crash()
        assert stage.crash() == []
        assert stage.row(job).crashes == 1

    def test_many_jobs_are_freed_within_the_limit(self, stage: Stage) -> None:
        stage.push(*new_jobs(25))
        jobs = stage.claim()
        pages = [stage.broker.reap([Death("worker.1", frozenset())], limit=10) for _ in range(4)]
        assert [len(page) for page in pages] == [10, 10, 5, 0]
        assert {id for page in pages for id in page} == set(ids(jobs))
        assert len(stage.claim()) == 25

    def test_a_job_marked_to_be_cancelled_is_cancelled(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], JobState.CANCELLED, "enough")
        stage.crash()
        row = stage.row(job)
        assert (row.state, row.reason, row.message) == (JobState.CANCELLED, Reason.ASKED, "enough")

    def test_a_marked_job_that_never_began_is_cancelled(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.move([job.id], JobState.CANCELLED)
        stage.broker.reap([Death("worker.1", frozenset())])
        assert stage.state(job) is JobState.CANCELLED

    def test_two_reapers_charge_one_crash(self, stage: Stage) -> None:
        brokers = [stage.broker, stage.connect()]

        for _ in range(10):
            job = stage.started()
            freed = together(*[partial(broker.reap, [Death("worker.1")]) for broker in brokers])
            assert sorted(map(len, freed)) == [0, 1]
            assert stage.row(job).crashes == 1
            stage.broker.move([job.id], JobState.CANCELLED)


def _history(row: JobRow) -> list[Attempt]:
    return msgspec.msgpack.decode(row.attempts, type=list[Attempt]) if row.attempts else []


def _counters(row: JobRow) -> tuple[int, int, int]:
    """Attempts, crashes, interruptions."""
    return row.attempt, row.crashes, row.interruptions
