"""What the tests of the SQLite broker share: brokers on a file, and other processes that use the same file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import apsw

from cherga.brokers.sqlite import SQLiteBroker
from cherga.rules.settings import BrokerSettings
from cherga.words.claim import ClaimedJob, ClaimWish
from cherga.words.job import JobState
from cherga.words.push import NewJob
from cherga.words.session import SessionInfo
from cherga.words.settlement import Settlement

TASKS = frozenset({"export"})

PRELUDE = """
import os, sys, time
from uuid import UUID, uuid4
from cherga.brokers.sqlite import SQLiteBroker
from cherga.rules.settings import BrokerSettings
from cherga.words.claim import *
from cherga.words.errors import BrokerError
from cherga.words.job import *
from cherga.words.push import *
from cherga.words.report import *
from cherga.words.session import *
from cherga.words.settlement import *

broker = SQLiteBroker(sys.argv[1], BrokerSettings())
session = SessionInfo(id="theirs.1", worker="theirs", host="here", pid=os.getpid())
wish = ClaimWish(session=session.id, limit=100, tasks=frozenset({"export"}))

def say(*words):
    print(*words, flush=True)

def hear():
    return sys.stdin.readline().strip()
"""


def url(file: Path, **options: Any) -> str:
    """The broker URL of a file."""
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"sqlite:///{file}{'?' * bool(query)}{query}"


@contextmanager
def opened(file: Path, settings: BrokerSettings | None = None, **options: Any) -> Iterator[SQLiteBroker]:
    """A broker on the file, open."""
    broker = SQLiteBroker(url(file, **options), settings or BrokerSettings())
    broker.open()

    try:
        yield broker
    finally:
        broker.close()


@contextmanager
def other_process(file: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs this script, with a broker on the file made but not opened; killed at the end."""
    command = [sys.executable, "-c", PRELUDE + script, url(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def hear(process: subprocess.Popen[str]) -> str:
    """The next line that it says."""
    return pipe(process.stdout).readline().strip()


def tell(process: subprocess.Popen[str], line: str = "go") -> None:
    """Let it go on."""
    stdin = pipe(process.stdin)
    stdin.write(f"{line}\n")
    stdin.flush()


def pipe(end: Any) -> TextIO:
    """One end of a pipe that was asked for."""
    assert end is not None
    return end  # type: ignore[no-any-return]


@contextmanager
def raw(file: Path) -> Iterator[apsw.Connection]:
    """The file as SQLite sees it."""
    db = apsw.Connection(str(file))
    db.set_busy_timeout(5000)

    try:
        yield db
    finally:
        db.close()


def new_job(**fields: Any) -> NewJob:
    """A job of the one task."""
    return NewJob(**{"id": uuid4(), "task": "export", "payload": b"\x90", **fields})


def push_each(broker: SQLiteBroker, count: int, **fields: Any) -> list[NewJob]:
    """Push so many jobs, each as a group of its own."""
    jobs = [new_job(**fields) for _ in range(count)]
    broker.push([[job] for job in jobs])
    return jobs


def claim(broker: SQLiteBroker, limit: int = 1000, session: str = "ours.1", **fields: Any) -> list[ClaimedJob]:
    """Claim for a session that is registered here."""
    broker.register(SessionInfo(id=session, worker="ours", host="here", pid=1))
    return broker.claim(ClaimWish(session=session, limit=limit, tasks=TASKS, **fields)).jobs


def success(job: ClaimedJob, **fields: Any) -> Settlement:
    """The settlement of an attempt that succeeded."""
    return Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED, **fields)


def state_of(broker: SQLiteBroker, job: NewJob | ClaimedJob) -> JobState | None:
    """Where the job stands; None when it is not kept."""
    (row,) = broker.get([job.id])
    return row.state if row else None
