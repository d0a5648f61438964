"""Server, tasks and factory of the Ukrainian seeds, in their final layout: the order of imports does not matter."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests.workers import Workplace

MODULES = ("app_factory", "server", "tasks")

FACTORY = """
import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from cherga.contrib.flask import Cherga

made = 0
cherga, db = Cherga(name="library"), SQLAlchemy()
cherga.tasks_from("tasks")


class Photo(db.Model):
    id = db.Column(db.Integer, primary_key=True)


def create_app():
    global made
    made += 1

    with open(MADE, "a") as diary:
        print(os.getpid(), file=diary)

    app = Flask("library", instance_path=INSTANCE)
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///library.db", CHERGA={"broker_url": BROKER})
    db.init_app(app)
    cherga.init_app(app)
    return app
"""

SERVER = """
from app_factory import create_app, db
from tasks import background_sort_task, voice_search_task

app = create_app()


@app.post("/sort")
def sort():
    return {"job": str(background_sort_task.enqueue(7).id)}


@app.post("/search")
def search():
    return {"job": str(voice_search_task.enqueue("cats").id)}
"""

TASKS = """
import app_factory
from app_factory import Photo, cherga, db


@cherga.task(unique=True)
def background_sort_task(user_id, flask_app=None):
    db.session.add(Photo())
    db.session.commit()
    return [f"{user_id} sorted", app_factory.made]


@cherga.task
def voice_search_task(question, flask_app=None):
    db.session.query(Photo).count()
    return [f"{question} found", app_factory.made]
"""

LOOK = """
import json, sys
for name in sys.argv[1:]:
    __import__(name)
import app_factory, server, tasks
from cherga.contrib.flask import Cherga
print(json.dumps([app_factory.made, sorted(app_factory.cherga.tasks), tasks.cherga is app_factory.cherga]))
"""


@pytest.fixture
def library(place: Workplace, tmp_path: Path) -> Path:
    """The three files."""
    head = f"INSTANCE, BROKER, MADE = {str(tmp_path)!r}, {place.url!r}, {str(tmp_path / 'made')!r}\n"

    for name, text in zip(MODULES, (head + FACTORY, SERVER, TASKS), strict=True):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")

    return tmp_path


def run(library: Path, code: str, *arguments: str) -> Any:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=library, capture_output=True, encoding="utf-8", timeout=40)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("order", list(permutations(MODULES)), ids=" ".join)
def test_every_order_of_imports_gives_the_same_tasks_and_one_application(library: Path, order: tuple[str, ...]) -> None:
    assert run(library, LOOK, *order) == [1, ["background_sort_task", "voice_search_task"], True]


CREATE = """
from app_factory import create_app, db
with create_app().app_context():
    db.create_all()
print(0)
"""

ASK = """
import json
from server import app
client = app.test_client()
ids = [client.post("/sort").json["job"] for _ in range(2)] + [client.post("/search").json["job"]]
print(json.dumps(ids))
"""


@pytest.mark.parametrize("target", ["app_factory:create_app", "server:app", "server", "app_factory.py:create_app"])
def test_a_worker_that_is_given_factory_or_server_runs_what_the_server_enqueued(
    place: Workplace, library: Path, target: str
) -> None:
    run(library, CREATE)
    sort, again, search = run(library, ASK)
    path = f"{place.environment['PYTHONPATH']}:{library}"
    target = str(library / target) if ".py" in target else target
    worker = place.worker("--burst", "--strict", app=target, PYTHONPATH=path)

    assert worker.wait() == 0, worker.log
    assert "WARNING" not in worker.log
    assert sort == again

    place.client.configure("library")
    results = [job.result(0) for id in (sort, search) if (job := place.client.get(id)) is not None]
    assert results == [["7 sorted", 1], ["cats found", 1]]


MANY = 100
ENQUEUE = f"""
from server import app, voice_search_task
with app.app_context():
    voice_search_task.enqueue_many([(str(number),) for number in range({MANY})])
print(0)
"""


def test_each_worker_process_makes_one_application_for_all_its_jobs(place: Workplace, library: Path) -> None:
    run(library, CREATE)
    run(library, ENQUEUE)
    (library / "made").unlink()
    path = f"{place.environment['PYTHONPATH']}:{library}"
    worker = place.worker("--burst", "--processes", "2", app="app_factory:create_app", PYTHONPATH=path)

    assert worker.wait() == 0, worker.log
    place.client.configure("library")
    assert place.states() == {"succeeded": MANY}

    makers = (library / "made").read_text(encoding="utf-8").split()
    assert len(makers) == len(set(makers)) == 2
