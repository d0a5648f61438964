"""Several processes on one file: who dies is seen soon, who stands still is not taken for dead, a fork breaks nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from textwrap import dedent
from uuid import UUID

import msgspec
import pytest

from cherga.brokers.sqlite import SQLiteBroker
from cherga.brokers.sqlite.sweeps import PATIENCE
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState, Reason
from cherga.words.push import JobHead, OnCrash, Overrides
from cherga.words.session import Death
from cherga.words.settlement import Settled
from tests.sqlite_files import claim, hear, opened, other_process, push_each, raw, state_of, success, tell

MUST_NOT_RUN_TWICE = msgspec.msgpack.encode(JobHead(overrides=Overrides(on_crash=OnCrash.FAIL)))

CLAIM_ALL = """
broker.open()
broker.register(session)
say(len(broker.claim(wish).jobs))
"""


def kill(process: subprocess.Popen[str], sig: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal; wait for the end when it is a deadly one."""
    process.send_signal(sig)

    if sig is signal.SIGKILL:
        process.wait(timeout=10)


def reap_patiently(broker: SQLiteBroker) -> list[UUID]:
    """What the sweep frees that comes after whoever started a dead process had time to name its death."""
    assert broker.reap() == []
    broker.time_offset += PATIENCE
    return broker.reap()


