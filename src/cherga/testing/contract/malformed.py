"""Rows that cannot be read must not stop the others."""

from __future__ import annotations

from typing import Any

import pytest

from cherga.testing.contract.stage import Stage, ids, new_job, new_jobs
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState, Reason
from cherga.words.push import NewJob


class Malformed:
    """Each case spoils every field that the harness names in a job of its own, with good jobs around them."""

    def test_good_jobs_are_handed_out_all_the_same(self, stage: Stage) -> None:
        good, _ = _mixed(stage)
        assert ids(stage.claim()) == ids(good)

    def test_a_small_claim_is_not_used_up_by_them(self, stage: Stage) -> None:
        good, bad = _mixed(stage)
        claims = [stage.claim(1) for _ in range(len(good) + len(bad))]
        assert [job.id for page in claims for job in page] == ids(good)

    def test_they_fail_as_malformed(self, stage: Stage) -> None:
        _, bad = _mixed(stage)
        stage.claim()
        assert stage.states(bad) == [JobState.FAILED] * len(bad)
        assert {stage.row(job).reason for job in bad} == {Reason.MALFORMED}

    def test_they_can_be_looked_at(self, stage: Stage) -> None:
        good, bad = _mixed(stage)
        assert len(stage.broker.get(ids(bad))) == len(bad)
        assert set(ids(good)) <= set(ids(stage.broker.find(JobFilter())))
        assert sum(count.count for count in stage.broker.counts()) == len(good) + len(bad)

    def test_they_can_be_cancelled(self, stage: Stage) -> None:
        good, bad = _mixed(stage)
        assert set(stage.broker.move(ids(bad), JobState.CANCELLED)) == set(ids(bad))
        assert ids(stage.claim()) == ids(good)

    def test_they_do_not_stop_a_promotion(self, stage: Stage) -> None:
        good, _ = _mixed(stage, delay=60)
        stage.pass_time(61)
        stage.tidy()
        assert ids(stage.claim()) == ids(good)

    @pytest.mark.parametrize("to", [JobState.SUCCEEDED, JobState.READY])
    def test_they_do_not_stop_a_settlement(self, stage: Stage, to: JobState) -> None:
        jobs = new_jobs(len(stage.harness.corruptible))
        stage.push_each(*jobs)
        claimed = stage.claim()

        for job, field in zip(jobs, stage.harness.corruptible, strict=True):
            stage.harness.corrupt(job.id, field)

        for attempt in claimed:
            stage.write(attempt, to)

    def test_they_do_not_stop_the_reaper(self, stage: Stage) -> None:
        jobs = new_jobs(len(stage.harness.corruptible) + 1)
        stage.push_each(*jobs)
        stage.claim()

        for job, field in zip(jobs, stage.harness.corruptible, strict=False):
            stage.harness.corrupt(job.id, field)

        assert set(stage.crash()) == set(ids(jobs))
        assert stage.row(jobs[-1]).crashes == 1

    def test_they_do_not_stop_the_pruner(self, stage: Stage) -> None:
        _, bad = _mixed(stage)
        stage.claim()
        stage.pass_time(400 * 86_400.0)
        assert stage.broker.prune() == len(bad)


def _mixed(stage: Stage, **fields: Any) -> tuple[list[NewJob], list[NewJob]]:
    """Good jobs, and one bad job for each field that can be spoilt, pushed in turn."""
    good, bad = [new_job(**fields)], []

    for field in stage.harness.corruptible:
        bad.append(new_job(**fields))
        good.append(new_job(**fields))
        stage.push_each(good[-2], bad[-1])
        stage.harness.corrupt(bad[-1].id, field)

    stage.push_each(good[-1])
    return good, bad
