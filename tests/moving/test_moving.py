"""An application made for RQ is moved by the steps of ``docs/howto/from-rq.md``, and runs, with a worker that is killed.

The application in ``before/`` is in the manner of the Flask tutorials. It runs as it stands with RQ 2.1 and Redis.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cherga.testing import wait_until
from tests.docs.pages import ROOT
from tests.moving.steps import steps_of
from tests.workers import PATH, Worker

PAGE = ROOT / "docs" / "howto" / "from-rq.md"
BEFORE = Path(__file__).parent / "before"
STEPS = steps_of(PAGE)
RUNS_AFTER = 3
"""Steps after which the application runs for the first time."""
PATIENCE = 30.0

pytestmark = pytest.mark.timeout(180)

SET_UP = """
from microblog import app
from app import db
from app.models import Post, User

with app.app_context():
    db.create_all()
    user = User(username="ann")
    db.session.add(user)
    db.session.add_all(Post(body=f"Post {number}.", author=user) for number in range(4))
    db.session.commit()
"""
ROWS = """
import json
from microblog import app
from app import db
from app.models import Task

with app.app_context():
    rows = db.session.scalars(db.select(Task)).all()
    print(json.dumps([[row.id, row.complete, getattr(row, "state", None), getattr(row, "reason", None)] for row in rows]))
"""
REQUEST = """
import json, sys
from microblog import app

answer = getattr(app.test_client(), sys.argv[1])(sys.argv[2])
print(json.dumps([answer.status_code, answer.json if answer.is_json else answer.text]))
"""
TELLING = """

def note_failure(job, connection, type, value, traceback):
    current_app.logger.warning("called back: %s, %s", job.get_id(), value)


@cherga.on.failed
def note_signal(event):
    current_app.logger.warning("signal: %s, %s", event.job_id, event.error.message)
"""


class Site:
    """A copy of the application in a folder of its own, after some steps."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder = folder / "site"
        self.mails = folder / "mails"
        self.mails.mkdir()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CHERGA", "FLASK"))},
            "DATABASE_URL": f"sqlite:///{folder}/microblog.db",
            "CHERGA_BROKER_URL": f"sqlite:///{folder}/jobs.db",
            "MAIL_FOLDER": str(self.mails),
            "PYTHONPATH": os.pathsep.join((str(self.folder), PATH)),
        }
        self._workers: list[Worker] = []
        shutil.copytree(BEFORE, self.folder)

        for changes in STEPS[:steps]:
            for change in changes:
                change.apply(self.folder)

    def append(self, file: str, text: str) -> None:
        with (self.folder / file).open("a", encoding="utf-8") as end:
            end.write(text)

    def run(self, *command: str) -> str:
        """What a Python with these arguments prints."""
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            timeout=50,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def ask(self, code: str, *arguments: str) -> Any:
        """What this code prints as JSON."""
        return json.loads(self.run("-c", code, *arguments))

    def post(self, path: str) -> Any:
        return self.ask(REQUEST, "post", path)

    def get(self, path: str) -> Any:
        return self.ask(REQUEST, "get", path)

    def progress(self) -> float | None:
        """What the page says of the only task in progress."""
        _, tasks = self.get("/ann/tasks")
        return tasks[0]["progress"] if tasks else None

    def rows(self) -> list[list[Any]]:
        """Of each row of the table: id, complete, state, reason."""
        return list(self.ask(ROWS))

    def await_row(self, *ending: object) -> str:
        """Wait until the only row says so; give its id."""
        row = wait_until(lambda: self._only(list(ending)), f"the row says {ending}", PATIENCE)
        return str(row[0])

    def _only(self, ending: list[object]) -> list[Any] | None:
        (row,) = self.rows()
        return row if row[1:] == ending else None

    def work(self, **environment: str) -> Worker:
        """A worker, started as the page says."""
        arguments = ["-A", "microblog:app", "-q", "microblog-tasks"]
        worker = Worker(arguments, {**self._environment, **environment}, self.folder.parent)
        self._workers.append(worker)
        return worker

    def mail(self, recipient: str) -> dict[str, Any]:
        path = self.mails / f"{recipient}.json"
        wait_until(lambda: path.exists() and path.read_text(encoding="utf-8").endswith("}"), "the mail is there", PATIENCE)
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Any]:
    made: list[Site] = []

    def make_site(steps: int = len(STEPS)) -> Site:
        made.append(Site(tmp_path, steps))
        made[0].run("-c", SET_UP)
        return made[0]

    yield make_site

    for site in made:
        site.close()


