"""Server and workers as processes: from an empty database to albums, and four workers that race for the same inboxes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from app_factory import create_app
from flask import Flask
from library.extensions import cherga, db
from library.models import Item
from library.places import file_of
from showcase.inbox import Inbox
from showcase.samples import photo
from showcase.stack import HOME, TARGET, environment
from stage.processes import await_worker, work
from tasks import background_sort_task

from cherga.testing import wait_until

SCRIPT = HOME / "run_demo.py"
LAYOUT = ("app_factory", "server", "tasks")


@contextmanager
def workers(config: dict[str, Any], count: int, log: Path) -> Iterator[None]:
    with ExitStack() as stack:
        file = stack.enter_context(log.open("wb"))
        started = [stack.enter_context(work(TARGET, HOME, environment(config), file)) for _ in range(count)]
        await_worker(cherga, started[0])
        wait_until(lambda: len(cherga.broker.workers()) >= count, "all workers are there", timeout=30)
        yield


def test_four_workers_that_race_file_everything_once(app: Flask, config: dict[str, Any], tmp_path: Path) -> None:
    inboxes = [Inbox(app, f"person {number}") for number in range(8)]
    pictures = [photo(seed) for seed in range(3)]

    for inbox in inboxes:
        for number in range(6):
            inbox.put(f"hills-{number}.jpg", pictures[number % 3])

    with workers(config, 4, tmp_path / "log"):
        jobs = [background_sort_task.enqueue(inbox.person_id) for _ in range(3) for inbox in inboxes]
        results = {job.id: job.result(timeout=40) for job in jobs}

    assert sum(result.photos for result in results.values()) == 48

    with app.app_context():
        items = db.session.scalars(sa.select(Item)).all()
        assert all(file_of(item).exists() and item.sorted_at for item in items)
        assert len({file_of(item) for item in items}) == 48


def test_a_worker_may_come_before_the_tables(config: dict[str, Any], tmp_path: Path) -> None:
    commands = {**os.environ, **environment(config), "PYTHONPATH": str(HOME)}

    with (tmp_path / "log").open("wb") as log, work(TARGET, HOME, environment(config), log) as worker:
        app = create_app(config)
        await_worker(cherga, worker)
        made = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "app_factory", "init-db"], env=commands, cwd=HOME, check=True
        )
        assert made.returncode == 0
        inbox = Inbox(app)
        inbox.put("letter.txt", b"Dear library,")
        assert background_sort_task.enqueue(inbox.person_id).result(timeout=30).others == 1

    cherga.close()


@pytest.mark.parametrize("order", [",".join(order) for order in permutations(LAYOUT)])
def test_the_modules_may_be_imported_in_every_order(config: dict[str, Any], order: str) -> None:
    lines = [f"import {name}" for name in order.split(",")]
    told = "import server; print(sorted(server.app.extensions['cherga'].tasks))"
    env = {**os.environ, **environment(config), "PYTHONPATH": str(HOME)}
    ran = subprocess.run([sys.executable, "-c", "\n".join([*lines, told])], env=env, capture_output=True, text=True, timeout=50)

    assert ran.returncode == 0, ran.stderr
    assert "background_sort_task" in ran.stdout
    assert "voice_search_task" in ran.stdout


def test_the_demonstration_works_without_a_person() -> None:
    ran = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, encoding="utf-8", timeout=55)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All is well" in ran.stdout
