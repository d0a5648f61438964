"""A worker process goes through the lifespan of the application, on the loop on which its async jobs run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cherga.testing import wait_until
from tests.workers import Workplace

SITE = "tests.lifespan_site"


@pytest.mark.parametrize("name", [":app", ":create_app", ":cherga", ""])
def test_jobs_run_between_the_start_and_the_end_of_the_lifespan(place: Workplace, name: str) -> None:
    jobs = [place.client.add_task("look"), place.client.add_task("look_from_a_thread")]
    worker = place.worker("--burst", app=SITE + name)

    assert worker.wait() == 0
    assert [job.result(1) for job in jobs] == [["worker", "worker", "the same loop"], True]
    assert place.diary.read_text(encoding="utf-8").split("\n") == ["opens as worker", "closes", ""]


def test_a_deploy_closes_what_the_lifespan_has_opened(place: Workplace) -> None:
    worker = place.worker(app=f"{SITE}:app").ready()
    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert "closes" in place.diary.read_text(encoding="utf-8")


def test_a_lifespan_that_fails_at_the_start_is_tried_again_before_anything_is_claimed(place: Workplace) -> None:
    job = place.client.add_task("look")
    worker = place.worker("--burst", app=f"{SITE}:app", LIFESPAN="fails at first")

    assert worker.wait() == 0
    assert "the lifespan of the application failed at its start: ConnectionError: no database at db:5432" in worker.log
    assert job.refresh().attempt == 1
    assert place.diary.read_text(encoding="utf-8").split() == ["fails", "opens", "as", "worker", "closes"]


def test_a_lifespan_that_fails_at_the_end_is_told_to_the_log(place: Workplace) -> None:
    job = place.client.add_task("look")
    worker = place.worker("--burst", app=f"{SITE}:app", LIFESPAN="fails at the end")

    assert worker.wait() == 0
    assert job.refresh().status == "succeeded"
    wait_until(lambda: "failed at its end" in worker.log and "the database has gone" in worker.log, "the log tells the cause")


def test_an_application_without_a_cherga_is_told_what_to_write(place: Workplace, tmp_path: Path) -> None:
    worker = place.worker(app=f"{SITE}:bare")

    assert worker.wait() == 3
    assert "expected the application 'tests.lifespan_site:bare' to have a Cherga, but this FastAPI has none" in worker.log
    assert "cherga.contrib.fastapi" in worker.log
