"""An application with an outbox, whose processes can be killed at any step between a commit and its end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from cherga import Job, QueueTasks, Task, ctx
from cherga.contrib.sqlalchemy import follow
from cherga.contrib.sqlalchemy_departure import SessionDeparture
from cherga.contrib.sqlalchemy_outbox import Outbox
from cherga.words.errors import EnqueueRefused
from cherga.words.push import NewJob


class Model(DeclarativeBase):
    """What the tables inherit."""


class Launched(Model):
    """A row about a job."""

    __tablename__ = "launched"

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(sa.String(36))


class Ran(Model):
    """Written by the job: how many rows about it there were."""

    __tablename__ = "ran"

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(sa.String(36))
    rows: Mapped[int]


STEPS = ("before the commit", "before the push", "after the push", "after the row is deleted")


class Shop(QueueTasks):
    """Its process is killed at the step that it was told."""

    dies: str = ""

    def __init__(self, folder: str) -> None:
        super().__init__("shop", f"sqlite:///{folder}/queue.db", poll_interval=60.0)
        self.engine = sa.create_engine(f"sqlite:///{folder}/app.db", connect_args={"timeout": 30})
        self.sessions = sessionmaker(self.engine)
        follow(self, self.sessions, when="outbox", metadata=Model.metadata)
        self.run: Task[[], None] = self.task(name="run")(self._run)

    def _run(self) -> None:
        job = str(ctx.job_id)

        with self.sessions.begin() as session:
            rows = session.scalar(sa.select(sa.func.count()).where(Launched.job == job))
            session.add(Ran(job=job, rows=rows or 0))

    def launch(self) -> Job[None]:
        """As an application does it."""
        with self.sessions() as session:
            session.begin()
            job = self.run.enqueue()
            session.add(Launched(job=str(job.id)))
            self._die("before the commit")
            session.commit()

        self._die("after the row is deleted")
        return job

    def store_held(self, groups: Sequence[Sequence[NewJob]]) -> list[list[Job[Any]] | EnqueueRefused]:
        self._die("before the push")
        stored = super().store_held(groups)
        self._die("after the push")
        return stored

    def _die(self, step: str) -> None:
        if self.dies == step:
            os.kill(os.getpid(), signal.SIGKILL)


def outbox_of(app: QueueTasks) -> Outbox:
    """The outbox that the application follows."""
    departure = app.departure
    assert isinstance(departure, SessionDeparture)
    assert departure.outbox is not None
    return departure.outbox


def main(folder: str, count: str) -> None:
    """Launch so many jobs in processes of their own, each killed at the next step."""
    for number in range(int(count)):
        if not (pid := os.fork()):
            shop = Shop(folder)
            shop.dies = STEPS[number % len(STEPS)]
            shop.launch()
            os._exit(7)

        assert os.waitpid(pid, 0)[1] == signal.SIGKILL


if __name__ == "__main__":
    main(*sys.argv[1:])
