"""``launch_task`` of every Flask tutorial: however fast the worker is, each job finds the row that it was launched with.

A thousand of each: ``CHERGA_LAUNCHES=1000 ./dev test tests/integration/test_launches.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from flask import Flask

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


def test_every_launch_of_three_processes_is_found_by_its_job(site: Flask, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": PATH, "LAUNCH_SITE": str(tmp_path)}
    cuts = [LAUNCHES * number // PROCESSES for number in range(PROCESSES + 1)]

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *arguments], env=environment, cwd=tmp_path)

    worker = start("-m", "cherga", "worker", "-A", "tests.launch_site:create_app", "--threads", "4")

    try:
        servers = [
            start("-m", "tests.launch_site", str(tmp_path), str(first), str(end - first), "2") for first, end in pairwise(cuts)
        ]
        assert [server.wait(PATIENCE) for server in servers] == [0] * PROCESSES
        wait_until(lambda: runs(tmp_path).total() >= LAUNCHES, "all jobs have run", PATIENCE)
    finally:
        worker.terminate()
        worker.wait(30)

    assert runs(tmp_path) == {"found": LAUNCHES}
