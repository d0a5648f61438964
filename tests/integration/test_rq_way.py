"""The console sessions and the models of the book chapter on background jobs with RQ; only import lines are others."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import cherga
from cherga import BrokerUnavailable, Job, JobNotFound, JobState, NoCurrentJob, QueueTasks
from cherga.rules.codec import encode
from cherga.testing import wait_until
from cherga.words.push import JobHead, NewJob
from cherga.worker.options import Exit
from tests.rq_site import EXAMPLE, EXAMPLE_WITH_PROGRESS, Console, Site
from tests.slow_time import time
from tests.workers import PATH, Workplace

SECONDS = 23


@pytest.fixture(params=["memory", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/queue.db"
    site = Site(tmp_path, url)

    with site.importable():
        yield site

    site.app.close()


@pytest.fixture
def console(site: Site) -> Console:
    """``import rq`` and the connection are what the import lines give."""
    return Console(rq=cherga, connection=site.app)


def test_the_first_session(site: Site, console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    site.write_tasks(EXAMPLE)
    console.run("queue = rq.Queue('microblog-tasks', connection=connection)")

    with site.app.worker(queues=["microblog-tasks"]):
        console.run(f"job = queue.enqueue('app.tasks.example', {SECONDS})")
        assert re.fullmatch(r"'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'", console.run("job.get_id()"))
        assert console.run("job.is_finished") == "False"

        time.let_pass(SECONDS)
        wait_until(lambda: console.run("job.is_finished") == "True", "the job is finished")

    assert capsys.readouterr().out.split() == ["Starting", "task", *map(str, range(SECONDS)), "Task", "completed"]


def test_the_data_of_a_finished_job_stays_for_500_seconds(site: Site, console: Console) -> None:
    site.write_tasks(EXAMPLE)
    job = site.app.queue("microblog-tasks").enqueue("app.tasks.example", 0)

    with site.app.worker():
        job.result(5)

    site.app.broker.time_offset += 499
    site.app.broker.prune()
    assert Job.fetch(job.get_id(), connection=site.app).is_finished

    site.app.broker.time_offset += 2
    site.app.broker.prune()

    with pytest.raises(JobNotFound):
        Job.fetch(job.get_id(), connection=site.app)


def test_the_second_session(site: Site, console: Console) -> None:
    site.write_tasks(EXAMPLE_WITH_PROGRESS)
    console.run("queue = rq.Queue('microblog-tasks', connection=connection)")

    def seconds_pass(seconds: int, progress: float) -> None:
        id = UUID(console.run("job.get_id()").strip("'"))
        time.let_pass(seconds)
        wait_until(lambda: Job.fetch(id, site.app).meta.get("progress") == progress, f"progress is {progress}")

    with site.app.worker():
        console.run(f"job = queue.enqueue('app.tasks.example', {SECONDS})")
        assert console.run("job.meta") == "{}"

        seconds_pass(3, 100 * 3 / SECONDS)
        assert console.run("job.meta") == "{}"
        console.run("job.refresh()")
        assert console.run("job.meta") == "{'progress': 13.043478260869565}"

        seconds_pass(13, 100 * 16 / SECONDS)
        console.run("job.refresh()")
        assert console.run("job.meta") == "{'progress': 69.56521739130434}"

        seconds_pass(7, 100)
        console.run("job.refresh()")
        assert console.run("job.meta") == "{'progress': 100}"
        wait_until(lambda: console.run("job.is_finished") == "True", "the job is finished")


# --- the models


class Task:
    """As in ``app/models.py``, without the database around it."""

    def __init__(self, id: str, connection: QueueTasks) -> None:
        self.id = id
        self.connection = connection

    def get_rq_job(self) -> Job[Any] | None:
        try:
            rq_job = Job.fetch(self.id, connection=self.connection)
        except (BrokerUnavailable, JobNotFound):
            return None
        return rq_job

    def get_progress(self) -> float:
        job = self.get_rq_job()
        return job.meta.get("progress", 0) if job is not None else 100


class User:
    """As in ``app/models.py``."""

    id = 7

    def __init__(self, app: QueueTasks) -> None:
        self.app = app
        self.task_queue = app.queue("microblog-tasks")

    def launch_task(self, name: str, description: str, *args: Any, **kwargs: Any) -> Task:
        rq_job = self.task_queue.enqueue(f"app.tasks.{name}", self.id, *args, **kwargs)
        return Task(rq_job.get_id(), self.app)


HELPERS = """
from tests.slow_time import time
from cherga import get_current_job

def _set_task_progress(progress):
    job = get_current_job()
    if job:
        job.meta['progress'] = progress
        job.save_meta()

