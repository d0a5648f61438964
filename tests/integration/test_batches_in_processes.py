"""Batches in real worker processes."""

from __future__ import annotations

from collections import Counter

from tests.workers import Workplace


def test_jobs_whose_process_died_in_a_call_are_charged_a_crash_and_run_alone(place: Workplace) -> None:
    jobs = [place.client.add_task("deadly_batch", number) for number in range(4)]
    place.worker("--threads", "1", app="tests.feature_jobs:app").ready()

    assert [job.result(30) for job in jobs] == [0, 1, 2, 3]
    assert sorted(job.refresh().crashes for job in jobs) == [0, 1, 1, 1]
    assert Counter(place.diary.read_text(encoding="utf-8").splitlines())["batch of 3"] == 1
    assert Counter(place.diary.read_text(encoding="utf-8").splitlines())["batch of 1"] == 4
