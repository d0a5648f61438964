"""The doorbell: a waiter in another process is woken at once, and costs nothing while nobody rings."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from cherga.brokers.sqlite.connection import Watch
from cherga.brokers.sqlite.doorbell import BellListener, PollingListener
from cherga.brokers.sqlite.folder import LiveFolder
from cherga.doors.broker import Listener, Topic
from cherga.words.job import JobState
from cherga.words.report import Report
from cherga.words.session import Cancel
from tests.sqlite_files import claim, hear, new_job, opened, other_process, push_each, success

SOON = 5.0
"""Far more than a bell takes, far less than a test may."""

LISTEN = """
broker.open()
listener = broker.listen([TOPIC])
say("listening")
say(listener.wait(20))
hear()
"""


def bells(file: Path) -> list[str]:
    """The topics that somebody listens to."""
    return sorted(path.name.partition(".")[0] for path in file.with_name(f"{file.name}-live").glob("*.bell"))


def left_in(file: Path) -> list[str]:
    """What is in the folder, each without its number."""
    names = [path.name for path in file.with_name(f"{file.name}-live").iterdir()]
    return sorted(f"{name.partition('.')[0]}.{name.rpartition('.')[2]}" for name in names)


class TestRinging:
    def test_a_push_wakes_a_waiter_in_another_process(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker, other_process(file, LISTEN.replace("TOPIC", "'ready'")) as process:
            assert hear(process) == "listening"
            push_each(broker, 1)
            assert hear(process) == "True"

    def test_a_bell_that_was_rung_before_the_wait_is_heard(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, broker.listen([Topic.READY]) as listener:
            push_each(broker, 100)
            assert listener.wait(SOON)
            assert not listener.wait(0)

    def test_only_the_topics_that_are_rung_are_heard(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, broker.listen([Topic.DUE, Topic.CANCEL]) as listener:
            push_each(broker, 1)
            assert not listener.wait(0)
            push_each(broker, 1, delay=60)
            assert listener.wait(SOON)

    def test_whatever_happens_to_a_job_rings_its_topic(self, tmp_path: Path) -> None:
        job = new_job()

        with opened(tmp_path / "jobs.db") as broker, broker.listen_to_jobs() as listener:
            listener.add([job.id])
            broker.push([[job]])
            assert listener.wait(SOON)
            (claimed,) = claim(broker)
            assert listener.wait(SOON)
            broker.report([Report(claimed.id, claimed.sequence, claimed.token, progress=b"\x01")])
            assert listener.wait(SOON)
            broker.move([job.id], JobState.CANCELLED)
            assert listener.wait(SOON)
            broker.settle([success(claimed)])
            assert listener.wait(SOON)
            push_each(broker, 1)
            assert not listener.wait(0)

    def test_a_request_to_cancel_rings_and_is_told_by_the_heartbeat(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, broker.listen([Topic.CANCEL]) as listener:
            push_each(broker, 1)
            (job,) = claim(broker)
            broker.move([job.id], JobState.CANCELLED)
            assert listener.wait(SOON)
            assert broker.heartbeat(["ours.1"]).cancels == (Cancel("ours.1", job.id, job.token),)

    def test_many_bells_for_a_listener_that_does_not_wait_block_nobody(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", durability="process") as broker, broker.listen([Topic.READY]) as listener:
            for _ in range(1500):
                push_each(broker, 1)

            assert listener.wait(0)
            assert not listener.wait(0)

    def test_the_bell_of_a_killed_process_is_taken_away(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            with other_process(file, LISTEN.replace("TOPIC", "'due'")) as process:
                assert hear(process) == "listening"
                process.kill()
                process.wait(10)

            assert bells(file) == ["due"]
            push_each(broker, 1, delay=60)
            assert bells(file) == []

    def test_a_closed_listener_leaves_nothing_behind(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            with broker.listen([Topic.READY, Topic.DUE]):
                assert bells(file) == ["due", "ready"]

            assert bells(file) == []

    def test_a_path_that_is_too_long_for_a_socket_is_rung_all_the_same(self, tmp_path: Path) -> None:
        folder = tmp_path / ("long" * 30)
        folder.mkdir()

        with opened(folder / "jobs.db") as broker, broker.listen([Topic.READY]) as listener:
            assert isinstance(listener, BellListener)
            push_each(broker, 1)
            assert listener.wait(SOON)

    def test_a_listener_survives_a_fork_of_its_process(self, tmp_path: Path) -> None:
        script = """
