"""Another copy of SQLite reads the queue file in a process that uses it: closing the file there drops the locks of ours."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cherga.brokers.sqlite.locks import HAS_LOCKS
from cherga.words.inspection import JobFilter
from tests.sqlite_files import PRELUDE, hear, new_job, opened, other_process, push_each, raw, tell, url

pytestmark = pytest.mark.skipif(not HAS_LOCKS, reason="this system has no locks that another library cannot drop")

LOOK_AND_CLOSE = """
import sqlite3
db = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"))
db.execute("select count(*) from jobs").fetchone()
db.close()
say("closed")
"""


def read_only(file: Path) -> None:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        db.execute("select count(*) from jobs").fetchone()

    db.close()


def read_and_write(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("select count(*) from jobs").fetchone()

    db.close()


def back_up(file: Path) -> None:
    copy = sqlite3.connect(":memory:")

    with sqlite3.connect(file) as db:
        db.backup(copy)

    db.close()
    copy.close()


def copy_file(file: Path) -> None:
    shutil.copy(file, file.with_suffix(".copy"))


@pytest.mark.parametrize("look", [read_only, read_and_write, back_up, copy_file])
def test_who_opens_and_closes_the_file_meanwhile_harms_nothing(tmp_path: Path, look: Callable[[Path], None]) -> None:
    file = tmp_path / "jobs.db"
    script = (
        "broker.open(); broker.push([[NewJob(id=uuid4(), task='export', payload=b'x' * 2000)]]); broker.close(); say('closed')"
    )

    with opened(file, watermark=0) as broker:
        for _ in range(3):
            push_each(broker, 20, payload=b"x" * 2000)
            look(file)

            with other_process(file, script) as process:
                assert hear(process) == "closed"

            with other_process(file, LOOK_AND_CLOSE) as process:
                assert hear(process) == "closed"

        push_each(broker, 20, payload=b"x" * 2000)
        assert len(broker.find(JobFilter(), limit=1000)) == 83

    with raw(file) as db:
        assert db.pragma("integrity_check") == "ok"
        assert db.execute("select count(*) from jobs").get == 83


def test_writers_keep_apart_though_their_locks_are_dropped_all_the_time(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    script = PRELUDE + (
        "broker.open()\nhear()\nfor _ in range(150): "
        "broker.push([[NewJob(id=uuid4(), task='export', payload=b'x' * 500) for _ in range(3)]])"
    )
    over = threading.Event()

    def look_all_the_time() -> None:
        while not over.is_set():
            read_only(file)

    with opened(file, durability="process", watermark=0) as broker:
        command = [sys.executable, "-c", script, url(file, durability="process", watermark=0)]
        others = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(2)]
        looker = threading.Thread(target=look_all_the_time)
        looker.start()

        for process in others:
            tell(process)

        for _ in range(300):
            broker.push([[new_job(payload=b"x" * 500) for _ in range(3)]])

        for process in others:
            process.communicate(timeout=60)

        over.set()
        looker.join()
        assert [process.returncode for process in others] == [0, 0]

    with raw(file) as db:
        assert db.pragma("integrity_check") == "ok"
        assert db.execute("select count(*) from jobs").get == 1800
        assert db.execute("select sum(count) from counters where lane > 0").get == 1800


def test_the_last_one_leaves_a_file_that_is_whole_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"

    with opened(file) as broker:
        with opened(file) as other:
            push_each(other, 3)

        assert (tmp_path / "jobs.db-wal").exists()
        push_each(broker, 2)

    assert sorted(os.listdir(tmp_path)) == ["jobs.db", "jobs.db-live"]

    with raw(file) as db:
        assert db.execute("select count(*) from jobs").get == 5
