"""Jobs with ties on SQLite: many end in few statements, answers stay those of the careful way, and two processes that end
the last members at the same instant release what waits for them once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cherga.brokers.sqlite import SQLiteBroker
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, NewJob
from cherga.words.session import Death
from cherga.words.settlement import Settled, Settlement
from cherga.words.unique import OnConflict, Unique
from tests.sqlite_files import claim, hear, new_job, opened, other_process, raw, state_of, success, tell

ENDS_ONE_WHEN_TOLD = """
broker.open()
broker.register(session)
wish = ClaimWish(session=session.id, limit=1, tasks=frozenset({"export"}))
say("open")

while hear():
    (job,) = broker.claim(wish).jobs
    say("claimed")
    at = float(hear())

    while time.monotonic() < at:
        pass

    (answer,) = broker.settle([Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED)])
    say(answer.name)
"""

WORKS_IN_BATCHES = """
broker.open()
broker.register(session)
wish = ClaimWish(session=session.id, limit=7, tasks=frozenset({"export"}))
say("open")
hear()
ended = 0

while jobs := broker.claim(wish).jobs:
    ended += len(jobs)
    answers = broker.settle([Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED) for job in jobs])
    assert set(answers) == {Settled.WRITTEN}

say(ended)
"""


class TestTwoProcesses:
    def test_the_last_two_members_may_end_at_the_same_instant(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker, other_process(file, ENDS_ONE_WHEN_TOLD) as process:
            assert hear(process) == "open"

            for _ in range(20):
                callback, group = _push_fan(broker, 2)
                tell(process, "claim")
                assert hear(process) == "claimed"
                (job,) = claim(broker)
                at = time.monotonic() + 0.005
                tell(process, str(at))

                while time.monotonic() < at:
                    pass

                assert broker.settle([success(job)]) == [Settled.WRITTEN]
                assert hear(process) == "WRITTEN"
                assert state_of(broker, group) is JobState.SUCCEEDED
                (last,) = claim(broker)
                assert (last.id, last.claims) == (callback.id, 1)
                broker.settle([success(last)])
                assert claim(broker) == []

    def test_members_that_end_in_batches_here_and_there_release_their_callback_once(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker, other_process(file, WORKS_IN_BATCHES) as process:
            assert hear(process) == "open"
            callback, group = _push_fan(broker, 600)
            tell(process)
            ended: list[ClaimedJob] = []

            while jobs := claim(broker, limit=7):
                ended += jobs
                assert set(broker.settle([success(job) for job in jobs])) == {Settled.WRITTEN}

            theirs = int(hear(process))
            ended += _end_what_is_left(broker)
            assert len(ended) + theirs == 601
            (row,) = broker.get([callback.id])
            assert row is not None
            assert (row.state, row.claims, row.pending) == (JobState.SUCCEEDED, 1, 0)
            assert state_of(broker, group) is JobState.SUCCEEDED
            assert not _rows_of(file, "releases")
            assert not _rows_of(file, "edges where released = 0")


class TestManyAtOnce:
    @pytest.mark.parametrize("keep", [0.0, 100.0])
    def test_members_of_a_group_end_in_few_statements(self, tmp_path: Path, keep: float) -> None:
        statements = [_statements_to_end(tmp_path / str(size), size, keep) for size in (2, 400)]
        assert statements[1] < statements[0] + 40

    def test_jobs_with_unique_keys_come_and_go_in_few_statements(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            with _counted(broker) as pushing:
                broker.push([[new_job(unique=Unique(f"export:{number}"))] for number in range(400)])

            jobs = claim(broker)

            with _counted(broker) as settling:
                assert set(broker.settle([success(job) for job in jobs])) == {Settled.WRITTEN}

            assert len(jobs) == 400
            assert len(pushing) < 50
            assert len(settling) < 50
            assert not _rows_of(tmp_path / "jobs.db", "uniques")


class TestTiedSettlements:
    """The quick way for many must answer as the careful one does."""

    def test_one_that_was_reaped_in_the_meantime_does_not_spoil_the_others(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, opened(tmp_path / "jobs.db") as other:
            _, group = _push_fan(broker, 3)
            jobs = claim(broker)
            assert len(other.reap([Death("ours.1", frozenset())])) == 3
            again = claim(other, session="theirs.1", limit=1)
            assert broker.settle([success(job) for job in jobs]) == [Settled.REFUSED] * 3
            assert other.settle([success(job) for job in again]) == [Settled.WRITTEN]
            (row,) = broker.get([group.id])
            assert row is not None
            assert row.pending == 2

    @pytest.mark.parametrize("keep", [0.0, 100.0])
    def test_one_that_comes_twice_counts_once(self, tmp_path: Path, keep: float) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            _, group = _push_fan(broker, 2)
            first, second = claim(broker)
            other = Settlement(second.id, second.sequence, first.token, JobState.SUCCEEDED, keep=keep)
            batch = [success(first, keep=keep), other, success(first, keep=keep)]
            assert broker.settle(batch) == [Settled.WRITTEN, Settled.REFUSED, Settled.WRITTEN]
            (row,) = broker.get([group.id])
            assert row is not None
            assert (row.state, row.pending) == (JobState.BLOCKED, 1)

    def test_different_ends_of_one_group_are_kept_apart(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            lenient, strict = new_job(task=GROUP_TASK), new_job(task=GROUP_TASK)
            members = [new_job(unique=Unique(f"export:{number}")) for number in range(6)]
            edges = [tuple(Edge(job.id, policy) for job in members) for policy in (EdgePolicy.ENDED, EdgePolicy.SUCCEEDED)]
            groups = [_with_edges(job, own) for job, own in zip((lenient, strict), edges, strict=True)]
            broker.push([[*members, *groups]])
            ends = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED] * 2
            jobs = claim(broker)
            broker.settle([Settlement(job.id, job.sequence, job.token, to) for job, to in zip(jobs, ends, strict=True)])
            assert [state_of(broker, job) for job in members] == ends
            assert [state_of(broker, job) for job in (lenient, strict)] == [JobState.SUCCEEDED, JobState.CANCELLED]
            assert not _rows_of(tmp_path / "jobs.db", "uniques")

    def test_keys_pass_to_their_own_successors_when_many_end_together(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            keys = [Unique(f"export:{number}", conflict=OnConflict.LATEST) for number in range(5)]
            broker.push([[new_job(unique=key)] for key in keys])
            jobs = claim(broker)
            successors = [new_job(unique=key) for key in keys[::2]]
            broker.push([[job] for job in successors])
            broker.settle([success(job) for job in jobs])
            held = [broker.push([[new_job(unique=key)]])[0].jobs[0] for key in keys]
            assert [pushed.id for pushed in held[::2]] == [job.id for job in successors]
            assert [pushed.existing for pushed in held] == [True, False, True, False, True]


def _push_fan(broker: SQLiteBroker, size: int) -> tuple[NewJob, NewJob]:
    """So many members, and a callback and a group that wait for them."""
    members = [new_job() for _ in range(size)]
    edges = tuple(Edge(job.id) for job in members)
    callback, group = new_job(edges=edges), new_job(task=GROUP_TASK, edges=edges)
    (answer,) = broker.push([[*members, callback, group]])
    assert answer.refused is None
    return callback, group


def _with_edges(job: NewJob, edges: tuple[Edge, ...]) -> NewJob:
    return NewJob(id=job.id, task=job.task, payload=job.payload, edges=edges)


def _end_what_is_left(broker: SQLiteBroker) -> list[ClaimedJob]:
    jobs = claim(broker)
    broker.settle([success(job) for job in jobs])
    return jobs


def _statements_to_end(folder: Path, size: int, keep: float) -> int:
    folder.mkdir()

    with opened(folder / "jobs.db") as broker:
        _push_fan(broker, size)
        jobs = claim(broker)

        with _counted(broker) as statements:
            broker.settle([success(job, keep=keep) for job in jobs])

        return len(statements)


@contextmanager
def _counted(broker: SQLiteBroker) -> Iterator[list[str]]:
    """What the broker's writing connection is asked meanwhile."""
    db = broker._store._db
    statements: list[str] = []

    def note(_cursor: object, sql: str, _bindings: object) -> bool:
        statements.append(sql)
        return True

    db.exec_trace = note

    try:
        yield statements
    finally:
        db.exec_trace = None


def _rows_of(file: Path, table: str) -> list[object]:
    with raw(file) as db:
        return list(db.execute(f"select * from {table}"))