broker.open()
listener = broker.listen(["ready"])
if not os.fork():
    listener.close()
    os._exit(0)
os.wait()
broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
say(listener.wait(5))
"""

        with other_process(tmp_path / "jobs.db", script) as process:
            assert hear(process) == "True"


class TestFollowingJobs:
    def test_many_jobs_have_one_bell_and_one_slate(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            with broker.listen_to_jobs() as listener:
                listener.add([uuid4() for _ in range(1000)])
                assert left_in(file) == ["jobs.bell", "jobs.slate"]

            assert left_in(file) == []

    def test_who_follows_other_jobs_is_not_woken(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, broker.listen_to_jobs() as listener:
            listener.add([UUID(int=7)])
            broker.push([[new_job(id=UUID(int=8))]])
            assert not listener.wait(0)
            broker.push([[new_job(id=UUID(int=(1 << 64) + 7))]])  # in the same slot
            assert listener.wait(SOON)
            assert listener.changed() == {UUID(int=7)}

    def test_changes_before_the_bell_is_heard_are_all_marked(self, tmp_path: Path) -> None:
        jobs = [new_job() for _ in range(2000)]

        with opened(tmp_path / "jobs.db", durability="process") as broker, broker.listen_to_jobs() as listener:
            listener.add([job.id for job in jobs])

            for job in jobs:
                broker.push([[job]])

            assert listener.wait(SOON)
            assert listener.changed() == {job.id for job in jobs}
            assert listener.changed() == set()

    def test_a_change_in_another_process_is_marked(self, tmp_path: Path) -> None:
        file, job = tmp_path / "jobs.db", new_job()
        script = f"broker.open(); broker.push([[NewJob(id=UUID({str(job.id)!r}), task='export', payload=b'')]])"

        with opened(file) as broker, broker.listen_to_jobs() as listener:
            listener.add([job.id])

            with other_process(file, script):
                assert listener.wait(SOON)

            assert listener.changed() == {job.id}

    def test_what_a_killed_process_left_is_taken_away_by_the_next_who_listens(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        script = """
broker.open()
listeners = [broker.listen(["due"]), broker.listen_to_jobs()]
say("listening")
hear()
"""

        with opened(file) as broker, broker.listen([Topic.CANCEL]):
            with other_process(file, script) as process:
                assert hear(process) == "listening"
                assert left_in(file) == ["cancel.bell", "due.bell", "jobs.bell", "jobs.slate"]
                process.kill()
                process.wait(10)

            with broker.listen([Topic.READY]):
                assert left_in(file) == ["cancel.bell", "ready.bell"]

    def test_a_process_that_ends_leaves_nothing_behind(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file):
            with other_process(file, "broker.open(); listener = broker.listen_to_jobs(); say('done')") as process:
                assert hear(process) == "done"
                assert process.wait(10) == 0

            assert left_in(file) == []

    def test_a_forked_child_waits_on_a_socket_of_its_own(self, tmp_path: Path) -> None:
        script = """
import threading
from cherga import QueueTasks
app = QueueTasks("shop", sys.argv[1])
live = broker._address.path.with_name("jobs.db-live")
app.task(name="work")(lambda: None)
jobs = app.tasks["work"].using(run_in=3600).enqueue_many([()] * 2)
waits = [threading.Thread(target=jobs[0].await_end, daemon=True)]
waits[0].start()
while not live.exists() or len(os.listdir(live)) < 2: time.sleep(0.001)
child = os.fork()
if not child:
    # The parent's sockets are closed here, and its bells are left alone.
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    assert not any(link.startswith("socket:") for link in links), links
    waits.append(threading.Thread(target=jobs[1].await_end, daemon=True))  # from 3.13 on one from before the fork cannot start
    waits[1].start()
    while len(os.listdir(live)) < 4: time.sleep(0.001)
    jobs[1].cancel()
    waits[1].join(10)
    os._exit(waits[1].is_alive())
