"""Shared state between worker processes."""

from __future__ import annotations

from cherga.testing import wait_until
from tests.state_jobs import Totals
from tests.workers import Workplace


def test_of_200_updates_in_two_workers_none_is_lost(place: Workplace) -> None:
    totals = place.client.state(Totals)

    for _ in range(2):
        place.worker("--threads", "2", app="tests.state_jobs:app").ready()

    for _ in range(100):
        place.client.add_task("add")
        place.client.add_task("aadd")

    wait_until(lambda: not place.client.jobs(unfinished=True), "all jobs are finished", 30)

    assert totals.get().count == 200
    assert len(totals.get().pids) == 2
    assert place.client.jobs(states=["failed"]) == []


def test_an_update_from_outside_and_updates_in_jobs_see_each_other(place: Workplace) -> None:
    place.worker(app="tests.state_jobs:app").ready()
    totals = place.client.state(Totals)
    jobs = [place.client.add_task("add") for _ in range(20)]

    for _ in range(20):
        totals.update(lambda state: Totals(state.count + 1, state.pids))

    for job in jobs:
        job.result(20)

    assert totals.get().count == 40
