"""Worker processes under measurement: started, looked at from outside, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.app import make
from cherga import QueueTasks

USUAL = (sys.executable, "-m", "cherga", "worker", "-A", "benchmarks.app:app")
WORKER = (*USUAL, "--log-level", "warning")
TICKS = os.sysconf("SC_CLK_TCK")
LIMIT = 120.0
"""Seconds after which anything measured here has gone wrong."""


@contextmanager
def client(database: Path, durability: str = "full") -> Iterator[QueueTasks]:
    """The client's side of the measured application on this file."""
    app = make(url(database, durability))

    try:
        yield app
    finally:
        app.close()


def url(database: Path, durability: str = "full") -> str:
    """The broker URL of a file."""
    return f"sqlite:///{database}" + ("" if durability == "full" else f"?durability={durability}")


def run_burst(database: Path, processes: int = 1, command: Sequence[str] = WORKER) -> None:
    """A worker that ends when nothing is ready or running. What it logs goes to a file beside the database."""
    with database.with_suffix(".log").open("w") as log:
        arguments = [*command, "--processes", str(processes), "--burst"]
        subprocess.run(arguments, env=_environment(database), check=True, timeout=LIMIT, stderr=log)


@contextmanager
def worker(database: Path, durability: str = "full") -> Iterator[int]:
    """A worker with one process, up for as long as the block runs; gives the supervisor's process id."""
    process = subprocess.Popen([*WORKER, "--processes", "1"], env=_environment(database, durability))

    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT)


def children(pid: int) -> list[int]:
    """The processes that this one started and that still live."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def processor_seconds(pid: int) -> float:
    """Processor time that the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_megabytes(pid: int) -> float:
    """Memory that the process holds, pages shared with others included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def environment() -> dict[str, str]:
    """The one of this process, but modules are compiled once and kept, as those of an installed package are."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _environment(database: Path, durability: str = "full") -> dict[str, str]:
    return {**environment(), "CHERGA_BROKER_URL": url(database, durability)}
