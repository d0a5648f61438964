"""Limits, rates and unique keys while workers are killed: they hold at every moment, and nothing stays taken."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import Struct

from cherga import JobState, QueueTasks
from tests.flow_jobs import PER_SECOND, make_app
from tests.saboteur import Saboteur, check_that_nothing_is_left, count_ended, read_diary, seeds
from tests.workers import ROOT, Workplace

USERS = 6
KEYS = ("a", "b", "c")
ENQUEUERS = 3
KILLS = (Saboteur.kill_process, Saboteur.kill_worker, Saboteur.kill_supervisor)


class Run(Struct):
    """An attempt, from its first line in the diary to its last one, or to the death of its process."""

    name: str
    value: int
    job: str
    pid: int
    began: float
    ended: float


class Push(Struct):
    """A change that was enqueued: when that began, and when it was known to be stored."""

    name: str
    value: int
    job: str
    began: float
    ended: float


T = TypeVar("T", Run, Push)


@pytest.fixture
def app(place: Workplace) -> Iterator[QueueTasks]:
    """Enqueues on the file of the workers."""
    app = make_app(place.url)
    yield app
    app.close()


@pytest.mark.parametrize("seed", seeds(5))
def test_no_moment_sees_more_running_than_its_limit_though_workers_are_killed(
    place: Workplace, app: QueueTasks, seed: int
) -> None:
    jobs = 200
    saboteur = Saboteur(place, seed, workers=2)
    app.tasks["limited"].enqueue_many([(0.015,) for _ in range(jobs // 2)])
    app.tasks["keyed"].enqueue_many([(n % USERS, 0.015) for n in range(jobs // 2)])
    saboteur.harm(7, lambda: count_ended(place), jobs * 3 // 4, *KILLS)
    check_that_nothing_is_left(place)

    assert place.states() == {JobState.SUCCEEDED.value: jobs}
    runs = read_runs(place, saboteur)
    limited = [run for run in runs if run.name == "limited"]
    assert most_at_once(limited) == 3
    assert any(job.row.claims > 1 for job in app.jobs(limit=jobs))

    for user in range(USERS):
        assert most_at_once(run for run in runs if run.name == "keyed" and run.value == user) <= 2


@pytest.mark.parametrize("seed", seeds(6))
def test_a_unique_job_never_runs_twice_at_once_and_last_with_the_newest_arguments(
    place: Workplace, app: QueueTasks, seed: int
) -> None:
    saboteur = Saboteur(place, seed, workers=2)

    with enqueuers(place) as done:
        saboteur.harm(7, lambda: count_ended(place), 120, *KILLS)
        done.touch()

    check_that_nothing_is_left(place)
    assert set(place.states()) == {JobState.SUCCEEDED.value}
    runs = by_name(read_runs(place, saboteur))
    pushes = by_name(read_pushes(place))
    assert set(runs) == set(pushes) == {f"{task}-{key}" for task in ("newest", "replaced") for key in KEYS}

    for name, of_key in runs.items():
        assert most_at_once(of_key) == 1
        assert {run.job for run in of_key} == {push.job for push in pushes[name]}

        if name.startswith("newest"):
            last = max(of_key, key=lambda run: run.began)
            assert last.value in {push.value for push in newest(pushes[name])}


@pytest.mark.parametrize("seed", seeds(7))
def test_no_second_sees_more_starts_than_the_rate_though_workers_are_restarted(
    place: Workplace, app: QueueTasks, seed: int
) -> None:
    jobs = PER_SECOND * 4
    saboteur = Saboteur(place, seed, workers=2)
    app.tasks["rated"].enqueue_many([() for _ in range(jobs)])
    saboteur.harm(5, lambda: count_ended(place), jobs * 3 // 4, Saboteur.restart_worker)
    check_that_nothing_is_left(place)

    assert place.states() == {JobState.SUCCEEDED.value: jobs}
    assert sorted(words[1] for words in read_diary(place.diary)) == sorted(str(job.id) for job in app.jobs(limit=jobs))
    started = sorted(float(job.row.started_at or 0) for job in app.jobs(limit=jobs))
    assert all(later - first >= 1.0 for first, later in zip(started, started[PER_SECOND:], strict=False))


@contextmanager
def enqueuers(place: Workplace) -> Iterator[Path]:
    """Processes that enqueue changes until the file exists; afterwards all of them have ended."""
    done = place.diary.with_name("done")
    commands = [[sys.executable, "-m", "tests.flow_jobs", str(who), ",".join(KEYS), str(done)] for who in range(ENQUEUERS)]
    processes = [subprocess.Popen(command, env=place.environment, cwd=ROOT) for command in commands]

    try:
        yield done
        assert [process.wait(20) for process in processes] == [0] * ENQUEUERS
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def read_runs(place: Workplace, saboteur: Saboteur) -> list[Run]:
    """All attempts that wrote their first line; those that wrote no last one were killed."""
    found: dict[tuple[str, str, str], Run] = {}

    for event, *words in read_diary(place.diary):
        if event == "start":
            name, value, job, attempt, pid, at = words
            ended = saboteur.killed.get(int(pid), float("inf"))
            found[job, attempt, pid] = Run(name, int(value), job, int(pid), float(at), ended)
        elif event == "end":
            name, value, job, attempt, pid, at = words
            found[job, attempt, pid].ended = float(at)

    return list(found.values())


def read_pushes(place: Workplace) -> list[Push]:
    lines = [words for event, *words in read_diary(place.diary) if event == "pushed"]
    return [Push(name, int(value), job, float(began), float(ended)) for name, value, job, began, ended in lines]


def most_at_once(runs: Iterable[Run]) -> int:
    """The largest number of them that ran at the same time."""
    steps = sorted(step for run in runs for step in ((run.began, 1), (run.ended, -1)))
    most = now = 0

    for _, step in steps:
        now += step
        most = max(most, now)

    return most


def newest(pushes: Sequence[Push]) -> list[Push]:
    """Those after which no other one was begun: several processes have no order among pushes that overlap."""
    latest = max(push.began for push in pushes)
    return [push for push in pushes if push.ended >= latest]


def by_name(found: Iterable[T]) -> dict[str, list[T]]:
    named: dict[str, list[T]] = defaultdict(list)

    for one in found:
        named[one.name].append(one)

    return named
