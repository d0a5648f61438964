"""What becomes of a job that finds its unique key held, in a table of all that can meet."""

from __future__ import annotations

from itertools import product
from uuid import uuid4

import pytest

from cherga.rules.refusals import rivalry
from cherga.rules.unique import Meeting, Rival, meet
from cherga.words.job import JobState
from cherga.words.push import NewJob
from cherga.words.unique import OnConflict, Unique, UniqueWhile

WAITING = (JobState.SCHEDULED, JobState.READY, JobState.BLOCKED)
OVER = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def _rival(state: JobState, hold: UniqueWhile = UniqueWhile.UNFINISHED, task: str = "mail") -> Rival:
    return Rival(uuid4(), task, state, hold)


def _meet(conflict: OnConflict, rival: Rival, hold: UniqueWhile = UniqueWhile.UNFINISHED) -> Meeting:
    return meet(Unique("k", hold=hold, conflict=conflict), rival)


@pytest.mark.parametrize("state", JobState)
def test_by_default_the_holder_stands_for_the_new_job_wherever_it_stands(state: JobState) -> None:
    assert _meet(OnConflict.EXISTING, _rival(state)) is Meeting.ANSWERED


@pytest.mark.parametrize("state", JobState)
def test_refuse_refuses_wherever_the_holder_stands(state: JobState) -> None:
    assert _meet(OnConflict.REFUSE, _rival(state)) is Meeting.REFUSED


@pytest.mark.parametrize(("conflict", "state"), list(product((OnConflict.REPLACE, OnConflict.LATEST), WAITING)))
def test_a_holder_that_waits_is_replaced(conflict: OnConflict, state: JobState) -> None:
    assert _meet(conflict, _rival(state)) is Meeting.REPLACED


def test_behind_a_holder_that_runs_only_the_latest_is_stored() -> None:
    assert _meet(OnConflict.LATEST, _rival(JobState.RUNNING)) is Meeting.FOLLOWED
    assert _meet(OnConflict.REPLACE, _rival(JobState.RUNNING)) is Meeting.ANSWERED


@pytest.mark.parametrize(("conflict", "state"), list(product((OnConflict.REPLACE, OnConflict.LATEST), OVER)))
def test_a_holder_that_has_ended_is_answered(conflict: OnConflict, state: JobState) -> None:
    assert _meet(conflict, _rival(state, UniqueWhile.PERIOD)) is Meeting.ANSWERED


@pytest.mark.parametrize("holds", [(UniqueWhile.PERIOD, UniqueWhile.UNFINISHED), (UniqueWhile.UNFINISHED, UniqueWhile.PERIOD)])
def test_nothing_is_stored_behind_a_key_that_is_held_for_a_period(holds: tuple[UniqueWhile, UniqueWhile]) -> None:
    theirs, ours = holds
    assert _meet(OnConflict.LATEST, _rival(JobState.RUNNING, theirs), ours) is Meeting.ANSWERED


@pytest.mark.parametrize("meeting", [Meeting.REPLACED, Meeting.FOLLOWED])
def test_a_job_of_another_task_cannot_be_replaced(meeting: Meeting) -> None:
    rival, job = _rival(JobState.READY, task="report"), NewJob(id=uuid4(), task="mail", payload=b"")

    assert rivalry(job, "k", rival, meeting) == (
        f"the unique key 'k' is held by job {rival.id} of task 'report', which a job of task 'mail' cannot replace; "
        "give it a unique key of its own"
    )
    assert rivalry(job, "k", rival, Meeting.ANSWERED) is None
