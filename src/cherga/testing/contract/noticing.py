"""Notices: what a broker did with jobs by itself is told by a worker, at least once."""

from __future__ import annotations

import pytest

from cherga.testing.contract.keeping import ENDS, End
from cherga.testing.contract.stage import TASKS, Stage, after, ids, new_job, new_jobs
from cherga.words.job import JobError, JobState, Reason
from cherga.words.notice import Notice
from cherga.words.push import GROUP_TASK
from cherga.words.session import Death
from cherga.words.settlement import Charge

TELLER = "teller.1"
NEWS = [end for end in ENDS if end.__name__ != "_cancelled"]
CRASHED = JobError("Crashed", "the worker process died while the job ran")


class Noticing:
    """``notices`` and ``told``."""

    @pytest.mark.parametrize(
        "end", [end for end in ENDS if end.__name__ != "_cancelled"], ids=lambda end: end.__name__.strip("_")
    )
    def test_an_end_that_the_broker_wrote_is_to_be_told_as_the_job_is_kept(self, stage: Stage, end: End) -> None:
        job = new_job()
        end(stage, stage.connect(crash_cap=1), job)
        (notice,) = [each for each in _heard(stage) if each.id == job.id]
        row = stage.row(job)
        told = (notice.task, notice.state, notice.reason, notice.message, notice.attempt, notice.crashes)
        assert told == (row.task, row.state, row.reason, row.message, row.attempt, row.crashes)

    def test_a_job_that_a_death_took_and_that_runs_again_is_to_be_told(self, stage: Stage) -> None:
        job = stage.started()
        stage.crash()
        (notice,) = _heard(stage)
        assert (notice.id, notice.state, notice.reason) == (job.id, JobState.READY, Reason.CRASHED)
        assert (notice.attempt, notice.crashes, notice.error) == (1, 1, CRASHED)

    @pytest.mark.parametrize("death", [Death("worker.1", frozenset()), Death("worker.1", orderly=True)])
    def test_what_never_began_or_was_interrupted_is_no_news(self, stage: Stage, death: Death) -> None:
        stage.started()
        stage.broker.reap([death])
        assert _heard(stage) == []

    @pytest.mark.parametrize(
        "to", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.SCHEDULED, JobState.READY]
    )
    def test_what_a_worker_wrote_is_no_news(self, stage: Stage, to: JobState) -> None:
        stage.write(stage.started(), to, charge=Charge.ATTEMPT)
        assert _heard(stage) == []

    def test_what_a_caller_cancelled_is_that_callers_to_tell_and_its_children_are_not(self, stage: Stage) -> None:
        parent, waiting = new_job(), new_job()
        child = new_job(parent=parent.id)
        stage.push(parent, child, waiting)
        stage.broker.move([waiting.id], JobState.CANCELLED)
        stage.broker.move([parent.id], JobState.CANCELLED, "not today", family=True)
        assert [(each.id, each.message) for each in _heard(stage)] == [(child.id, "not today")]

    def test_a_group_is_no_news(self, stage: Stage) -> None:
        member = new_job()
        stage.push(member, after(member, task=GROUP_TASK))
        stage.broker.move([member.id], JobState.CANCELLED)
        assert _heard(stage) == []

    def test_a_notice_is_one_sessions_until_it_is_told(self, stage: Stage) -> None:
        job = stage.started()
        stage.crash()
        (notice,) = _heard(stage)
        assert _heard(stage, "other.1") == _heard(stage) == []
        stage.broker.told([notice.number])
        stage.broker.reap([Death(TELLER)])
        assert _heard(stage, "other.1") == []
        assert stage.state(job) is JobState.READY

    def test_a_teller_that_dies_leaves_its_notices_to_others(self, stage: Stage) -> None:
        stage.started()
        stage.crash()
        (notice,) = _heard(stage)
        stage.broker.reap([Death(TELLER)])
        assert _heard(stage, "other.1") == [notice]

    def test_a_notice_goes_to_those_who_know_the_task(self, stage: Stage) -> None:
        stage.started()
        stage.crash()
        stage.register(TELLER)
        assert stage.broker.notices(TELLER, {"mail"}) == []
        assert len(_heard(stage)) == 1

    def test_a_session_that_is_not_registered_hears_nothing(self, stage: Stage) -> None:
        stage.started()
        stage.crash()
        assert stage.broker.notices("nobody.1", TASKS) == []

    def test_notices_come_in_pages_oldest_first_whoever_asks(self, stage: Stage) -> None:
        jobs = new_jobs(25, expires_in=5)
        stage.push_each(*jobs)
        stage.pass_time(6)
        stage.tidy()
        pages = [_heard(stage, session, 10) for session in (TELLER, "other.1", TELLER)]
        assert [len(page) for page in pages] == [10, 10, 5]
        assert {each.id for page in pages for each in page} == set(ids(jobs))

    def test_notices_wake_who_listens(self, stage: Stage) -> None:
        stage.started()

        with stage.connect().listen(["news"]) as listener:
            stage.crash()
            assert listener.wait(5)

    def test_a_job_that_is_gone_by_now_is_told_all_the_same(self, stage: Stage) -> None:
        job = stage.pushed(expires_in=1)
        stage.pass_time(2)
        stage.tidy()
        stage.pass_time(6 * 86_400)
        assert [each.id for each in _heard(stage)] == [job.id]

    def test_telling_what_nobody_knows_harms_nothing(self, stage: Stage) -> None:
        stage.broker.told([1, 10**12])
        stage.broker.told([])


def _heard(stage: Stage, session: str = TELLER, limit: int = 100) -> list[Notice]:
    stage.register(session)
    return stage.broker.notices(session, TASKS, limit)
