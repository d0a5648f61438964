"""The application of the chapter on background jobs: a view enqueues, adds a row with the job's id, and commits later.

As a program it is a server process without a web server: ``python -m tests.launch_site FOLDER FIRST COUNT THREADS``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cherga import get_current_job
from cherga.contrib.flask import Cherga


class Model(DeclarativeBase):
    """What the tables inherit."""


class Mortal(Cherga):
    """Its process is killed between the commit and the push, where the environment says so."""

    def store_held(self, groups: Any) -> Any:
        if os.environ.get("LAUNCH_DIES"):
            os.kill(os.getpid(), signal.SIGKILL)

        return super().store_held(groups)


db = SQLAlchemy(model_class=Model, disable_autonaming=True)
cherga = Mortal(name="launch", sqlalchemy=db, when=os.environ.get("LAUNCH_WHEN", "commit"))
cherga.tasks_from("tests.launch_tasks")


class User(Model):
    """Somebody who launches tasks."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)

    def launch_task(self, name: str, description: str) -> Task:
        """As in the chapter, to the letter."""
        rq_job = current_app.task_queue.enqueue(f"tests.launch_tasks.{name}", self.id)  # type: ignore[attr-defined]
        task = Task(id=rq_job.get_id(), name=name, description=description, user_id=self.id)
        db.session.add(task)
        return task


class Task(Model):
    """What the user launched."""

    __tablename__ = "task"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(128))
    description: Mapped[str] = mapped_column(sa.String(128))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id))


def create_app(folder: str | None = None) -> Flask:
    """The application, on a database and a queue in this folder."""
    place = Path(folder or os.environ["LAUNCH_SITE"])
    app = Flask("launch", instance_path=str(place))
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{place}/site.db"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": 30, "connect_args": {"timeout": 50}}
    app.config["CHERGA"] = {"broker_url": f"sqlite:///{place}/queue.db?durability=process"}
    db.init_app(app)
    cherga.init_app(app)
    app.task_queue = cherga.queue("launch-tasks")  # type: ignore[attr-defined]
    app.add_url_rule("/export/<int:user>", "export", export_posts)
    return app


def export_posts(user: int) -> str:
    """The view: something is looked up before, and after."""
    found = db.session.get(User, user)
    assert found is not None
    task = found.launch_task("export_posts", "Exporting posts…")
    db.session.flush()
    db.session.scalar(sa.select(sa.func.count()).select_from(Task).where(Task.user_id == found.id))
    db.session.commit()
    return task.id


def serve(app: Flask, first: int, count: int, threads: int) -> None:
    """Answer so many requests on so many threads."""
    numbers = iter(range(first, first + count))
    lock = threading.Lock()
    client = app.test_client()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)

            if number is None:
                return

            assert client.get(f"/export/{number}").status_code == 200

    workers = [threading.Thread(target=work) for _ in range(threads)]

    for worker in workers:
        worker.start()

    for worker in workers:
        worker.join()


def note_run() -> None:
    """Write down whether the row about the running job was there."""
    job = get_current_job()
    assert job is not None
    found = db.session.get(Task, job.get_id())

    with open(os.path.join(current_app.instance_path, "runs"), "a", encoding="utf-8") as file:
        file.write(f"{job.get_id()} {'found' if found else 'missing'}\n")


if __name__ == "__main__":
    serve(create_app(sys.argv[1]), *map(int, sys.argv[2:]))