def export_posts(user_id, total_posts=4):
    try:
        _set_task_progress(0)
        get_current_job().meta['user'] = user_id
        for i in range(total_posts):
            time.sleep(1)
            _set_task_progress(100 * (i + 1) // total_posts)
    finally:
        _set_task_progress(100)
"""


def test_the_models_show_the_progress_of_a_task(site: Site) -> None:
    site.write_tasks(HELPERS)
    task = User(site.app).launch_task("export_posts", "Exporting posts...", total_posts=4)
    assert task.get_progress() == 0

    with site.app.worker():
        time.let_pass(2)
        wait_until(lambda: task.get_progress() == 50, "half of the posts are exported")
        time.let_pass(2)
        wait_until(lambda: task.get_progress() == 100, "all posts are exported")

    job = task.get_rq_job()
    assert job is not None
    assert job.meta == {"progress": 100, "user": 7}  # each get_current_job() saw what those before it had put there


def test_a_job_that_is_gone_counts_as_done(site: Site) -> None:
    assert Task("c651de7f-21a8-4068-afd5-8b982a6f6d32", site.app).get_progress() == 100


def test_a_broker_that_cannot_be_reached_has_an_error_of_its_own(tmp_path: Path) -> None:
    site = Site(tmp_path, f"sqlite:///{tmp_path}/queue.db")
    job = site.app.queue().enqueue("app.tasks.example", 1)
    site.app.broker.close()

    with pytest.raises(BrokerUnavailable):
        Job.fetch(job.get_id(), connection=site.app)

    assert Task(job.get_id(), site.app).get_progress() == 100
    site.app.close()


def test_metadata_given_at_enqueue_is_there_before_within_and_after_the_job(site: Site) -> None:
    site.write_tasks(HELPERS)
    job = site.app.queue().enqueue("app.tasks.export_posts", 7, total_posts=0, meta={"asked_by": "Ada"})
    assert job.meta == job.refresh().meta == {"asked_by": "Ada"}

    with site.app.worker():
        job.result(5)

    assert job.refresh().meta == {"asked_by": "Ada", "progress": 100, "user": 7}


def test_the_handle_of_the_running_job_outside_it_cannot_save(site: Site) -> None:
    site.write_tasks(EXAMPLE_WITH_PROGRESS)

    with site.app.worker():
        job = site.app.queue().enqueue("app.tasks.example", 1)
        wait_until(lambda: job.refresh().meta == {"progress": 0.0}, "the job has begun")

        with pytest.raises(NoCurrentJob, match="its meta can only be read"):
            job.save_meta()

        time.let_pass(1)
        job.result(5)

    assert job.meta == {"progress": 100}


# --- which names are looked for, and where


def test_nothing_that_stands_in_the_store_is_imported(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.write_tasks(EXAMPLE)
    (site.folder / "trap.py").write_text("def spring(*arguments): pass", encoding="utf-8")
    stray = site.app.add_task("trap.spring")  # by name alone, as anybody can store it who reaches the broker
    head = encode(JobHead(on_success="trap.spring"))
    forged = NewJob(id=uuid4(), task="app.tasks.example", payload=encode([[0], {}]), head=head)

    with site.app.worker():
        (job,) = site.app.send([forged])
        job.result(5)
        wait_until(lambda: "expected the callback 'trap.spring' to be declared in this worker" in caplog.text, "it is refused")

    assert stray.refresh().status is JobState.READY
    assert "trap" not in sys.modules


def test_a_worker_in_another_process_imports_what_the_sender_cannot(place: Workplace, tmp_path: Path) -> None:
    site = Site(tmp_path, place.url)
    site.write_tasks(
        "from pathlib import Path\n"
        "def double(number): return 2 * number\n"
        "def note(job, connection, result): Path(job.meta['file']).write_text(f'{job.get_id()} {result}')\n"
    )
    (tmp_path / "blog.py").write_text(
        "from cherga import QueueTasks\napp = QueueTasks('jobs')\napp.tasks_from('app.tasks')\n", encoding="utf-8"
    )
    file = tmp_path / "noted"
    job = site.app.queue().enqueue("app.tasks.double", 21, meta={"file": str(file)}, on_success="app.tasks.note")

    assert place.worker("--burst", app="blog:app", PYTHONPATH=f"{tmp_path}:{PATH}").wait() == 0
    assert job.result(1) == 42
    assert file.read_text(encoding="utf-8") == f"{job.get_id()} 42"
    site.app.close()


def test_a_worker_says_which_listed_module_it_cannot_import(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "blog.py").write_text(
        "from cherga import QueueTasks\napp = QueueTasks('jobs')\napp.tasks_from('app.tsaks')\n", encoding="utf-8"
    )
    worker = place.worker(app="blog:app", PYTHONPATH=f"{tmp_path}:{PATH}")

    assert worker.wait() == Exit.LOAD
    assert "tasks_from('app.tsaks'): importing it failed: ModuleNotFoundError" in worker.log
