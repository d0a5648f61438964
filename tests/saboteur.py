"""Kills and stops workers at moments that a seed decides, and looks at what is left of it in the file."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import apsw

from cherga.testing import wait_until
from cherga.words.job import JobState
from tests.workers import Worker, Workplace

SEEDS = "CHAOS_SEEDS"
"""The environment variable that names the seeds of a longer run by hand: ``100-120``."""

ENDED = {state.value for state in JobState if state.final}


def seeds(usual: int) -> list[int]:
    """The seed of a test, or those that the environment names."""
    first, _, last = os.environ.get(SEEDS, str(usual)).partition("-")
    return list(range(int(first), int(last or first) + 1))


class Saboteur:
    """Has some workers, each with one worker process, and does harm to them."""

    def __init__(self, place: Workplace, seed: int, workers: int, threads: int = 4) -> None:
        self._place = place
        self._chance = random.Random(seed)
        self._threads = threads
        self._frozen: list[tuple[float, list[int]]] = []
        self.killed: dict[int, float] = {}
        """The processes that were killed, and when they still lived."""
        self.workers = [self._start() for _ in range(workers)]

        for worker in self.workers:
            worker.ready()

    def harm(self, deeds: int, so_far: Callable[[], int], until: int, *kinds: Callable[[Saboteur], None]) -> None:
        """Do so many deeds while ``so_far`` grows to ``until``."""
        for at in sorted(self._chance.sample(range(1, until), deeds)):
            wait_until(partial(self._has_come, so_far, at), f"{at} of {until} have ended", 30)
            self._wait(self._chance.random() * 0.05)
            self._chance.choice(kinds)(self)

        wait_until(self._all_go_on, "all go on again")

    def kill_process(self) -> None:
        """Its supervisor starts another one."""
        for pid in self._pick().children():
            self._kill(pid)

    def kill_worker(self) -> None:
        """The supervisor with its process, as when a machine goes; another one is started."""
        worker = self._pick()

        for pid in [worker.process.pid, *worker.children()]:
            self._kill(pid)

        worker.wait()
        self._replace(worker)

    def kill_supervisor(self) -> None:
        """Its process notices."""
        worker = self._pick()
        self._kill(worker.process.pid)
        worker.wait()
        self._replace(worker)

    def restart_worker(self) -> None:
        """As a deploy does."""
        worker = self._chance.choice(self.workers).ready()
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        self._replace(worker)

    def stop_worker(self) -> None:
        """For longer than its lease."""
        worker = self._pick()
        pids = [worker.process.pid, *worker.children()]

        if not any(pid in stopped for _, stopped in self._frozen for pid in pids):
            self._frozen.append((time.monotonic() + 1.0 + self._chance.random(), pids))

            with suppress(ProcessLookupError):  # one has just ended
                self._place.freeze(*pids)

    def _start(self) -> Worker:
        return self._place.worker("--threads", str(self._threads), app="tests.flow_jobs:app")

    def _replace(self, worker: Worker) -> None:
        self.workers[self.workers.index(worker)] = self._start()

    def _pick(self) -> Worker:
        """One that runs jobs, as long as there are any to run."""
        return self._chance.choice(wait_until(self._find_busy, "a worker runs jobs"))

    def _find_busy(self) -> list[Worker]:
        self._all_go_on()
        busy = {info.session.pid for info in self._place.client.broker.workers() if info.running}
        found = [one for one in self.workers if busy.intersection(one.children())]
        return found or (self.workers if set(self._place.states()) <= ENDED else [])

    def _kill(self, pid: int) -> None:
        self.killed.setdefault(pid, time.monotonic())

        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _wait(self, seconds: float) -> None:
        """Until some moment between two ends."""
        until = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= until, "the moment comes")

    def _has_come(self, so_far: Callable[[], int], at: int) -> bool:
        self._all_go_on()
        return so_far() >= at

    def _all_go_on(self) -> bool:
        """Let those go on that stood still long enough."""
        for until, pids in [one for one in self._frozen if one[0] <= time.monotonic()]:
            self._frozen.remove((until, pids))

            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        return not self._frozen


def count_ended(place: Workplace) -> int:
    """Jobs that have ended, whichever way."""
    return sum(count for state, count in place.states().items() if state in ENDED)


def check_that_nothing_is_left(place: Workplace) -> None:
    """Every job has ended, nothing is held or remembered on behalf of one that has, and the counts are right."""
    wait_until(lambda: set(place.states()) <= ENDED, "every job has ended", 30)
    check_that_nothing_is_held(place)


def check_that_nothing_is_held(place: Workplace) -> None:
    """Nothing is held or remembered on behalf of a job that has ended, and the counts are right."""
    db = apsw.Connection(place.url.removeprefix("sqlite:///"))
    db.set_busy_timeout(5000)

    try:
        assert db.execute("select * from edges where released = 0").fetchall() == []
        assert db.execute("select * from releases").fetchall() == []
        assert db.execute("select * from orphans").fetchall() == []
        assert db.execute("select * from uniques").fetchall() == []
        assert db.execute(_WRONG_COUNTS).fetchall() == []
        assert db.execute(_WRONG_HEADS).fetchall() == []
    finally:
        db.close()


_WRONG_COUNTS = """
with real (lane, state, count) as (select lane, state, count(*) from jobs group by lane, state)
select c.lane, c.state, c.count, r.count from counters as c full join real as r on r.lane = c.lane and r.state = c.state
where ifnull(c.lane, 1) <> 0 and ifnull(c.count, 0) <> ifnull(r.count, 0)
"""

_WRONG_HEADS = "select * from lanes where head is not null and number not in (select lane from jobs where state = 2)"


def read_diary(path: Path) -> list[list[str]]:
    """The lines of the diary, in words."""
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
