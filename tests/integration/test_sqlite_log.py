"""An enqueue is on the disk before it is acknowledged, though others see it, and may begin with it, while it is synced."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from cherga.brokers.sqlite import SQLiteBroker
from cherga.brokers.sqlite.log import STEP, Log
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.errors import BrokerUnavailable, EnqueueUnknown
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from tests.sqlite_files import claim, new_job, opened, push_each, state_of

LONGEST = 1 << 20

pytestmark = pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="here SQLite does the syncs")


@contextmanager
def syncing_with(broker: SQLiteBroker, sync: Callable[[int], object], kind: type[Log] = Log) -> Iterator[None]:
    """For the block this is called for each sync of the log, in place of the system's."""
    store = broker._store
    usual, store.log = store.log, kind(store.files.log, LONGEST, sync)

    try:
        yield
    finally:
        os.close(store.log._file)
        store.log = usual


def copied(file: Path) -> Path:
    """What the next start finds if the machine loses its power now. By another process: closing the file here drops locks."""
    copy = file.with_name("copy.db")
    subprocess.run(["cp", file, copy], check=True)
    subprocess.run(["cp", f"{file}-wal", f"{copy}-wal"], check=True)
    return copy


class TestSync:
    def test_what_is_acknowledged_was_on_the_disk_before(self, tmp_path: Path) -> None:
        file, copies, acknowledged = tmp_path / "jobs.db", list[Path](), list[int]()

        def sync(descriptor: int) -> None:
            assert not acknowledged
            copies.append(copied(file))

        with opened(file) as broker, syncing_with(broker, sync):
            jobs = push_each(broker, 3)
            acknowledged.append(3)
            assert len(copies) == 1

        with opened(copies[0]) as found:
            assert [state_of(found, job) for job in jobs] == [JobState.READY] * 3

    def test_others_see_a_job_and_take_it_while_it_is_synced(self, tmp_path: Path) -> None:
        taken: list[int] = []

        with opened(tmp_path / "jobs.db") as broker, opened(tmp_path / "jobs.db") as other:

            def sync(descriptor: int) -> None:
                worker = threading.Thread(target=lambda: taken.append(len(claim(other))))
                worker.start()
                worker.join(10)

            with syncing_with(broker, sync):
                (job,) = push_each(broker, 1)

            assert taken == [1]
            assert state_of(broker, job) is JobState.RUNNING

    def test_jobs_that_are_there_already_are_synced_before_they_are_answered(self, tmp_path: Path) -> None:
        """Whoever pushed them may still be waiting for the disk."""
        synced: list[int] = []

        with opened(tmp_path / "jobs.db") as broker:
            (job,) = push_each(broker, 1)

            with syncing_with(broker, synced.append):
                (answer,) = broker.push([[job]])

            assert answer.jobs[0].existing
            assert len(synced) == 1

    def test_threads_that_push_during_a_sync_share_the_next(self, tmp_path: Path) -> None:
        syncs, asked = list[int](), list[int]()

        class Asked(Log):
            def sync(self) -> None:
                asked.append(1)
                super().sync()

        with opened(tmp_path / "jobs.db") as broker:

            def sync(descriptor: int) -> None:
                syncs.append(descriptor)
                wait_until(lambda: len(broker.find(JobFilter())) == 9, "all have committed")
                wait_until(lambda: len(asked) == 9, "all have asked for a sync")

            threads = [threading.Thread(target=push_each, args=(broker, 1)) for _ in range(9)]

            with syncing_with(broker, sync, Asked):
                for thread in threads:
                    thread.start()

                for thread in threads:
                    thread.join(20)

            assert 0 < len(syncs) < 9

    def test_without_a_promise_about_power_cuts_nothing_is_synced(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", durability="process") as broker:
            assert not broker._store.log.can_sync


class TestFailure:
    def test_a_job_that_could_not_be_synced_is_not_acknowledged_and_the_log_begins_anew(self, tmp_path: Path) -> None:
        file, failures = tmp_path / "jobs.db", [OSError(errno.EIO, "Input/output error")]

        def sync(descriptor: int) -> None:
            if failures:
                raise failures.pop()

        with opened(file) as broker:
            job, alone = new_job(), tmp_path / "alone.db"

            with syncing_with(broker, sync):
                with pytest.raises(EnqueueUnknown, match=r"Input/output error.*may or may not be stored.*same ids") as caught:
                    broker.push([[job]])

                assert caught.value.job_id == job.id
                assert broker.push([[job]])[0].jobs[0].existing
                subprocess.run(["cp", file, alone], check=True)

        with opened(alone) as found:
            assert state_of(found, job) is JobState.READY

    def test_until_then_no_later_sync_is_trusted(self, tmp_path: Path) -> None:
        syncs: list[int] = []

        def sync(descriptor: int) -> None:
            syncs.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")

        with opened(tmp_path / "jobs.db") as broker:
            log = Log(broker._store.files.log, LONGEST, sync)

            for _ in range(2):
                with pytest.raises(OSError, match=r"Input/output|earlier sync"):
                    log.sync()

            assert len(syncs) == 1
            assert log.doubtful
            log.close()

    def test_while_a_reader_keeps_the_log_from_beginning_anew_nothing_is_acknowledged(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", BrokerSettings(busy_timeout=0.05)) as broker:
            push_each(broker, 1)
            broker._store.log.doubtful = True

            def push_while_reading(db: apsw.Connection) -> None:
                assert db.execute("select count(*) from jobs").get == 1

                with pytest.raises(BrokerUnavailable):
                    push_each(broker, 1)

            broker._store.read(push_while_reading)
            push_each(broker, 1)
            assert len(broker.find(JobFilter())) == 2
            assert not broker._store.log.doubtful


class TestLength:
    def test_the_log_grows_in_few_steps_and_not_for_ever(self, tmp_path: Path) -> None:
        lengths = set[int]()

        with opened(tmp_path / "jobs.db") as broker:
            longest = broker._store.log._longest

            for _ in range(60):
                push_each(broker, 1, payload=b"x" * 10_000)
                lengths.add(broker._store.log.length)

            assert len(lengths) < 15
            push_each(broker, 2000, payload=b"x" * 4000)
            push_each(broker, 1)
            assert broker._store.log.length > longest + STEP
            reached = broker._store.log.length

            for _ in range(10):
                push_each(broker, 1)

            assert broker._store.log.length == reached

    def test_what_stands_before_the_zeros_is_found_again(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            jobs = [job for _ in range(30) for job in push_each(broker, 1, payload=b"x" * 5000)]
            assert os.stat(f"{file}-wal").st_size > STEP
            copy = copied(file)

        with opened(copy) as found:
            assert all(found.get([job.id for job in jobs]))

    def test_a_full_disk_is_told_by_sqlite_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(bytes(100))
        log = Log(str(path), LONGEST, int)
        path.write_bytes(bytes(200))
        log.make_longer()
        assert log.length == 200 + STEP
        log.make_longer()
        assert log.length == 200 + STEP
        log.close()


def test_what_was_committed_before_the_file_is_closed_is_synced_then(tmp_path: Path) -> None:
    path, syncs = tmp_path / "log", list[int]()
    path.write_bytes(b"")
    log = Log(str(path), LONGEST, syncs.append)
    log.close()
    assert len(syncs) == 1
    log.sync()
    assert len(syncs) == 1


def test_what_could_not_be_synced_then_is_not_acknowledged(tmp_path: Path) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "log"
    path.write_bytes(b"")
    log = Log(str(path), LONGEST, fail)
    log.close()

    with pytest.raises(OSError, match="an earlier sync"):
        log.sync()
