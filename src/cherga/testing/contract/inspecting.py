"""Looking at jobs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from cherga.testing.contract.stage import Stage, after, ids, new_job, new_jobs
from cherga.words.inspection import JobFilter, TaskCount
from cherga.words.job import JobRow, JobState

EVERYTHING = JobFilter()


class Inspecting:
    """``find`` and ``counts``."""

    def test_jobs_are_found_newest_first(self, stage: Stage) -> None:
        jobs = new_jobs(20)
        stage.push_each(*jobs)
        assert ids(stage.broker.find(EVERYTHING)) == ids(jobs[::-1])

    def test_found_jobs_are_whole(self, stage: Stage) -> None:
        job = stage.ended(result=b"\x01", meta=b"\x80")
        assert stage.broker.find(EVERYTHING) == [stage.row(job)]

    def test_a_page_has_at_most_its_limit(self, stage: Stage) -> None:
        jobs = new_jobs(10)
        stage.push_each(*jobs)
        assert ids(stage.broker.find(EVERYTHING, limit=3)) == ids(jobs[:-4:-1])

    def test_a_page_holds_a_hundred_jobs_unless_told_otherwise(self, stage: Stage) -> None:
        stage.push(*new_jobs(130))
        assert len(stage.broker.find(EVERYTHING)) == 100

    def test_pages_follow_each_other_without_gap_or_repetition(self, stage: Stage) -> None:
        jobs = new_jobs(47)
        stage.push_each(*jobs)
        assert ids(_all_pages(stage, 10)) == ids(jobs[::-1])

    def test_new_jobs_do_not_disturb_the_pages(self, stage: Stage) -> None:
        jobs = new_jobs(6)
        stage.push_each(*jobs)
        first = stage.broker.find(EVERYTHING, limit=3)
        stage.push_each(*new_jobs(5))
        second = stage.broker.find(EVERYTHING, limit=3, before=first[-1].sequence)
        assert ids([*first, *second]) == ids(jobs[::-1])

    def test_a_job_keeps_its_sequence(self, stage: Stage) -> None:
        job = stage.pushed(delay=10)
        sequence = stage.row(job).sequence
        stage.pass_time(11)
        stage.tidy()
        stage.write(stage.claim_one(), JobState.FAILED)
        stage.broker.move([job.id], JobState.READY)
        assert stage.row(job).sequence == sequence

    def test_nothing_lies_before_the_oldest(self, stage: Stage) -> None:
        job = stage.pushed()
        assert stage.broker.find(EVERYTHING, before=stage.row(job).sequence) == []

    @pytest.mark.parametrize(
        ("where", "fits"),
        [
            ({"queue": "a"}, {"queue": "a"}),
            ({"task": "mail"}, {"task": "mail"}),
            ({"owner": "user:1"}, {"owner": "user:1"}),
            ({"queue": "a", "task": "mail"}, {"queue": "a", "task": "mail"}),
            ({"queue": "a", "owner": "user:2"}, {"queue": "a", "owner": "user:2"}),
            ({"queue": "a", "task": "mail", "owner": "user:1"}, {"queue": "a", "task": "mail", "owner": "user:1"}),
        ],
    )
    def test_a_filter_restricts(self, stage: Stage, where: dict[str, Any], fits: dict[str, Any]) -> None:
        jobs = [
            new_job(task, queue=queue, owner=owner)
            for queue in ("a", "b")
            for task in ("mail", "export")
            for owner in ("user:1", "user:2", None)
        ]
        stage.push_each(*jobs)
        expected = [job.id for job in reversed(jobs) if all(getattr(job, name) == value for name, value in fits.items())]
        assert ids(stage.broker.find(JobFilter(**where))) == expected

    @pytest.mark.parametrize("digits", [1, 4, 5, 31, 32])
    def test_jobs_can_be_looked_for_by_the_last_digits_of_their_ids(self, stage: Stage, digits: int) -> None:
        given = [
            UUID("0197c2f4-5a1b-7e30-8c4d-1f2e3d4c5b6a"),
            UUID("0197c2f4-5a1b-7e30-8c4d-1f2e3d4c0b6a"),
            UUID(int=2**128 - 1),
        ]
        stage.push_each(*(new_job(id=id) for id in given))
        ends = given[0].hex[-digits:]
        fitting = [id for id in reversed(given) if id.hex.endswith(ends)]
        assert [row.id for row in stage.broker.find(JobFilter(id_ends=ends))] == fitting
        assert stage.broker.find(JobFilter(id_ends=ends, task="another")) == []

    @pytest.mark.parametrize("digits", [1, 11, 12, 20, 31, 32])
    def test_jobs_can_be_looked_for_by_the_first_digits_of_their_ids(self, stage: Stage, digits: int) -> None:
        given = [
            UUID("0197c2f4-5a1b-7e30-8c4d-1f2e3d4c5b6a"),
            UUID("0197c2f4-5a1b-7fff-8c4d-1f2e3d4c5b6a"),
            UUID(int=2**128 - 1),
        ]
        stage.push_each(*(new_job(id=id) for id in given))
        begins = given[0].hex[:digits]
        fitting = [id for id in reversed(given) if id.hex.startswith(begins)]
        assert [row.id for row in stage.broker.find(JobFilter(id_begins=begins))] == fitting

    @pytest.mark.parametrize("state", [*JobState])
    def test_every_state_can_be_looked_for(self, stage: Stage, state: JobState) -> None:
        one_of_each = _one_of_each_state(stage)
        found = stage.broker.find(JobFilter(states=frozenset({state})))
        assert [row.id for row in found] == [one_of_each[state]]

    def test_several_states_can_be_looked_for(self, stage: Stage) -> None:
        _one_of_each_state(stage)
        states = frozenset({JobState.READY, JobState.FAILED, JobState.RUNNING})
        assert {row.state for row in stage.broker.find(JobFilter(states=states))} == states

    def test_unfinished_jobs_can_be_looked_for(self, stage: Stage) -> None:
        _one_of_each_state(stage)
        found = stage.broker.find(JobFilter(unfinished=True))
        assert {row.state for row in found} == {state for state in JobState if not state.final}

    def test_unfinished_and_states_restrict_together(self, stage: Stage) -> None:
        _one_of_each_state(stage)
        where = JobFilter(states=frozenset({JobState.READY, JobState.FAILED}), unfinished=True)
        assert [row.state for row in stage.broker.find(where)] == [JobState.READY]

    def test_the_unfinished_jobs_of_an_owner_can_be_looked_for(self, stage: Stage) -> None:
        stage.write(stage.started(owner="user:1"))
        mine = stage.pushed(owner="user:1")
        stage.pushed(owner="user:2")
        assert ids(stage.broker.find(JobFilter(owner="user:1", unfinished=True))) == [mine.id]

    def test_a_filter_that_nothing_fits_finds_nothing(self, stage: Stage) -> None:
        stage.pushed()
        assert stage.broker.find(JobFilter(owner="nobody")) == []

    def test_filtered_pages_follow_each_other(self, stage: Stage) -> None:
        jobs = [new_job(owner=f"user:{number % 3}") for number in range(30)]
        stage.push_each(*jobs)
        where = JobFilter(owner="user:1")
        assert ids(_all_pages(stage, 4, where)) == [job.id for job in reversed(jobs) if job.owner == "user:1"]

    def test_an_empty_store_counts_nothing(self, stage: Stage) -> None:
        assert stage.broker.counts() == []

    def test_jobs_are_counted_by_queue_task_and_state(self, stage: Stage) -> None:
        stage.push_each(new_job("mail", queue="a"), new_job("mail", queue="a"), new_job("mail", queue="b"))
        stage.push_each(new_job("export", queue="a"), new_job("mail", queue="a", delay=10))
        assert _counts(stage) == {
            TaskCount("a", "mail", JobState.READY, 2),
            TaskCount("b", "mail", JobState.READY, 1),
            TaskCount("a", "export", JobState.READY, 1),
            TaskCount("a", "mail", JobState.SCHEDULED, 1),
        }

    def test_counts_follow_every_state(self, stage: Stage) -> None:
        _one_of_each_state(stage)
        assert {(count.state, count.count) for count in stage.broker.counts()} == {(state, 1) for state in JobState}

    def test_counts_agree_with_the_jobs_after_crashes_and_retries(self, stage: Stage) -> None:
        _one_of_each_state(stage)
        stage.crash()
        stage.claim(alone=True)
        stage.crash()
        stage.pass_time(100)
        stage.tidy()
        stage.broker.move([row.id for row in stage.broker.find(EVERYTHING)], JobState.CANCELLED)
        assert sum(count.count for count in stage.broker.counts()) == len(stage.broker.find(EVERYTHING))
        assert {count.state for count in stage.broker.counts()} == {row.state for row in stage.broker.find(EVERYTHING)}


def _all_pages(stage: Stage, limit: int, where: JobFilter = EVERYTHING) -> list[JobRow]:
    rows = stage.broker.find(where, limit)

    while page := stage.broker.find(where, limit, rows[-1].sequence):
        rows += page

    return rows


def _counts(stage: Stage) -> set[TaskCount]:
    return set(stage.broker.counts())


def _one_of_each_state(stage: Stage) -> dict[JobState, Any]:
    """Ids of jobs, one in each state."""
    ended = {end: stage.ended(end).id for end in JobState if end.final}
    running = stage.started()
    blocked, scheduled, ready = after(running), new_job(delay=1000), new_job()
    stage.push(blocked, scheduled, ready)
    return ended | {
        JobState.RUNNING: running.id,
        JobState.BLOCKED: blocked.id,
        JobState.SCHEDULED: scheduled.id,
        JobState.READY: ready.id,
    }
