"""A second enqueue that replaces what waits, and one that comes once more behind what runs."""

from __future__ import annotations

from functools import partial

import pytest

from cherga.doors.broker import Topic
from cherga.testing.contract.stage import SETTINGS, SOON, Stage, after, ids, new_job, new_jobs, settlement, together
from cherga.words.job import JobState, Reason
from cherga.words.push import NewJob, PushedJob
from cherga.words.settlement import Charge
from cherga.words.unique import OnConflict, Unique, UniqueWhile

REPLACE = Unique("export:7", conflict=OnConflict.REPLACE)
LATEST = Unique("export:7", conflict=OnConflict.LATEST)
BOTH = pytest.mark.parametrize("unique", [REPLACE, LATEST], ids=["replace", "latest"])


class Replacing:
    """``OnConflict.REPLACE``, and what ``LATEST`` has in common with it."""

    @BOTH
    def test_a_first_job_is_stored_as_any_other(self, stage: Stage, unique: Unique) -> None:
        job = stage.pushed(unique=unique)
        assert ids(stage.claim()) == [job.id]

    @BOTH
    def test_a_job_that_waits_takes_over_what_is_new(self, stage: Stage, unique: Unique) -> None:
        holder = stage.pushed(unique=unique, payload=b"first", owner="user:1")
        second = new_job(unique=unique, payload=b"second", owner="user:2", priority=5, queue="quick", head=b"\x80")
        assert _push(stage, second) == PushedJob(holder.id, JobState.READY, existing=True)
        row = stage.row(holder)
        assert (row.payload, row.owner, row.priority, row.queue, row.head) == (b"second", "user:2", 5, "quick", b"\x80")
        assert not stage.is_kept(second)
        job = stage.claim_one(queues=("quick",))
        assert (job.id, job.payload, job.attempt) == (holder.id, b"second", 1)

    @BOTH
    def test_it_keeps_its_place_in_the_order_of_pushes(self, stage: Stage, unique: Unique) -> None:
        holder = stage.pushed(unique=unique)
        sequence = stage.row(holder).sequence
        other = stage.pushed()
        stage.push(new_job(unique=unique))
        assert stage.row(holder).sequence == sequence
        assert ids(stage.claim()) == [holder.id, other.id]

    def test_a_job_that_was_replaced_belongs_to_the_new_parent(self, stage: Stage) -> None:
        parents = new_jobs(2)
        holder = stage.pushed(unique=REPLACE, parent=parents[0].id)
        stage.push(new_job(unique=REPLACE, parent=parents[1].id))
        assert stage.row(holder).parent == parents[1].id
        assert [family.total for family in stage.broker.families(ids(parents))] == [0, 1]

    def test_a_suspect_that_was_replaced_is_still_one(self, stage: Stage) -> None:
        suspect = stage.make_suspect(unique=REPLACE)
        stage.push(new_job(unique=REPLACE, payload=b"second"))
        assert stage.claim() == []
        job = stage.claim_one(alone=True)
        assert (job.id, job.payload, job.crashes) == (suspect.id, b"second", 1)

    def test_a_job_that_was_replaced_is_counted_where_it_stands_now(self, stage: Stage) -> None:
        stage.pushed(unique=REPLACE)
        stage.push(new_job(unique=REPLACE, queue="quick", delay=60))
        (count,) = stage.broker.counts()
        assert (count.queue, count.state, count.count) == ("quick", JobState.SCHEDULED, 1)

    def test_every_replacement_puts_the_time_off(self, stage: Stage) -> None:
        holder = stage.pushed(unique=REPLACE, delay=60)

        for _ in range(3):
            stage.pass_time(50)
            stage.tidy()
            assert _push(stage, new_job(unique=REPLACE, delay=60)) == PushedJob(holder.id, JobState.SCHEDULED, existing=True)

        stage.pass_time(61)
        stage.tidy()
        assert ids(stage.claim()) == [holder.id]

    def test_every_replacement_begins_the_period_anew(self, stage: Stage) -> None:
        unique = Unique("export:7", UniqueWhile.PERIOD, period=600, conflict=OnConflict.REPLACE)
        holder = stage.pushed(unique=unique, delay=9000)
        stage.pass_time(500)
        stage.push(new_job(unique=unique, delay=9000))
        stage.pass_time(500)
        assert stage.push(new_job(unique=unique, delay=9000)).jobs[0].id == holder.id
        stage.pass_time(601)
        assert not stage.push(new_job(unique=unique)).jobs[0].existing

    def test_a_scheduled_job_that_is_replaced_without_a_time_is_ready(self, stage: Stage) -> None:
        holder = stage.pushed(unique=REPLACE, delay=60)
        assert _push(stage, new_job(unique=REPLACE)) == PushedJob(holder.id, JobState.READY, existing=True)
        assert ids(stage.claim()) == [holder.id]

    def test_a_ready_job_that_is_replaced_with_a_time_waits_for_it(self, stage: Stage) -> None:
        holder = stage.pushed(unique=REPLACE)
        stage.push(new_job(unique=REPLACE, delay=60))
        assert stage.claim() == []
        stage.pass_time(61)
        stage.tidy()
        assert ids(stage.claim()) == [holder.id]

    def test_the_expiry_is_that_of_the_new_job(self, stage: Stage) -> None:
        holder = stage.pushed(unique=REPLACE, expires_in=60)
        stage.push(new_job(unique=REPLACE))
        stage.pass_time(61)
        stage.tidy()
        assert stage.state(holder) is JobState.READY
        stage.push(new_job(unique=REPLACE, expires_in=60))
        stage.pass_time(61)
        stage.tidy()
        assert stage.row(holder).reason is Reason.EXPIRED

    def test_a_blocked_job_goes_on_waiting_for_the_same(self, stage: Stage) -> None:
        parent, other = new_jobs(2)
        holder = after(parent, unique=REPLACE, payload=b"first")
        stage.push(parent, other, holder)
        assert _push(stage, after(other, unique=REPLACE, payload=b"second")).state is JobState.BLOCKED
        first, second = stage.claim()
        stage.write(second)
        assert stage.state(holder) is JobState.BLOCKED
        stage.write(first)
        assert stage.claim_one().payload == b"second"

    def test_attempts_start_again_and_the_history_stays(self, stage: Stage) -> None:
        job = stage.started(unique=REPLACE)
        stage.write(job, JobState.READY, charge=Charge.ATTEMPT)
        stage.push(new_job(unique=REPLACE))
        row = stage.row(job)
        assert (row.attempt, row.claims) == (0, 1)
        again = stage.claim_one()
        assert (again.id, again.attempt, again.claims) == (job.id, 1, 2)

    @pytest.mark.parametrize("unique", [REPLACE, Unique(REPLACE.key, UniqueWhile.PERIOD, 600, OnConflict.LATEST)])
    def test_a_job_that_runs_is_answered_as_it_is(self, stage: Stage, unique: Unique) -> None:
        job = stage.started(unique=unique, payload=b"first")
        before = stage.row(job)
        second = new_job(unique=unique, payload=b"second")
        assert _push(stage, second) == PushedJob(job.id, JobState.RUNNING, existing=True)
        assert stage.row(job) == before
        assert not stage.is_kept(second)

    @pytest.mark.parametrize("conflict", [OnConflict.REPLACE, OnConflict.LATEST])
    def test_a_key_for_a_period_answers_a_holder_that_has_ended_as_it_is(self, stage: Stage, conflict: OnConflict) -> None:
        unique = Unique("export:7", UniqueWhile.PERIOD, 600, conflict)
        job = stage.started(unique=unique)
        stage.write(job)
        assert _push(stage, new_job(unique=unique)) == PushedJob(job.id, JobState.SUCCEEDED, existing=True)

    @pytest.mark.parametrize("conflict", [OnConflict.REPLACE, OnConflict.LATEST])
    def test_a_key_for_the_queue_is_free_beside_a_job_that_runs(self, stage: Stage, conflict: OnConflict) -> None:
        unique = Unique("export:7", UniqueWhile.QUEUED, conflict=conflict)
        stage.started(unique=unique)
        second = new_job(unique=unique)
        assert _push(stage, second) == PushedJob(second.id, JobState.READY)
        assert _push(stage, new_job(unique=unique)) == PushedJob(second.id, JobState.READY, existing=True)

    def test_a_replacement_is_heard_of(self, stage: Stage) -> None:
        holder = stage.pushed(unique=REPLACE, delay=600)
        position = stage.row(holder).position

        with (
            stage.following(holder.id) as follower,
            stage.broker.listen([Topic.DUE]) as scheduler,
            stage.broker.listen([Topic.READY]) as worker,
        ):
            stage.push(new_job(unique=REPLACE, delay=60))
            assert follower.wait(SOON)
            assert scheduler.wait(SOON)
            stage.push(new_job(unique=REPLACE))
            assert worker.wait(SOON)

        assert stage.row(holder).position > position

    @BOTH
    def test_a_replacement_by_another_task_refuses_the_group(self, stage: Stage, unique: Unique) -> None:
        holder = stage.pushed(unique=unique, payload=b"first")
        before, innocent = stage.row(holder), new_job()
        (answer,) = stage.broker.push([[innocent, new_job("mail", unique=unique)]])
        assert answer.refused
        assert stage.row(holder) == before
        assert not stage.is_kept(innocent)

    def test_a_refused_group_replaces_nothing(self, stage: Stage) -> None:
        holder = stage.pushed(unique=REPLACE, payload=b"first")
        before = stage.row(holder)
        (answer,) = stage.broker.push([[new_job(unique=REPLACE, payload=b"second"), after(new_job())]])
        assert answer.refused
        assert stage.row(holder) == before

    def test_a_job_may_wait_for_one_that_was_replaced(self, stage: Stage) -> None:
        holder = stage.pushed(unique=REPLACE)
        second = new_job(unique=REPLACE)
        child = after(second)
        stage.push(second, child)
        assert stage.state(child) is JobState.BLOCKED
        stage.write(stage.claim_one())
        assert stage.states([holder, child]) == [JobState.SUCCEEDED, JobState.READY]

    @BOTH
    def test_the_last_of_a_group_replaces_the_first(self, stage: Stage, unique: Unique) -> None:
        first, second = (new_job(unique=unique, payload=payload) for payload in (b"first", b"second"))
        answer = stage.push(first, second)
        assert [(pushed.id, pushed.existing) for pushed in answer.jobs] == [(first.id, False), (first.id, True)]
        assert stage.claim_one().payload == b"second"

    def test_of_many_rivals_one_job_is_left(self, stage: Stage) -> None:
        brokers = [stage.broker, stage.connect()]
        rivals = [new_job(unique=REPLACE, payload=b"%d" % number) for number in range(20)]
        together(*[partial(brokers[index % 2].push, [[job]]) for index, job in enumerate(rivals)])
        job = stage.claim_one()
        assert job.payload in [rival.payload for rival in rivals]


