"""Processes that write at the same time take turns: in the order they came, past those that stand still or die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cherga.brokers.sqlite import SQLiteBroker
from cherga.brokers.sqlite.locks import HAS_LOCKS
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.errors import BrokerUnavailable
from cherga.words.inspection import JobFilter
from tests.sqlite_files import hear, new_job, opened, other_process, push_each, tell

pytestmark = pytest.mark.skipif(not HAS_LOCKS, reason="here chance decides who writes next")

HOLD = "broker.open(); broker._store.write(lambda write: (say('writing'), hear()), 0.0); say('done'); hear()"
WRITE = "broker.open(); say('open'); hear(); broker.push([[NewJob(id=uuid4(), task=TASK, payload=b'')]]); say('stored'); hear()"
CROWD = """
broker.open()
broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
broker.close()
ready, going = os.pipe(), os.pipe()
told = os.pipe()
for _ in range(24):
    if os.fork():
        continue
    broker.open()
    broker.counts()
    os.close(going[1])
    os.write(ready[1], b".")
    os.read(going[0], 1)
    count = 0
    while not os.path.exists(sys.argv[1].partition("///")[2] + ".over"):
        broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
        count += 1
    os.write(told[1], count.to_bytes(4, "big"))
    os._exit(0)
for _ in range(24):
    os.read(ready[0], 1)
say("ready")
hear()
os.close(going[1])
say(*[int.from_bytes(os.read(told[0], 4), "big") for _ in range(24)])
"""


def drawn(file: Path) -> int:
    """How many have stood in the queue so far."""
    try:
        return int.from_bytes((file.with_name(f"{file.name}-live") / "turns").read_bytes()[:8], "little")
    except FileNotFoundError:
        return 0


@contextmanager
def writing(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is in the middle of a write, until it is told to go on."""
    with other_process(file, HOLD) as process:
        assert hear(process) == "writing"
        yield process


@contextmanager
def waiting(file: Path, task: str, number: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Another process that has drawn this number, to store a job of this task."""
    with other_process(file, WRITE.replace("TASK", repr(task))) as process:
        assert hear(process) == "open"
        tell(process)
        wait_until(lambda: drawn(file) == number, "it stands in the queue")
        yield process


@contextmanager
def storing(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that stores a job."""
    with other_process(file, WRITE.replace("TASK", "'export'")) as process:
        assert hear(process) == "open"
        tell(process)
        yield process


def test_all_who_stand_in_the_queue_get_their_turn(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"

    with opened(file) as broker, writing(file) as writer:
        with waiting(file, "a", 1) as first, waiting(file, "b", 2) as second, waiting(file, "c", 3) as third:
            tell(writer)
            assert [hear(process) for process in (third, second, first)] == ["stored"] * 3

        # Not their order: on a busy machine one may be passed over because it was not woken up in time.
        assert sorted(row.task for row in broker.find(JobFilter())) == ["a", "b", "c"]


@pytest.mark.parametrize("sig", [signal.SIGSTOP, signal.SIGKILL])
def test_one_that_stands_still_or_dies_in_the_queue_is_passed_over(tmp_path: Path, sig: signal.Signals) -> None:
    file = tmp_path / "jobs.db"

    with opened(file) as broker, writing(file) as writer, waiting(file, "a") as stopped:
        os.kill(stopped.pid, sig)
        pusher = threading.Thread(target=push_each, args=(broker, 1))
        pusher.start()
        wait_until(lambda: drawn(file) == 2, "this process stands in the queue, too")
        tell(writer)
        pusher.join(10)
        assert [row.task for row in broker.find(JobFilter())] == ["export"]

        if sig is signal.SIGSTOP:
            os.kill(stopped.pid, signal.SIGCONT)
            assert hear(stopped) == "stored"


def test_a_writer_that_dies_gives_its_turn_free(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"

    with opened(file) as broker, writing(file) as writer:
        pusher = threading.Thread(target=push_each, args=(broker, 1))
        pusher.start()
        wait_until(lambda: drawn(file) == 1, "this process stands in the queue")
        writer.kill()
        pusher.join(10)
        assert len(broker.find(JobFilter())) == 1


def test_one_whose_time_is_over_leaves_the_queue_and_those_behind_it_get_their_turn(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"

    with opened(file, BrokerSettings(busy_timeout=0.2)) as broker, writing(file) as writer:
        with pytest.raises(BrokerUnavailable, match="held by another process"):
            push_each(broker, 1)

        with waiting(file, "b", 2) as second:
            tell(writer)
            assert hear(second) == "stored"

        push_each(broker, 1)
        assert [row.task for row in broker.find(JobFilter())] == ["export", "b"]


def test_where_no_count_can_be_kept_they_write_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"

    with opened(file) as broker, writing(file) as writer:
        shutil.rmtree(tmp_path / "jobs.db-live")
        pusher = threading.Thread(target=push_each, args=(broker, 1))
        pusher.start()
        tell(writer)
        assert hear(writer) == "done"
        pusher.join(10)
        assert len(broker.find(JobFilter())) == 1


@pytest.mark.parametrize("stored", [b"\xff" * 64, b"x", b"\xff" * 6 + b"\0" * 2])
def test_a_count_that_is_wrong_costs_no_write(tmp_path: Path, stored: bytes) -> None:
    file = tmp_path / "jobs.db"

    with opened(file) as broker, writing(file) as writer:
        (tmp_path / "jobs.db-live" / "turns").write_bytes(stored)
        pushers = [threading.Thread(target=push_each, args=(broker, 1)) for _ in range(3)]

        for pusher in pushers:
            pusher.start()

        tell(writer)

        for pusher in pushers:
            pusher.join(10)

        with storing(file) as other:
            assert hear(other) == "stored"

        assert len(broker.find(JobFilter())) == 4


def test_a_signal_handler_may_write_while_its_thread_stands_in_the_queue(tmp_path: Path) -> None:
    file, inner = tmp_path / "jobs.db", new_job(task="inner")
    broker = SQLiteBroker(f"sqlite:///{file}", BrokerSettings(busy_timeout=30, enqueue_timeout=30))
    broker.open()
    before = signal.signal(signal.SIGALRM, lambda *_: broker.push([[inner]]))

    with writing(file) as writer:

        def go_on() -> None:
            wait_until(lambda: drawn(file) == 2, "outer and inner stand in the queue")
            tell(writer)

        def interrupt() -> None:
            wait_until(lambda: drawn(file) == 1, "the outer one stands in the queue")
            os.kill(os.getpid(), signal.SIGALRM)

        threads = [threading.Thread(target=go_on), threading.Thread(target=interrupt)]

        for thread in threads:
            thread.start()

        try:
            push_each(broker, 1)
        finally:
            signal.signal(signal.SIGALRM, before)

        for thread in threads:
            thread.join()

    assert [row.task for row in broker.find(JobFilter())] == ["export", "inner"]
    broker.close()


def test_a_crowd_gets_in_about_the_same_number_of_writes_each(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"

    with other_process(file, CROWD) as process:
        assert hear(process) == "ready"

        with opened(file) as broker:
            tell(process)
            wait_until(lambda: sum(count.count for count in broker.counts()) > 24 * 50, "enough is stored", 40)

        (tmp_path / "jobs.db.over").touch()
        counts = [int(count) for count in hear(process).split()]

    assert len(counts) == 24
    assert max(counts) < 8 * min(counts)


def test_a_turn_without_a_queue_leaves_nothing_behind(tmp_path: Path) -> None:
    with opened(tmp_path / "jobs.db") as broker:
        push_each(broker, 1)
        assert os.listdir(tmp_path / "jobs.db-live") == []