class TestDeath:
    def test_a_killed_process_is_reaped_soon(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", CLAIM_ALL + "hear()") as process:
            jobs = push_each(broker, 5)
            assert hear(process) == "5"
            assert broker.reap() == []
            kill(process)
            assert set(reap_patiently(broker)) == {job.id for job in jobs}
            assert [(row.crashes, row.reason) for row in broker.find(JobFilter())] == [(0, Reason.LOST)] * 5
            assert broker.workers() == []

    def test_what_a_killed_process_had_begun_stands_in_its_black_box(self, tmp_path: Path) -> None:
        script = """
            from cherga.doors.black_box import box_size, places_in
            broker.open()
            broker.register(session)
            places = places_in(broker.black_box(session.id, box_size(2, 2)))
            tokens = [job.token for job in broker.claim(wish).jobs]
            places[0], places[1], places[3] = 2, tokens[0], tokens[1]
            say(*tokens)
            hear()
        """

        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", dedent(script)) as process:
            once, begun, waiting = push_each(broker, 3)
            hear(process)
            kill(process)
            reap_patiently(broker)
            assert [state_of(broker, job) for job in (once, begun, waiting)] == [
                JobState.FAILED,
                JobState.READY,
                JobState.READY,
            ]
            assert [row.attempts is None for row in broker.get([begun.id, waiting.id]) if row] == [False, True]
            assert list((tmp_path / "jobs.db-live").glob("*theirs*")) == []

    def test_a_death_that_is_named_soon_charges_only_what_had_begun(self, tmp_path: Path) -> None:
        """Somebody else's sweep may come between the end of a process and the word of its supervisor."""
        script = "broker.open(); broker.register(session); say(*[job.token for job in broker.claim(wish).jobs]); hear()"

        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", script) as process:
            begun, waiting = push_each(broker, 2, head=MUST_NOT_RUN_TWICE)
            token, _ = map(int, hear(process).split())
            kill(process)

            with opened(tmp_path / "jobs.db") as other:
                assert other.reap() == []

            assert len(broker.reap([Death("theirs.1", frozenset({token}))])) == 2
            assert [state_of(broker, job) for job in (begun, waiting)] == [JobState.FAILED, JobState.READY]

    def test_a_worker_whose_processes_are_gone_is_about_to_end(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", CLAIM_ALL + "hear()") as process:
            push_each(broker, 1)
            assert hear(process) == "1"
            broker.reap()
            assert [worker.expires_in > PATIENCE for worker in broker.workers()] == [True]
            kill(process)
            broker.reap()
            assert [worker.expires_in <= PATIENCE for worker in broker.workers()] == [True]

    def test_a_killed_process_is_seen_though_another_renews_its_lease(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", CLAIM_ALL + "hear()") as process:
            push_each(broker, 1)
            assert hear(process) == "1"
            kill(process)
            assert broker.reap() == []
            broker.time_offset += PATIENCE
            assert broker.heartbeat(["theirs.1"]).lost == ()
            assert len(broker.reap()) == 1

    def test_a_stopped_process_is_not_taken_for_dead(self, tmp_path: Path) -> None:
        script = CLAIM_ALL + "say('going'); hear(); say('woken')"

        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", script) as process:
            push_each(broker, 1)
            assert [hear(process), hear(process)] == ["1", "going"]
            kill(process, signal.SIGSTOP)
            assert broker.reap() == []
            assert broker.heartbeat(["theirs.1"]).lost == ()
            kill(process, signal.SIGCONT)
            tell(process)
            assert hear(process) == "woken"

    def test_an_orphan_that_inherited_the_lifeline_keeps_the_session_alive(self, tmp_path: Path) -> None:
        script = (
            CLAIM_ALL
            + """
import subprocess
lifeline = broker.lifeline(session.id)
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lifeline])
say(child.pid)
hear()
"""
        )

        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", script) as process:
            push_each(broker, 1)
            assert hear(process) == "1"
            orphan = int(hear(process))
            os.kill(orphan, signal.SIGSTOP)  # or it would end with its parent's pipe
            kill(process)
            assert broker.reap() == []
            os.kill(orphan, signal.SIGKILL)
            wait_until(lambda: broker.reap() or broker.workers()[0].expires_in <= PATIENCE, "the orphan is seen to be gone")
            assert len(reap_patiently(broker)) == 1

    def test_a_forked_child_that_lives_on_does_not_hide_the_death_of_its_parent(self, tmp_path: Path) -> None:
        script = """
import threading
broker.open()
broker.register(session)
hear()
broker.claim(wish)
child = os.fork()
if not child:
    threading.Event().wait()
say(child)
hear()
"""

        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", script) as process:
            job, *_ = push_each(broker, 1)
            tell(process)
            child = int(hear(process))

            try:
                assert broker.reap() == []
                kill(process)
                assert reap_patiently(broker) == [job.id]
            finally:
                os.kill(child, signal.SIGKILL)

    def test_a_held_lifeline_does_not_outlive_the_lease(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)
            claim(broker)

            for _ in range(9):
                broker.time_offset += 5
                freed = broker.reap()

                if freed:
                    break

            assert len(freed) == 1

    def test_closing_a_broker_ends_its_sessions(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as other:
            with opened(tmp_path / "jobs.db") as broker:
                push_each(broker, 1)
                claim(broker)
                assert other.reap() == []

            assert len(reap_patiently(other)) == 1

    def test_a_removed_lock_file_leaves_the_lease_to_decide(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", CLAIM_ALL + "hear()") as process:
            push_each(broker, 1)
            assert hear(process) == "1"

            for lock in (tmp_path / "jobs.db-live").glob("*.lock"):
                lock.unlink()

            assert broker.reap() == []
            kill(process)
            assert reap_patiently(broker) == []
            assert [worker.session.id for worker in broker.workers()] == ["theirs.1"]

    def test_lock_files_do_not_pile_up(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            for number in range(3):
                with opened(tmp_path / "jobs.db") as other:
                    claim(other, session=f"short.{number}")

            assert len(list((tmp_path / "jobs.db-live").glob("*.lock"))) == 3
            reap_patiently(broker)
            assert list((tmp_path / "jobs.db-live").glob("*.lock")) == []

    def test_a_session_of_an_earlier_boot_is_dead(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)
            (job,) = claim(broker)

            with raw(tmp_path / "jobs.db") as db:
                db.execute("update sessions set boot = 'another'")

            assert broker.heartbeat(["ours.1"]).lost == ("ours.1",)
            assert broker.reap() == [job.id]

    def test_names_of_sessions_may_hold_anything(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            for name in ("../up.1", "a/b.1", "черга.1", "long" * 100):
                claim(broker, session=name)

            assert len(broker.workers()) == 4
            assert broker.reap([Death("../up.1")]) == []
            assert {path.parent for path in tmp_path.rglob("*.lock")} == {tmp_path / "jobs.db-live"}


class TestKilling:
    @pytest.mark.parametrize("durability", ["full", "process"])
    def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_writing(self, tmp_path: Path, durability: str) -> None:
        script = """
broker = SQLiteBroker(sys.argv[1] + "?durability=DURABILITY", BrokerSettings())
broker.open()
while True:
    id = uuid4()
    broker.push([[NewJob(id=id, task="export", payload=b"x" * 500)]])
    say(id.hex)
""".replace("DURABILITY", durability)
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            for _ in range(3):
                with other_process(file, script) as process:
                    acknowledged = {hear(process) for _ in range(100)}
                    kill(process)

                assert acknowledged <= {row.id.hex for row in broker.find(JobFilter(), limit=10_000)}

            with raw(file) as db:
                assert db.pragma("integrity_check") == "ok"

    def test_a_job_is_settled_once_though_workers_are_killed(self, tmp_path: Path) -> None:
        script = """
broker.open()
broker.register(session)
while True:
    jobs = broker.claim(wish).jobs[:50]
    broker.settle([Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED) for job in jobs])
    say(len(jobs))
"""
        settings = BrokerSettings(crash_cap=1000, crash_backoff=(0.0,))

        with opened(tmp_path / "jobs.db", settings) as broker:
            for _ in range(3):
                push_each(broker, 400)

                with other_process(tmp_path / "jobs.db", script) as process:
                    assert hear(process) == "50"
                    kill(process)

                reap_patiently(broker)

            while jobs := claim(broker, alone=False) or claim(broker, alone=True):
                assert set(broker.settle([success(job) for job in jobs])) == {Settled.WRITTEN}

            rows = broker.find(JobFilter(), limit=2000)
            assert Counter([row.state for row in rows]) == {JobState.SUCCEEDED: 1200}
            assert sum(count.count for count in broker.counts()) == 1200

    def test_a_kill_in_the_middle_of_a_transaction_leaves_the_file_free(self, tmp_path: Path) -> None:
        script = """
import apsw
broker.open()
db = apsw.Connection(sys.argv[1].removeprefix("sqlite:///"))
db.execute("begin immediate")
db.execute("delete from jobs")
say("deleted")
hear()
"""

        with opened(tmp_path / "jobs.db") as broker:
            (job,) = push_each(broker, 1)

            with other_process(tmp_path / "jobs.db", script) as process:
                assert hear(process) == "deleted"
                kill(process)

            assert state_of(broker, job) is JobState.READY
            push_each(broker, 1)


class TestFork:
    def test_a_forked_child_uses_a_connection_of_its_own(self, tmp_path: Path) -> None:
        script = """
broker.open()
broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        for _ in range(20):
            broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
        os._exit(0)
    children.append(child)
for _ in range(20):
    broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
ends = [os.waitpid(child, 0)[1] for child in children]
say(ends, sum(count.count for count in broker.counts()))
broker.close()
"""

        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", script) as process:
            assert hear(process) == "[0, 0, 0] 81"
            assert len(broker.find(JobFilter(), limit=1000)) == 81

    def test_a_forked_child_that_closes_the_broker_leaves_the_parent_alone(self, tmp_path: Path) -> None:
        script = """
broker.open()
broker.register(session)
child = os.fork()
if not child:
    broker.close()
    os._exit(0)
os.waitpid(child, 0)
broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
say(len(broker.claim(wish).jobs))
hear()
"""

        with opened(tmp_path / "jobs.db") as broker, other_process(tmp_path / "jobs.db", script) as process:
            assert hear(process) == "1"
            assert broker.reap() == []

    def test_a_fork_in_the_middle_of_a_write_does_not_block_the_child(self, tmp_path: Path) -> None:
        script = """
import threading
broker.open()
stop = []
def write():
    while not stop:
        broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
thread = threading.Thread(target=write)
thread.start()
ends = []
for _ in range(20):
    child = os.fork()
    if not child:
        broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
        os._exit(0)
    ends.append(os.waitpid(child, 0)[1])
stop.append(True)
thread.join()
say(set(ends))
"""

        with other_process(tmp_path / "jobs.db", script) as process:
            assert hear(process) == "{0}"

    def test_the_threads_of_a_forked_child_open_the_file_once(self, tmp_path: Path) -> None:
        script = """
import threading
broker.open()
child = os.fork()
if not child:
    barrier = threading.Barrier(8)
    stores = []
    def use():
        barrier.wait()
        broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
        stores.append(broker._store)
    threads = [threading.Thread(target=use) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    os._exit(0 if len(stores) == 8 and len(set(map(id, stores))) == 1 else 1)
say(os.waitpid(child, 0)[1])
"""

        with other_process(tmp_path / "jobs.db", script) as process:
            assert hear(process) == "0"

    def test_a_forked_child_that_lives_on_holds_nothing_of_its_parent(self, tmp_path: Path) -> None:
        script = """
broker.open()
broker.push([[NewJob(id=uuid4(), task="export", payload=b"")]])
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
say(child)
broker.close()
say("closed")
hear()
"""

        with other_process(tmp_path / "jobs.db", script) as process:
            child = int(hear(process))
            assert hear(process) == "closed"
            names = [path.name for path in tmp_path.iterdir()]
            os.kill(child, signal.SIGKILL)

        assert sorted(names) == ["jobs.db", "jobs.db-live"]

    def test_the_bells_of_killed_processes_are_taken_down_by_a_sweep(self, tmp_path: Path) -> None:
        script = "broker.open(); bells = [broker.listen([topic]) for topic in ('ready', 'cancel')]; say('listening'); hear()"

        with opened(tmp_path / "jobs.db") as broker:
            with other_process(tmp_path / "jobs.db", script) as process:
                assert hear(process) == "listening"
                broker.reap()
                assert len(list((tmp_path / "jobs.db-live").glob("*.bell"))) == 2

            broker.reap()
            assert list((tmp_path / "jobs.db-live").glob("*.bell")) == []
