"""A disk that fills up: new jobs are refused, running ones can end, and nothing that was acknowledged is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from cherga.brokers.sqlite.place import SPACE_AT_LEAST, required_space
from cherga.words.errors import BrokerFull
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.settlement import Settled
from tests.sqlite_files import claim, hear, new_job, opened, other_process, push_each, raw, state_of, success

PLENTY = 1 << 60


class TestWatermark:
    def test_below_it_new_jobs_are_refused_and_running_ones_end(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)

        with opened(tmp_path / "jobs.db", watermark=PLENTY) as broker:
            with pytest.raises(BrokerFull, match=r"MB free beside .*jobs\.db"):
                push_each(broker, 1)

            with pytest.raises(BrokerFull):
                broker.tick("nightly", 1.0, 2.0, [new_job()])

            (job,) = claim(broker)
            child = new_job()
            assert broker.settle([success(job, children=((child,),))]) == [Settled.WRITTEN]
            assert state_of(broker, child) is JobState.READY

    def test_zero_switches_it_off(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", watermark=0) as broker:
            push_each(broker, 1)

    def test_it_grows_with_the_log(self, tmp_path: Path) -> None:
        log = tmp_path / "jobs.db-wal"
        assert required_space(str(log)) == SPACE_AT_LEAST

        with log.open("wb") as file:
            file.truncate(SPACE_AT_LEAST)

        assert required_space(str(log)) == 4 * SPACE_AT_LEAST


class TestFull:
    def test_a_file_that_may_not_grow_refuses_jobs_and_keeps_the_others(self, tmp_path: Path) -> None:
        """The limit on file sizes stands for the disk: writing past it fails in the middle of a transaction."""
        script = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
broker.open()
pushed = []

def push():
    id = uuid4()
    broker.push([[NewJob(id=id, task="export", payload=b"x" * 4000)]])
    pushed.append(id)

push()
broker.register(session)
running = broker.claim(wish).jobs
size = os.stat(sys.argv[1].removeprefix("sqlite:///") + "-wal").st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 400_000, resource.RLIM_INFINITY))

try:
    while True:
        push()
except BrokerError as error:
    say(type(error).__name__)

say(all(broker.get(pushed)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
job = running[0]
say(broker.settle([Settlement(job.id, job.sequence, job.token, JobState.SUCCEEDED)])[0].name)
push()
say(len(pushed))
"""

        with other_process(tmp_path / "jobs.db", script) as process:
            assert hear(process) in {"BrokerFull", "BrokerUnavailable"}
            assert hear(process) == "True"
            assert hear(process) == "WRITTEN"
            count = int(hear(process))

        with opened(tmp_path / "jobs.db") as broker, raw(tmp_path / "jobs.db") as db:
            assert len(broker.find(JobFilter(), limit=10_000)) == count
            assert sum(each.count for each in broker.counts()) == count
            assert db.pragma("integrity_check") == "ok"

    def test_a_full_database_is_told_as_such(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            jobs = push_each(broker, 1)
            write = broker._store._db  # the limit is one of the connection
            write.pragma("max_page_count", write.pragma("page_count") + 2)

            with pytest.raises(BrokerFull, match="disk is full"):
                push_each(broker, 1000)

            assert [row.id for row in broker.find(JobFilter())] == [job.id for job in jobs]
            assert len(claim(broker)) == 1