def test_after_three_steps_the_application_runs_with_its_launch_task_and_its_progress_unchanged(make_site: Any) -> None:
    site = make_site(RUNS_AFTER)

    assert site.post("/ann/export_posts") == [200, "Exporting posts..."]
    assert site.post("/ann/export_posts") == [409, "An export task is currently in progress"]
    assert site.get("/ann/tasks") == [200, [{"description": "Exporting posts...", "progress": 0}]]

    site.work()
    assert [post["body"] for post in site.mail("ann")["posts"]] == [f"Post {number}." for number in range(4)]
    site.await_row(True, None, None)
    assert site.get("/ann/tasks") == [200, []]

    # The worker is there by now, and takes what comes at once: the task finds the row of its job all the same.
    (site.mails / "ann.json").unlink()
    assert site.post("/ann/export_posts") == [200, "Exporting posts..."]
    assert len(site.mail("ann")["posts"]) == 4


def test_after_all_steps_an_export_that_fails_has_failed_for_the_log_the_table_and_the_page(make_site: Any) -> None:
    site = make_site()
    shutil.rmtree(site.mails)
    site.post("/ann/export_posts")
    worker = site.work()

    site.await_row(True, "failed", "error")
    wait_until(lambda: "FileNotFoundError" in worker.log, "the log has the traceback", PATIENCE)
    site.mails.mkdir()
    assert site.get("/ann/tasks") == [200, []]
    assert site.post("/ann/export_posts") == [200, "Exporting posts..."]
    assert len(site.mail("ann")["posts"]) == 4


def test_after_all_steps_the_page_shows_progress_and_refuses_a_second_export_meanwhile(make_site: Any) -> None:
    site = make_site()
    site.post("/ann/export_posts")
    site.work(POST_DELAY="8")

    wait_until(lambda: site.progress() in {25, 50, 75}, "progress shows", PATIENCE)
    assert site.post("/ann/export_posts") == [409, "An export task is currently in progress"]


def test_the_death_of_a_process_is_told_to_log_signals_callback_and_table_by_the_next_one(make_site: Any) -> None:
    site = make_site()
    site.append("config.py", '    CHERGA |= {"crash_cap": 1, "sweep": 0.2}\n')
    site.append("app/tasks.py", TELLING)
    models = site.folder / "app" / "models.py"
    text = models.read_text(encoding="utf-8")
    models.write_text(text.replace("self.id, *args", 'self.id, *args, on_failure="app.tasks.note_failure"'), encoding="utf-8")

    site.post("/ann/export_posts")
    worker = site.work(POST_DELAY="60").ready()
    wait_until(lambda: "running" in site.run("-m", "cherga", "jobs", "list", "-A", "microblog:app"), "the job runs", PATIENCE)

    for child in worker.children():
        os.kill(child, signal.SIGKILL)

    id = site.await_row(True, "failed", "poison")
    wait_until(lambda: "called back" in worker.log, "on_failure was called", PATIENCE)
    assert f"signal: {id}, its process died under it" in worker.log
    assert f"called back: {id}" in worker.log
    assert f"job {id} (export_posts) failed (poison): its process died under it" in worker.log
    assert site.post("/ann/export_posts") == [200, "Exporting posts..."], "nobody is locked out"


def test_a_job_that_is_cancelled_on_the_command_line_closes_its_row_before_the_command_ends(make_site: Any) -> None:
    site = make_site()
    site.post("/ann/export_posts")
    ((id, complete, *_),) = site.rows()
    assert not complete

    site.run("-m", "cherga", "jobs", "cancel", "-A", "microblog:app", id)

    assert site.rows() == [[id, True, "cancelled", "asked"]]


def test_every_line_of_the_fixture_that_names_rq_is_gone_after_all_steps(make_site: Any) -> None:
    site = make_site()
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted(site.folder.rglob("*.py")))

    assert "redis" not in sources.lower()
    assert "import rq" not in sources
    assert "rq." not in sources


TWICE = """
import json
from microblog import app
from app import cherga, db
from app.models import User

with app.app_context():
    user = db.session.scalar(db.select(User))
    tasks = [user.launch_task("export_posts", "Exporting posts...") for _ in range(2)]
    db.session.commit()
    print(json.dumps([task.id for task in tasks]))
"""


def test_two_launches_at_the_same_moment_are_one_export_with_one_row(make_site: Any) -> None:
    site = make_site()
    first, second = site.ask(TWICE)

    assert first == second
    assert [row[0] for row in site.rows()] == [first]
