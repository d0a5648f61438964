"""Following jobs: one listener for all that somebody waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from cherga.doors.broker import JobListener
from cherga.testing.contract.stage import SOON, Stage, ids, new_job, new_jobs
from cherga.words.job import JobState


class ListeningToJobs:
    """``listen_to_jobs``: one listener for all jobs that somebody waits for."""

    def test_each_job_that_changes_is_named(self, stage: Stage) -> None:
        jobs = _pushed(stage, 50)

        with stage.following(*jobs) as listener:
            for job in stage.claim(50):
                stage.write(job)

            assert _named_in_time(listener, set(jobs)) == set(jobs)

    def test_what_is_not_followed_is_not_named(self, stage: Stage) -> None:
        followed, other = _pushed(stage, 2)

        with stage.following(followed) as listener:
            stage.broker.move([other], JobState.CANCELLED)
            listener.wait(0)
            assert listener.changed() in (None, set())
            stage.broker.move([followed], JobState.CANCELLED)
            assert _named_in_time(listener, {followed}) == {followed}

    def test_what_is_followed_no_longer_is_not_named(self, stage: Stage) -> None:
        first, second = _pushed(stage, 2)

        with stage.following(first, second) as listener:
            listener.discard([first])
            listener.discard([first])
            stage.broker.move([first, second], JobState.CANCELLED)
            assert _named_in_time(listener, {second}) == {second}

    def test_a_job_can_be_followed_before_it_is_stored(self, stage: Stage) -> None:
        job = new_job()
        assert_followed(stage, job.id, lambda: stage.push(job))

    def test_a_change_between_the_look_and_the_wait_is_not_missed(self, stage: Stage) -> None:
        job = stage.pushed()

        with stage.following() as listener:
            listener.add([job.id])
            stage.broker.move([job.id], JobState.CANCELLED)
            assert listener.wait(SOON)
            assert listener.changed() in (None, {job.id})

    def test_all_who_follow_a_job_hear_of_it(self, stage: Stage) -> None:
        job = stage.pushed()

        with stage.following(job.id) as here, stage.connect().listen_to_jobs() as there:
            there.add([job.id])
            stage.broker.move([job.id], JobState.CANCELLED)
            assert [_named_in_time(listener, {job.id}) for listener in (here, there)] == [{job.id}] * 2

    def test_jobs_whose_ids_are_much_alike_are_told_apart(self, stage: Stage) -> None:
        alike = [UUID(int=(number << 64) + 7) for number in range(1, 40)]
        stage.push_each(*[new_job(id=id) for id in alike])

        with stage.following(*alike) as listener:
            stage.broker.move(alike[:1], JobState.CANCELLED)
            named = _named_in_time(listener, {alike[0]})
            assert alike[0] in named
            assert named <= set(alike)

    def test_a_sleeper_is_woken_by_hand(self, stage: Stage) -> None:
        with stage.following() as listener, ThreadPoolExecutor(1) as pool:
            sleeper = pool.submit(listener.wait, 20)
            listener.wake()
            assert sleeper.result(SOON)

    def test_it_may_be_closed_twice(self, stage: Stage) -> None:
        job = stage.pushed()
        listener = stage.broker.listen_to_jobs()
        listener.add([job.id])
        listener.close()
        listener.close()
        stage.broker.move([job.id], JobState.CANCELLED)
        assert stage.state(job) is JobState.CANCELLED

    def test_a_change_costs_no_more_when_many_are_followed(self, stage: Stage) -> None:
        with stage.following(uuid4()) as listener:
            _time_of_changes(stage)
            few = min(_time_of_changes(stage) for _ in range(3))
            listener.add([uuid4() for _ in range(5000)])
            assert min(_time_of_changes(stage) for _ in range(3)) < 3 * few


def _time_of_changes(stage: Stage) -> float:
    begun = time.thread_time()

    for _ in range(50):
        stage.broker.push([[new_job()]])

    return time.thread_time() - begun


def _pushed(stage: Stage, count: int) -> list[UUID]:
    jobs = new_jobs(count)
    stage.push_each(*jobs)
    return ids(jobs)


def assert_followed(stage: Stage, id: UUID, act: Callable[[], object]) -> None:
    """The act wakes a listener that follows this job."""
    with stage.following(id) as listener:
        act()
        assert listener.wait(SOON)
        assert listener.changed() in (None, {id})


def _named_in_time(listener: JobListener, wanted: set[UUID]) -> set[UUID]:
    """The topics that the listener names until it has named all that is wanted; all of them where it does not know."""
    named: set[UUID] = set()

    while not wanted <= named and listener.wait(SOON):
        changed = listener.changed()
        named |= wanted if changed is None else changed

    return named
