"""What a storm does: it starts workers and producers, harms them as a seed decides, and ends all of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from cherga.testing import wait_until
from tests.chaos.storm.diary import DIARY, append
from tests.chaos.storm.jobs import GRACE, LEASE
from tests.saboteur import ENDED
from tests.workers import ROOT, Workplace

BETWEEN = 0.6
"""Seconds between two deeds at most."""
STEPS_A_DEED = 25
PATIENCE = 90.0
PROCESSES = 2
THREADS = 4
COROUTINES = 8
_OPTIONS = ("--processes", str(PROCESSES), "--threads", str(THREADS), "--concurrency", str(COROUTINES))
_pause = threading.Event().wait


class Hand:
    """A worker and what was done to it."""

    def __init__(self, place: Workplace, number: int) -> None:
        self.name = f"worker-{number}"
        self._diary = place.diary
        self._worker = place.worker(*_OPTIONS, "--name", self.name, app="tests.chaos.storm.jobs:app")
        self.frozen = False

    @property
    def pids(self) -> tuple[int, ...]:
        """The supervisor and its processes."""
        return (self._worker.process.pid, *self.children)

    @property
    def children(self) -> tuple[int, ...]:
        return tuple(self._worker.children()) if self.code is None else ()

    @property
    def code(self) -> int | None:
        """The exit code; None while it lives."""
        return self._worker.process.poll()

    @property
    def ready(self) -> bool:
        return self.code is None and not self.frozen and self._worker.log.count(" ready") >= PROCESSES

    def note(self, deed: str, pids: tuple[int, ...] = (), words: str = "") -> None:
        append(self._diary, deed, worker=self.name, pids=pids or self.pids, words=words)

    def send(self, number: signal.Signals) -> None:
        self._worker.send(number)

    def kill(self, *pids: int) -> None:
        self.note("kill", pids)

        for pid in pids:
            _send(pid, signal.SIGKILL)

    def wait(self) -> None:
        """For its end, which the diary tells."""
        code = self._worker.wait(PATIENCE)
        self.note("left", (self._worker.process.pid,), str(code))


class Producing:
    """A producer's process."""

    def __init__(self, place: Workplace, seed: int, who: int, steps: int) -> None:
        self.who = who
        self._diary = place.diary
        command = [sys.executable, "-m", "tests.chaos.storm.producer", str(seed), str(who), str(steps)]
        self.process = subprocess.Popen(command, env=place.environment, cwd=ROOT)

    @property
    def at_work(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        append(self._diary, "kill", pids=(self.process.pid,), worker=f"producer-{self.who}")
        self.process.kill()
        self.process.wait()


class Storm:
    """Some workers of several processes each, some producers, and harm done to both. Every deed is a line in the diary."""

    def __init__(self, place: Workplace, seed: int, steps: int, workers: int = 3, producers: int = 3) -> None:
        self._place = place
        self._seed = seed
        self._steps = steps // producers
        self._deeds = max(5, steps // STEPS_A_DEED)
        self._chance = random.Random(seed)
        self._started = 0
        self._frozen: list[tuple[float, Hand, tuple[int, ...]]] = []
        self._leaving: list[Hand] = []
        self._workers = [self._start() for _ in range(workers)]
        self._producers = [self._produce(who) for who in range(producers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, whatever happened."""
        for one in self._producers:
            one.process.kill()
            one.process.wait()

        for pid in living(self._place):
            _send(pid, signal.SIGKILL)

    def is_up(self) -> bool:
        """Whether all workers are ready."""
        return all(hand.ready for hand in self._workers)

    def blow(self) -> None:
        """Harm until all is enqueued, and so many times at least; then let everything come to its end."""
        while self._deeds > 0 or self._work_goes_on():
            self._pass(self._chance.random() * BETWEEN)
            self._look_after()
            self._do(self._chance.choices(list(DEEDS), list(DEEDS.values()))[0])
            self._deeds -= 1

        self._calm()

    # --- the deeds

    def kill_process(self, hand: Hand) -> None:
        hand.kill(self._chance.choice(hand.children))

    def kill_tree(self, hand: Hand) -> None:
        """As when a container goes."""
        hand.kill(*hand.pids)
        self._replace(hand)

    def kill_supervisor(self, hand: Hand) -> None:
        """Its processes notice, and end by themselves."""
        hand.kill(hand.pids[0])
        self._replace(hand)

    def freeze(self, hand: Hand) -> None:
        """For longer than its lease."""
        self._freeze(hand, hand.pids, LEASE + 0.5 + self._chance.random())

    def freeze_shortly(self, hand: Hand) -> None:
        """One process, as a busy machine does."""
        self._freeze(hand, (self._chance.choice(hand.children),), self._chance.random())

    def deploy(self, hand: Hand) -> None:
        self._ask_to_stop(hand)

    def deploy_in_a_hurry(self, hand: Hand) -> None:
        """The second signal ends it now."""
        self._ask_to_stop(hand)
        self._pass(self._chance.random() * 0.3)
        hand.note("hurry")
        hand.send(signal.SIGTERM)

    def kill_amid_a_deploy(self, hand: Hand) -> None:
        self._ask_to_stop(hand)
        self._pass(self._chance.random() * 0.1)

        if hand.code is None:
            hand.kill(*hand.pids)

    def kill_a_producer(self, _: Hand) -> None:
        """The next one of its name goes on."""
        if at_work := [one for one in self._producers if one.at_work]:
            one = self._chance.choice(at_work)
            one.kill()
            self._producers[self._producers.index(one)] = self._produce(one.who)

    # --- how they are done

    def _do(self, deed: Deed) -> None:
        """Do it to a worker that is ready, if another one is."""
        ready = [hand for hand in self._workers if hand.ready and len(hand.children) >= PROCESSES]

        if len(ready) >= 2:
            with suppress(ProcessLookupError):  # one has just ended by itself
                deed(self, self._chance.choice(ready))

    def _start(self) -> Hand:
        self._started += 1
        return Hand(self._place, self._started)

    def _produce(self, who: int) -> Producing:
        return Producing(self._place, self._seed, who, self._steps)

    def _replace(self, hand: Hand) -> None:
        self._workers[self._workers.index(hand)] = self._start()
        self._leaving.append(hand)

    def _ask_to_stop(self, hand: Hand) -> None:
        hand.note("stop")
        hand.send(signal.SIGTERM)
        self._replace(hand)

    def _freeze(self, hand: Hand, pids: tuple[int, ...], seconds: float) -> None:
        self._place.freeze(*pids)
        hand.note("freeze", pids)
        hand.frozen = True
        self._frozen.append((time.monotonic() + seconds, hand, pids))

    def _thaw(self) -> bool:
        """Let those go on that stood still long enough; true when nobody stands still."""
        for until, hand, pids in [one for one in self._frozen if one[0] <= time.monotonic()]:
            self._frozen.remove((until, hand, pids))

            for pid in pids:
                _send(pid, signal.SIGCONT)

            hand.note("thaw", pids)
            hand.frozen = False

        return not self._frozen

    def _pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds

        while (left := end - time.monotonic()) > 0:
            self._thaw()
            _pause(min(left, 0.05))

    # --- how it goes on and ends

    def _work_goes_on(self) -> bool:
        return any(one.at_work for one in self._producers)

    def _look_after(self) -> None:
        """A worker that has left unasked is told of in the diary."""
        for hand in [one for one in self._workers if one.code is not None]:
            hand.note("gone", words=str(hand.code))
            self._replace(hand)

    def _calm(self) -> None:
        wait_until(self._thaw, "all go on again")

        for one in self._producers:
            assert one.process.wait(PATIENCE) == 0, f"producer {one.who} failed"

        wait_until(self._all_have_ended, "every job has ended", PATIENCE)
        wait_until(self._the_dead_are_forgotten, "no dead session is kept", PATIENCE)
        self._look_after()
        wait_until(self.is_up, "all workers are ready", PATIENCE)

        for hand in self._workers:
            hand.note("stop")
            hand.send(signal.SIGTERM)

        for hand in (*self._leaving, *self._workers):
            hand.wait()

        wait_until(lambda: not living(self._place), "no process is left", GRACE * 2)

    def _all_have_ended(self) -> bool:
        counts = self._place.client.broker.counts()
        return all(row.state.value in ENDED or row.task == "tick" for row in counts if row.count)

    def _the_dead_are_forgotten(self) -> bool:
        processes = {pid for hand in (*self._leaving, *self._workers) for pid in hand.children}
        return processes.issuperset(info.session.pid for info in self._place.client.broker.workers())


Deed = Callable[[Storm, Hand], None]
DEEDS: dict[Deed, int] = {
    Storm.kill_process: 6,
    Storm.kill_tree: 3,
    Storm.kill_supervisor: 2,
    Storm.freeze: 1,
    Storm.freeze_shortly: 2,
    Storm.deploy: 4,
    Storm.deploy_in_a_hurry: 2,
    Storm.kill_amid_a_deploy: 1,
    Storm.kill_a_producer: 4,
}
"""What is done, and how often."""


def living(place: Workplace) -> list[int]:
    """The processes that write into this diary, but the one that asks."""
    mark = f"{DIARY}={place.diary}".encode()
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark in _environment(path)]
    return [pid for pid in found if pid != os.getpid()]


def _environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
