"""huey on SQLite, as it is installed and with its own defaults: the peer that Cherga is measured against."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huey import SqliteHuey

LIMIT = 120.0


class Peer:
    """A huey on this file with the same two tasks as ``benchmarks.app``. Both return a value, so that huey keeps a result."""

    def __init__(self, database: Path) -> None:
        self.huey = SqliteHuey(filename=str(database))
        self.calls = 0
        self.first = self.last = 0.0
        self.expected = 0
        self.done = threading.Event()
        self.noop: Any = self.huey.task(name="noop")(self._noop)
        self.stamp: Any = self.huey.task(name="stamp")(time.monotonic_ns)

    def _noop(self, number: int) -> int:
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.calls += 1

        if self.calls == self.expected:
            self.done.set()

        return number


def processing_seconds(database: Path, workers: int, jobs: int) -> float:
    """How long a consumer takes for jobs that were enqueued before it started, without its start."""
    peer = Peer(database)

    for number in range(jobs):
        peer.noop(number)

    answer = subprocess.run(_command(database, workers, jobs), check=True, timeout=LIMIT, stdout=subprocess.PIPE, text=True)
    return float(answer.stdout)


@contextmanager
def consumer(database: Path, workers: int = 1) -> Iterator[Peer]:
    """A consumer in another process, up for as long as the block runs."""
    process = subprocess.Popen(_command(database, workers))

    try:
        yield Peer(database)
    finally:
        process.terminate()
        process.wait(LIMIT)


def _command(database: Path, workers: int, jobs: int = 0) -> list[str]:
    return [sys.executable, "-m", "benchmarks.peer_consumer", str(database), str(workers), str(jobs)]
