"""Worker processes for tests: started, watched and ended by their id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import apsw

from cherga import QueueTasks, Task
from cherga.testing import wait_until
from tests import worker_jobs

ROOT = Path(__file__).parent.parent
PATH = os.pathsep.join((str(ROOT), str(ROOT / "src")))
"""Where worker processes find the tests and this checkout's own code."""


@dataclass(frozen=True)
class Event:
    """A line of the diary that the jobs keep."""

    name: str
    job: str
    attempt: int
    pid: int
    at: float


class Workplace:
    """A queue file, a diary and the workers that were started on them."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'queue.db'}"
        self.diary = folder / "diary"
        self.start_in = ROOT
        """The working directory of workers."""
        self.client = QueueTasks("jobs", self.url)
        self._workers: list[Worker] = []

    @property
    def environment(self) -> dict[str, str]:
        """For processes that use the queue file and the diary."""
        return {**os.environ, "CHERGA_BROKER_URL": self.url, "DIARY": str(self.diary), "PYTHONPATH": PATH}

    def worker(self, *arguments: str, app: str = "tests.worker_jobs:app", **environment: str) -> Worker:
        """Start ``cherga worker`` with these arguments."""
        worker = Worker(["-A", app, *arguments], {**self.environment, **environment}, self.diary.parent, self.start_in)
        self._workers.append(worker)
        return worker

    def events(self, name: str) -> list[Event]:
        """What the jobs wrote down so far."""
        if not self.diary.exists():
            return []

        fields = [line.split() for line in self.diary.read_text(encoding="utf-8").splitlines()]
        return [Event(f[0], f[1], int(f[2]), int(f[3]), float(f[4])) for f in fields if len(f) == 5 and f[0] == name]

    def wait_for(self, name: str, count: int = 1) -> list[Event]:
        """Wait until so many events of this name are written down."""
        return wait_until(lambda: events if len(events := self.events(name)) >= count else None, f"{count} {name!r} events", 20)

    def states(self) -> Counter[str]:
        """How many jobs stand in which state."""
        found: Counter[str] = Counter()

        for row in self.client.broker.counts():
            found[row.state.value] += row.count

        return found

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return sum(row.count for row in self.client.broker.counts() if not row.state.final)

    def freeze(self, *pids: int) -> None:
        """Stop these processes, but not in the middle of a write, where they would hold up everybody else."""
        wait_until(lambda: self._frozen(pids), "the processes stand still outside a write")

    def _frozen(self, pids: tuple[int, ...]) -> bool:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

        wait_until(lambda: all(map(_stands_still, pids)), "all threads are stopped")

        if _is_free(self.diary.parent / "queue.db"):
            return True

        for pid in pids:
            os.kill(pid, signal.SIGCONT)

        return False

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

        self.client.close()


def _stands_still(pid: int) -> bool:
    """Whether none of its threads goes on: a signal takes its time to reach them all."""
    try:
        stats = [path.read_text(encoding="utf-8") for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False

    return all(stat.rpartition(")")[2].split()[0] in "TtZX" for stat in stats)


def _is_free(path: Path) -> bool:
    """Whether nobody writes to the file at this moment."""
    db = apsw.Connection(str(path))

    try:
        db.execute("begin immediate; rollback")
    except apsw.BusyError:
        return False
    finally:
        db.close()

    return True


def declared_here(place: Workplace, name: str) -> Task[..., Any]:
    """The worker's task, declared with the client of this process too, so that options can be set."""
    return place.client.tasks.get(name) or place.client.task(worker_jobs.app.tasks[name].function)


class Worker:
    """One ``cherga worker`` with its supervisor's process."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path, started_in: Path = ROOT) -> None:
        self._log = (folder / f"worker-{len(list(folder.glob('worker-*')))}.log").open("w+")
        command = [sys.executable, "-m", "cherga", "worker", *arguments]
        self.process = subprocess.Popen(command, env=environment, cwd=started_in, stdout=self._log, stderr=self._log)

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8")

    def ready(self) -> Self:
        """Wait until a worker process has said that it is."""
        wait_until(lambda: "ready" in self.log or self.process.poll() is not None, "the worker is ready", 20)
        return self

    def children(self) -> list[int]:
        """Process ids of the worker processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text(encoding="utf-8").split()]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            for child in self.children():
                os.kill(child, signal.SIGKILL)

            self.process.kill()

        self.process.wait(10)
        self._log.close()