say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
jobs[0].cancel()
waits[0].join(10)
say(waits[0].is_alive())
"""

        with other_process(tmp_path / "jobs.db", script) as process:
            assert [hear(process), hear(process)] == ["0", "False"]


class TestListing:
    def test_a_folder_that_has_not_changed_is_not_listed_again(self, tmp_path: Path) -> None:
        folder = LiveFolder(tmp_path / "live")
        (tmp_path / "live" / "a").touch()
        os.utime(tmp_path / "live", (1, 1))
        listing = folder.listing()
        assert listing.names == ("a",)
        assert folder.listing() is listing

    def test_what_comes_within_a_tick_of_the_clock_is_seen(self, tmp_path: Path) -> None:
        folder = LiveFolder(tmp_path / "live")
        status = os.stat(tmp_path / "live")
        assert folder.listing().names == ()
        (tmp_path / "live" / "a").touch()
        os.utime(tmp_path / "live", ns=(status.st_atime_ns, status.st_mtime_ns))
        assert folder.listing().names == ("a",)

    def test_a_folder_that_is_gone_is_empty(self, tmp_path: Path) -> None:
        folder = LiveFolder(tmp_path / "live")
        (tmp_path / "live").rmdir()
        assert folder.listing().names == ()


class TestWaiting:
    @pytest.fixture(params=["bell", "polling"])
    def listener(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
        file = tmp_path / "jobs.db"

        with opened(file) as broker, broker.listen([Topic.READY]) if request.param == "bell" else polling(file) as listener:
            yield listener

    def test_a_quiet_wait_ends_with_its_timeout(self, listener: Listener) -> None:
        started = time.monotonic()
        assert not listener.wait(0.1)
        assert time.monotonic() - started >= 0.099

    def test_another_thread_can_wake_a_wait(self, listener: Listener) -> None:
        heard: list[bool] = []
        thread = threading.Thread(target=lambda: heard.append(listener.wait(SOON)))
        thread.start()
        listener.wake()
        thread.join(SOON)
        assert heard == [True]

    def test_a_signal_handler_can_wake_a_wait(self, listener: Listener) -> None:
        before = signal.signal(signal.SIGUSR1, lambda *_: listener.wake())

        try:
            signal.raise_signal(signal.SIGUSR1)
            assert listener.wait(SOON)
            threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
            assert listener.wait(SOON)
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_a_wake_before_the_wait_counts_once(self, listener: Listener) -> None:
        listener.wake()
        listener.wake()
        assert listener.wait(0)
        assert not listener.wait(0)


def polling(file: Path) -> PollingListener:
    """What ``listen`` falls back to."""
    return PollingListener(Watch(file, 5.0))


class TestPolling:
    def test_where_no_bell_can_be_hung_the_file_is_looked_at(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            (tmp_path / "jobs.db-live").rmdir()

            with broker.listen([Topic.READY]) as listener:
                assert isinstance(listener, PollingListener)
                assert not listener.wait(0)
                push_each(broker, 1)
                assert listener.wait(SOON)
                assert not listener.wait(0)

    def test_a_write_of_another_process_ends_the_wait(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        script = "broker.open(); say('open'); hear(); broker.push([[NewJob(id=uuid4(), task='export', payload=b'')]])"

        with opened(file), other_process(file, script) as process:
            assert hear(process) == "open"

            with polling(file) as listener:
                process.communicate("go\n", timeout=10)
                assert listener.wait(SOON)


def test_waiting_uses_no_time_of_the_processor(tmp_path: Path) -> None:
    with opened(tmp_path / "jobs.db") as broker, broker.listen([Topic.READY]) as listener:
        used, started = time.thread_time(), time.monotonic()
        assert not listener.wait(0.3)
        assert (time.thread_time() - used) / (time.monotonic() - started) < 0.05
