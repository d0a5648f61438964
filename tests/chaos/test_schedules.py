"""Workers killed while they fire a schedule: no tick is enqueued twice and none is left out."""

from __future__ import annotations

import threading
from collections import Counter
from random import Random

import msgspec
import pytest

from cherga.testing import wait_until
from cherga.words.clock import SystemClock
from cherga.words.inspection import JobFilter
from cherga.words.push import JobHead
from tests.workers import Worker, Workplace

WORKERS = 5
KILLING_FOR = 5.0
EVERY = 0.2


@pytest.mark.parametrize("seed", [1])
def test_schedulers_killed_at_random_double_and_miss_no_tick(place: Workplace, seed: int) -> None:
    workers = [start(place) for _ in range(WORKERS)]
    wait_until(lambda: len(ticks_of(place)) >= 2, "the schedule fires", 30)

    kills = kill_at_random(place, workers, Random(seed))

    seen = len(ticks_of(place))
    wait_until(lambda: len(ticks_of(place)) >= seen + 5, "the schedule goes on", 20)
    place.client.schedules.get("beat").pause()
    wait_until(lambda: set(place.states()) == {"succeeded"}, "every job of the schedule has run", 30)

    ticks = Counter(round(tick / EVERY) for tick in ticks_of(place))
    assert kills >= 5
    assert set(ticks.values()) == {1}
    assert sorted(ticks) == list(range(min(ticks), max(ticks) + 1))


def start(place: Workplace) -> Worker:
    return place.worker("--threads", "1", app="tests.schedule_jobs:app")


def kill_at_random(place: Workplace, workers: list[Worker], random: Random) -> int:
    """Kill one worker after the other, whatever it does at that moment, and start another in its place."""
    pause, kills = threading.Event().wait, 0
    end = SystemClock.monotonic() + KILLING_FOR

    while SystemClock.monotonic() < end:
        pause(random.uniform(0.05, 0.6))
        victim = workers.pop(random.randrange(len(workers)))
        victim.process.kill()
        victim.wait()
        workers.append(start(place))
        kills += 1

    return kills


def ticks_of(place: Workplace) -> list[float]:
    heads = [msgspec.msgpack.decode(row.head or b"\x80", type=JobHead) for row in place.client.broker.find(JobFilter(), 10_000)]
    return [head.tick for head in heads if head.tick is not None]
