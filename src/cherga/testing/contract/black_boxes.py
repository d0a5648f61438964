"""Black boxes: what a session had begun is known after its death, whoever died with it."""

from __future__ import annotations

import pytest

from cherga.doors.black_box import box_size, places_in
from cherga.testing.contract.stage import Stage, ids, new_jobs
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState
from cherga.words.session import Death

ONCE = 4
"""Places for work that must not run twice."""


class BlackBoxes:
    """``black_box``, for a broker that keeps one on this machine; any other answers with none."""

    def test_a_black_box_is_empty_memory(self, stage: Stage) -> None:
        stage.register()
        box = stage.broker.black_box("worker.1", 64)
        assert box is None or bytes(box) == bytes(64)

    def test_a_session_that_is_not_registered_has_no_black_box(self, stage: Stage) -> None:
        assert stage.broker.black_box("ghost.1", 64) is None

    def test_what_stands_in_the_black_box_had_begun_and_nothing_else(self, stage: Stage) -> None:
        box = _box(stage)
        begun, *waiting = _three_claimed(stage)
        box[1 + ONCE] = begun.token
        assert set(stage.crash()) == set(ids([begun, *waiting]))
        assert [stage.row(job).attempt for job in (begun, *waiting)] == [1, 0, 0]

    def test_so_it_is_when_a_lease_ends(self, stage: Stage) -> None:
        box = _box(stage)
        begun, *waiting = _three_claimed(stage)
        box[1] = begun.token
        stage.sweep_past_the_lease()
        assert [stage.state(job) for job in (begun, *waiting)] == [JobState.FAILED, JobState.READY, JobState.READY]

    def test_work_that_must_not_run_twice_need_not_say_so_itself(self, stage: Stage) -> None:
        box = _box(stage)
        once, other, _ = _three_claimed(stage)
        box[1], box[1 + ONCE] = once.token, other.token
        stage.crash()
        assert [stage.state(job) for job in (once, other)] == [JobState.FAILED, JobState.READY]

    def test_what_was_wiped_out_of_the_black_box_had_not_begun(self, stage: Stage) -> None:
        box = _box(stage)
        job, *_ = _three_claimed(stage)
        box[1] = job.token
        box[1] = 0
        stage.crash()
        assert (stage.state(job), stage.row(job).attempt) == (JobState.READY, 0)

    def test_who_names_a_death_knows_better(self, stage: Stage) -> None:
        box = _box(stage)
        first, second, third = _three_claimed(stage)
        box[1 + ONCE] = first.token
        stage.broker.reap([Death("worker.1", frozenset({second.token}), once=frozenset({second.token}))])
        assert [stage.state(job) for job in (first, second, third)] == [JobState.READY, JobState.FAILED, JobState.READY]

    def test_a_session_that_is_renewed_keeps_its_black_box(self, stage: Stage) -> None:
        box = _box(stage)
        begun, waiting, _ = _three_claimed(stage)
        stage.register()
        box[1] = begun.token
        stage.crash()
        assert [stage.state(job) for job in (begun, waiting)] == [JobState.FAILED, JobState.READY]

    def test_what_begins_after_the_death_is_another_claims(self, stage: Stage) -> None:
        """The jobs are freed in pages; a worker that was only frozen may go on meanwhile, and finds its lease ended."""
        box = _box(stage)
        first, second, _ = _three_claimed(stage)
        stage.broker.reap([Death("worker.1")], limit=1)
        box[1] = second.token
        stage.broker.reap()
        assert [stage.state(job) for job in (first, second)] == [JobState.READY, JobState.READY]

    def test_a_black_box_that_nobody_uses_tells_nothing(self, stage: Stage) -> None:
        stage.register()
        stage.broker.black_box("worker.1", box_size(ONCE, 3))
        job, *_ = _three_claimed(stage)
        stage.crash()
        assert stage.row(job).attempt == 1


def _box(stage: Stage) -> memoryview[int]:
    """The black box of the session, in use."""
    stage.register()
    box = stage.broker.black_box("worker.1", box_size(ONCE, 3))

    if box is None:
        pytest.skip("this broker keeps no black boxes here")

    places = places_in(box)
    places[0] = ONCE
    return places


def _three_claimed(stage: Stage) -> list[ClaimedJob]:
    stage.push_each(*new_jobs(3))
    return stage.claim()
