"""``launch_task`` of every Flask tutorial: however fast the worker is, each job finds the row that it was launched with.

A thousand of each: ``CHERGA_LAUNCHES=1000 ./dev test tests/integration/test_launches.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from flask import Flask

from cherga.contrib.sqlalchemy import outbox_table
from cherga.testing import wait_until
from tests import launch_site
from tests.launch_site import cherga, db
from tests.workers import PATH

LAUNCHES = int(os.environ.get("CHERGA_LAUNCHES", "60"))
PATIENCE = 40 + LAUNCHES / 10
PROCESSES = 3

pytestmark = pytest.mark.timeout(60 + LAUNCHES / 2)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Flask]:
    app = launch_site.create_app(str(tmp_path))

    with app.app_context():
        db.create_all()
        db.session.add_all([launch_site.User(id=number) for number in range(LAUNCHES)])
        db.session.commit()

    yield app

    cherga.close()

    with app.app_context():
        db.engine.dispose()


def runs(folder: Path) -> Counter[str]:
    """How many runs found the row about their job, and how many missed it."""
    file = folder / "runs"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    assert len({line.split()[0] for line in lines}) == len(lines)  # each job ran once
    return Counter(line.split()[1] for line in lines)


def test_every_launch_of_many_threads_is_found_by_its_job(site: Flask, tmp_path: Path) -> None:
    with cherga.worker():
        launch_site.serve(site, 0, LAUNCHES, threads=8)
        wait_until(lambda: runs(tmp_path).total() >= LAUNCHES, "all jobs have run", PATIENCE)

    assert runs(tmp_path) == {"found": LAUNCHES}


class Programs:
    """Processes of the site, on its folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": PATH, "LAUNCH_SITE": str(folder), **environment}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *arguments], env={**self._environment, **environment}, cwd=self._folder)

    def serve(self, first: int, end: int, threads: int = 2, **environment: str) -> subprocess.Popen[bytes]:
        """A server process that answers these requests."""
        numbers = (str(first), str(end - first), str(threads))
        return self.start("-m", "tests.launch_site", str(self._folder), *numbers, **environment)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker of its own, for the block."""
        worker = self.start("-m", "cherga", "worker", "-A", "tests.launch_site:create_app", "--threads", "4")

        try:
            yield
        finally:
            worker.terminate()
            worker.wait(30)


def test_every_launch_of_three_processes_is_found_by_its_job(site: Flask, tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    cuts = [LAUNCHES * number // PROCESSES for number in range(PROCESSES + 1)]

    with programs.worker():
        servers = [programs.serve(first, end) for first, end in pairwise(cuts)]
        assert [server.wait(PATIENCE) for server in servers] == [0] * PROCESSES
        wait_until(lambda: runs(tmp_path).total() >= LAUNCHES, "all jobs have run", PATIENCE)

    assert runs(tmp_path) == {"found": LAUNCHES}


def test_a_launch_whose_server_was_killed_behind_the_commit_is_taken_by_the_worker(site: Flask, tmp_path: Path) -> None:
    with site.app_context():
        outbox_table(db.metadata).create(db.engine)

    programs = Programs(tmp_path, LAUNCH_WHEN="outbox")

    with programs.worker():
        assert programs.serve(0, 1, threads=1, LAUNCH_DIES="yes").wait(PATIENCE) == -signal.SIGKILL
        wait_until(lambda: runs(tmp_path).total() == 1, "the job has run", PATIENCE)

    assert runs(tmp_path) == {"found": 1}