class Succeeding:
    """``OnConflict.LATEST``: once more behind what runs, with the newest arguments."""

    def test_behind_a_job_that_runs_the_new_one_is_blocked(self, stage: Stage) -> None:
        stage.started(unique=LATEST)
        second = new_job(unique=LATEST)
        assert _push(stage, second) == PushedJob(second.id, JobState.BLOCKED)
        assert stage.row(second).unique == LATEST
        assert stage.claim() == []

    def test_a_push_that_is_repeated_is_answered_with_the_successor_that_is_kept(self, stage: Stage) -> None:
        stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        assert _push(stage, second) == PushedJob(second.id, JobState.BLOCKED, existing=True)

    @pytest.mark.parametrize("conflict", [OnConflict.REPLACE, OnConflict.LATEST])
    def test_there_is_one_successor_and_it_takes_over_what_is_newer(self, stage: Stage, conflict: OnConflict) -> None:
        running = stage.started(unique=LATEST, payload=b"first")
        second = stage.pushed(unique=LATEST, payload=b"second")
        third = new_job(unique=Unique(LATEST.key, conflict=conflict), payload=b"third")
        assert _push(stage, third) == PushedJob(second.id, JobState.BLOCKED, existing=True)
        stage.write(running)
        job = stage.claim_one()
        assert (job.id, job.payload) == (second.id, b"third")

    def test_one_that_is_content_with_the_holder_is_answered_by_the_successor(self, stage: Stage) -> None:
        stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST, payload=b"second")
        existing = new_job(unique=Unique(LATEST.key), payload=b"third")
        assert _push(stage, existing) == PushedJob(second.id, JobState.BLOCKED, existing=True)
        assert stage.row(second).payload == b"second"

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    @pytest.mark.parametrize("keep", [0.0, 1000.0])
    def test_any_end_of_the_holder_lets_the_successor_go(self, stage: Stage, end: JobState, keep: float) -> None:
        running = stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        stage.write(running, end, keep=keep)
        assert stage.state(second) is JobState.READY

    def test_the_key_passes_to_the_successor_in_the_write_that_ends_the_holder(self, stage: Stage) -> None:
        running = stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        stage.write(running)
        assert _push(stage, new_job(unique=Unique(LATEST.key))) == PushedJob(second.id, JobState.READY, existing=True)
        assert stage.broker.move([running.id], JobState.READY) == []
        job = stage.claim_one()
        assert job.id == second.id
        third = new_job(unique=LATEST)
        assert _push(stage, third) == PushedJob(third.id, JobState.BLOCKED)
        stage.write(job)
        assert ids(stage.claim()) == [third.id]

    def test_a_key_passes_at_once_also_behind_many_dependants(self, stage: Stage) -> None:
        running = stage.started(unique=LATEST)
        stage.push(*[after(running, queue="other") for _ in range(150)])
        second = stage.pushed(unique=LATEST)
        stage.write(running)
        assert _push(stage, new_job(unique=Unique(LATEST.key))).id == second.id
        stage.tidy()
        assert stage.state(second) is JobState.READY

    @pytest.mark.parametrize("to", [JobState.READY, JobState.SCHEDULED])
    def test_another_attempt_of_the_holder_goes_first(self, stage: Stage, to: JobState) -> None:
        running = stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        stage.write(running, to, delay=60)
        third = new_job(unique=LATEST, payload=b"third")
        assert _push(stage, third) == PushedJob(second.id, JobState.BLOCKED, existing=True)
        stage.pass_time(61)
        stage.tidy()
        stage.write(stage.claim_one())
        assert stage.claim_one().payload == b"third"

    def test_a_crash_of_the_holder_lets_the_successor_wait(self, stage: Stage) -> None:
        stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        stage.crash()
        stage.tidy()
        assert stage.state(second) is JobState.BLOCKED

    def test_the_crash_cap_lets_the_successor_go(self, stage: Stage) -> None:
        stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        stage.crash()

        for _ in range(SETTINGS.crash_cap - 1):
            stage.pass_time(100)
            stage.tidy()
            stage.claim_one(alone=True)
            stage.crash()

        stage.tidy()
        assert stage.state(second) is JobState.READY
        assert _push(stage, new_job(unique=LATEST)).id == second.id

    def test_a_successor_that_a_person_cancelled_is_followed_by_another(self, stage: Stage) -> None:
        running = stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        stage.broker.move([second.id], JobState.CANCELLED)
        third = new_job(unique=LATEST)
        assert _push(stage, third) == PushedJob(third.id, JobState.BLOCKED)
        assert stage.broker.move([second.id], JobState.READY) == []
        stage.write(running)
        assert ids(stage.claim()) == [third.id]

    def test_a_successor_that_ended_before_the_holder_gets_no_key(self, stage: Stage) -> None:
        running = stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST)
        stage.broker.move([second.id], JobState.CANCELLED)
        stage.write(running)
        third = new_job(unique=LATEST)
        assert _push(stage, third) == PushedJob(third.id, JobState.READY)

    def test_a_successor_waits_for_its_own_parents_too(self, stage: Stage) -> None:
        running = stage.started(unique=LATEST)
        parent = stage.pushed()
        second = after(parent, unique=LATEST)
        stage.push(second)
        assert stage.row(second).pending == 2
        stage.write(running)
        assert stage.state(second) is JobState.BLOCKED
        assert _push(stage, new_job(unique=LATEST)).id == second.id
        stage.write(stage.claim_one())
        assert stage.state(second) is JobState.READY

    def test_a_successor_keeps_its_own_time(self, stage: Stage) -> None:
        running = stage.started(unique=LATEST)
        second = stage.pushed(unique=LATEST, delay=60)
        stage.write(running)
        assert stage.state(second) is JobState.SCHEDULED

    def test_the_last_of_a_group_replaces_the_successor(self, stage: Stage) -> None:
        running = stage.started(unique=LATEST)
        second, third = (new_job(unique=LATEST, payload=payload) for payload in (b"second", b"third"))
        answer = stage.push(second, third)
        assert [(pushed.id, pushed.existing) for pushed in answer.jobs] == [(second.id, False), (second.id, True)]
        stage.write(running)
        assert stage.claim_one().payload == b"third"

    def test_a_race_with_the_end_of_the_holder_loses_no_push(self, stage: Stage) -> None:
        for number in range(10):
            payload = b"%d" % number
            holder = stage.started(unique=LATEST)
            together(
                partial(stage.broker.settle, [settlement(holder)]),
                *[partial(stage.push, new_job(unique=LATEST, payload=payload)) for _ in range(3)],
            )
            job = stage.claim_one()
            assert job.payload == payload
            stage.write(job)
            assert stage.claim() == []


def _push(stage: Stage, job: NewJob) -> PushedJob:
    (pushed,) = stage.push(job).jobs
    return pushed
