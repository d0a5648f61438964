"""The file: made once, private, recognised, refused when it is not ours, and never lost sight of."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from cherga.brokers.sqlite import SQLiteBroker
from cherga.brokers.sqlite.faults import translated
from cherga.brokers.sqlite.place import Files, find_file_system
from cherga.brokers.sqlite.schema import APPLICATION_ID, VERSION
from cherga.rules.settings import BrokerSettings
from cherga.words.errors import BrokerUnavailable, BrokerUnusable, ConfigError
from cherga.words.inspection import JobFilter
from tests.sqlite_files import (
    PRELUDE,
    claim,
    hear,
    new_job,
    opened,
    other_process,
    push_each,
    raw,
    state_of,
    success,
    tell,
    url,
)

NOBODY = 65534


class TestOpening:
    def test_the_file_and_its_companions_are_private(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            push_each(broker, 1)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

        assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600, "jobs.db-live": 0o700}

    def test_the_file_is_private_whatever_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)

        try:
            with opened(tmp_path / "jobs.db"):
                assert stat.S_IMODE((tmp_path / "jobs.db").stat().st_mode) == 0o600
        finally:
            os.umask(before)

    def test_what_has_to_be_there_already_is_not_made(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        broker = SQLiteBroker(url(file), BrokerSettings())

        with pytest.raises(BrokerUnusable, match=r"jobs\.db is gone .*; stop, put it back, and start again"):
            broker.open(create=False)

        assert list(tmp_path.iterdir()) == []

        with opened(file):
            broker.open(create=False)
            broker.close()

    def test_the_url_of_an_open_broker_holds_in_every_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        broker = SQLiteBroker("sqlite:///a%3F b.db?durability=process", BrokerSettings())

        assert broker.url == f"sqlite:///{tmp_path}/a%3F b.db?durability=process"
        assert SQLiteBroker(broker.url, BrokerSettings()).url == broker.url

    @pytest.mark.parametrize("path", ["%00.db", "\ud800.db"], ids=["null", "half a character"])
    def test_a_path_that_no_file_can_have_is_refused(self, path: str) -> None:
        with pytest.raises(ConfigError, match="expected a path that the system can write in the broker URL"):
            SQLiteBroker(f"sqlite:///{path}", BrokerSettings())

    def test_a_symbolic_link_leads_to_the_same_doorbells_and_locks(self, tmp_path: Path) -> None:
        (tmp_path / "link.db").symlink_to(tmp_path / "jobs.db")

        with opened(tmp_path / "jobs.db"), opened(tmp_path / "link.db") as other:
            push_each(other, 1)
            assert [path.name for path in tmp_path.glob("*-live")] == ["jobs.db-live"]

    def test_a_file_with_two_names_is_refused(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db"):
            pass

        (tmp_path / "other.db").hardlink_to(tmp_path / "jobs.db")

        for name in ("jobs.db", "other.db"):
            with pytest.raises(BrokerUnusable, match=r"expected a queue file with one name, found 2 .*use a symbolic link"):
                SQLiteBroker(url(tmp_path / name), BrokerSettings()).open()

    def test_a_working_directory_that_was_deleted_matters_to_relative_paths_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "release").mkdir()
        monkeypatch.chdir(tmp_path / "release")
        (tmp_path / "release").rmdir()

        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)

        with pytest.raises(ConfigError, match="expected a working directory for the relative path in"):
            SQLiteBroker("sqlite:///jobs.db", BrokerSettings())

    def test_an_empty_file_becomes_a_queue_file(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        file.touch()

        with opened(file) as broker:
            push_each(broker, 1)

    def test_the_file_says_what_it_is(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db"), raw(tmp_path / "jobs.db") as db:
            assert (db.pragma("application_id"), db.pragma("user_version")) == (APPLICATION_ID, VERSION)
            assert db.pragma("journal_mode") == "wal"

    def test_opening_twice_is_one_opening(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)
            broker.open()
            assert len(claim(broker)) == 1

    def test_a_closed_broker_says_so_and_may_be_opened_again(self, tmp_path: Path) -> None:
        broker = SQLiteBroker(url(tmp_path / "jobs.db"), BrokerSettings())
        broker.open()
        broker.close()

        with pytest.raises(BrokerUnavailable, match="is not open"):
            broker.counts()

        broker.open()
        assert broker.counts() == []
        broker.close()

    def test_many_processes_may_open_an_empty_file_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        file.touch()
        script = PRELUDE + "hear(); broker.open(); broker.push([[NewJob(id=uuid4(), task='export', payload=b'')]]); say('done')"
        command = [sys.executable, "-c", script, url(file)]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(6)
        ]

        for process in processes:
            tell(process)

        assert [process.communicate(timeout=30)[0].strip() for process in processes] == ["done"] * 6

        with opened(file) as broker:
            assert len(broker.find(JobFilter())) == 6

    def test_a_link_to_the_file_opens_it_and_what_becomes_of_either_is_seen(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        file, link = tmp_path / "disk" / "jobs.db", tmp_path / "link.db"

        with opened(file) as broker:
            push_each(broker, 1)

        link.symlink_to(file)

        with opened(link) as broker, opened(file) as other:
            push_each(broker, 1)
            assert len(other.find(JobFilter())) == 2
            link.unlink()

            with pytest.raises(BrokerUnusable, match="is gone"):
                push_each(broker, 1)

            link.symlink_to(file)
            push_each(broker, 1)
            file.rename(tmp_path / "moved.db")

            with pytest.raises(BrokerUnusable, match="is gone"):
                push_each(broker, 1)

    def test_a_file_that_is_taken_away_after_a_long_quiet_time_is_missed_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            push_each(broker, 1)
            os.utime(tmp_path, (1, 1))
            push_each(broker, 1)
            file.rename(tmp_path / "moved.db")

            with pytest.raises(BrokerUnusable, match="is gone"):
                push_each(broker, 1)

    def test_a_relative_path_is_fixed_when_the_broker_is_made(self, tmp_path: Path) -> None:
        with contextlib.chdir(tmp_path):
            broker = SQLiteBroker("sqlite:///jobs.db", BrokerSettings())

        broker.open()
        broker.close()
        assert (tmp_path / "jobs.db").exists()


class TestUrls:
    @pytest.mark.parametrize("wrong", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/jobs.db"])
    def test_a_url_without_a_file_is_refused(self, wrong: str) -> None:
        with pytest.raises(ConfigError, match=r"relative\.db"):
            SQLiteBroker(wrong, BrokerSettings())

    @pytest.mark.parametrize(
        ("query", "said"),
        [("durability=none", "durability=process"), ("watermark=64M", "number of bytes"), ("mode=ro", "got mode")],
    )
    def test_a_wrong_parameter_is_named(self, query: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            SQLiteBroker(f"sqlite:///jobs.db?{query}", BrokerSettings())

    def test_a_path_may_hold_what_a_url_cannot(self, tmp_path: Path) -> None:
        broker = SQLiteBroker(f"sqlite:///{tmp_path}/50%25%3F.db", BrokerSettings())
        broker.open()
        broker.close()
        assert (tmp_path / "50%?.db").exists()


class TestRefusing:
    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BrokerUnusable, match=f"{tmp_path}/missing.*create it"), opened(tmp_path / "missing" / "jobs.db"):
            pass

        assert not (tmp_path / "missing").exists()

    def test_a_folder_is_not_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(BrokerUnusable, match="expected a file"), opened(tmp_path):
            pass

    def test_a_file_that_is_no_database_is_left_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("not a database, " * 100, encoding="utf-8")

        with pytest.raises(BrokerUnusable, match="not an SQLite database"), opened(file):
            pass

        assert file.read_text(encoding="utf-8") == "not a database, " * 100

    @pytest.mark.parametrize("statement", ["create table users (id)", "pragma application_id = 7", "pragma user_version = 3"])
    def test_another_applications_database_is_left_as_it_is(self, tmp_path: Path, statement: str) -> None:
        file = tmp_path / "app.db"

        with raw(file) as db:
            db.execute(statement)

        before = file.read_bytes()

        with pytest.raises(BrokerUnusable, match="another application"), opened(file):
            pass

        assert file.read_bytes() == before

    def test_a_newer_schema_is_left_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file):
            pass

        with raw(file) as db:
            db.pragma("user_version", VERSION + 1)

        before = file.read_bytes()

        with pytest.raises(BrokerUnusable, match=f"schema version {VERSION + 1}.*upgrade Cherga"), opened(file):
            pass

        assert file.read_bytes() == before

    def test_the_file_of_another_namespace_is_refused_with_both_names(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", BrokerSettings(namespace="microblog")):
            pass

        shop = BrokerSettings(namespace="shop")

        with pytest.raises(BrokerUnusable, match=r"'microblog'.*'shop'.*CHERGA_BROKER_URL"), opened(tmp_path / "jobs.db", shop):
            pass

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that this user may not write, and become another")
    @pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555)])
    def test_a_file_without_the_right_to_write_is_refused(self, tmp_path: Path, file_mode: int, folder_mode: int) -> None:
        folder = Path("/tmp") / f"cherga-{tmp_path.name}-{os.getpid()}"
        folder.mkdir()
        file = folder / "jobs.db"

        with opened(file):
            pass

        file.chmod(file_mode)
        (folder / "jobs.db-live").rmdir()
        folder.chmod(folder_mode)
        script = f"os.setuid({NOBODY})\ntry: broker.open()\nexcept BrokerError as error: say(type(error).__name__, error)"

        with other_process(file, script) as process:
            said = hear(process)

        shutil.rmtree(folder)
        assert said.startswith("BrokerUnusable")
        assert "check the rights" in said

    @pytest.mark.skipif(os.name != "posix", reason="there are no such rights here")
    @pytest.mark.parametrize(
        ("name", "mode"), [("jobs.db", 0o640), ("jobs.db", 0o604), ("jobs.db-live", 0o750), ("jobs.db", 0o666)]
    )
    def test_rights_for_others_are_refused_with_what_helps(self, tmp_path: Path, name: str, mode: int) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            push_each(broker, 1)

        (tmp_path / name).chmod(mode)

        with pytest.raises(BrokerUnusable, match=rf"{name} \({mode:04o}\).*chmod go-rwx") as caught, opened(file):
            pass

        os.system(str(caught.value).rpartition("run: ")[2])

        with opened(file) as broker:
            assert len(broker.find(JobFilter())) == 1

    def test_an_empty_file_is_made_private(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        file.touch(0o666)

        with opened(file):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_network_file_systems_are_found_by_their_device(self) -> None:
        mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n36 22 0:53 / /mnt/share rw,noatime shared:3 - nfs4 server:/share rw"
        assert find_file_system(os.makedev(0, 53), mounts) == "nfs4"
        assert find_file_system(os.makedev(8, 1), mounts) == "ext4"
        assert find_file_system(os.makedev(9, 9), mounts) is None


class TestStaying:
    def test_a_deleted_file_stops_the_broker(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            push_each(broker, 1)
            file.unlink()

            with pytest.raises(BrokerUnusable, match=r"jobs\.db is gone"):
                push_each(broker, 1)

            with pytest.raises(BrokerUnusable, match=r"jobs\.db is gone"):
                broker.counts()

        assert not file.exists()

    def test_a_replaced_file_stops_the_broker(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            with opened(tmp_path / "other.db"):
                pass

            (tmp_path / "other.db").replace(file)

            with pytest.raises(BrokerUnusable, match=r"jobs\.db was replaced"):
                push_each(broker, 1)

            with pytest.raises(BrokerUnusable, match=r"jobs\.db was replaced"):
                claim(broker)

    @pytest.mark.parametrize("part", ["jobs.db", "jobs.db-wal", "jobs.db-shm"])
    @pytest.mark.parametrize("how", ["deleted", "moved", "copied over"])
    def test_no_part_of_the_file_may_be_taken_away(self, tmp_path: Path, part: str, how: str) -> None:
        file, taken = tmp_path / "jobs.db", tmp_path / part

        with opened(file) as broker:
            push_each(broker, 1)

            if how == "copied over":
                shutil.copy(taken, tmp_path / "copy")

            taken.rename(tmp_path / "moved")

            if how == "copied over":
                (tmp_path / "copy").rename(taken)
            elif how == "deleted":
                (tmp_path / "moved").unlink()

            for use in (lambda: push_each(broker, 1), broker.counts, lambda: broker.get([new_job().id]), broker.reap):
                with pytest.raises(BrokerUnusable, match=rf"{part} (is gone|was replaced)"):
                    use()

        assert taken.exists() == (how == "copied over")

    def test_a_file_that_is_replaced_while_it_is_opened_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file), opened(tmp_path / "other.db"):
            (tmp_path / "other.db").replace(file)

            with pytest.raises(BrokerUnusable, match="was replaced"):
                Files(file, (0, 0))

    def test_a_file_held_by_another_process_is_unavailable(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        settings = BrokerSettings(busy_timeout=0.1)

        with opened(file, settings) as broker, raw(file) as db:
            (job,) = push_each(broker, 1)
            db.execute("begin immediate")

            with pytest.raises(BrokerUnavailable, match=r"jobs\.db is held by another process"):
                push_each(broker, 1)

            assert state_of(broker, job) is not None
            db.execute("rollback")
            assert len(claim(broker)) == 1

    def test_a_writer_waits_for_another_process(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"
        script = f"""
import apsw
broker.open()
db = apsw.Connection({str(file)!r})
db.execute("begin immediate")
say("held")
hear()
time.sleep(0.1)
db.execute("commit")
"""

        with opened(file) as broker, other_process(file, script) as process:
            assert hear(process) == "held"
            tell(process)
            push_each(broker, 1)

    def test_a_damaged_file_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file) as broker:
            push_each(broker, 500)

        with file.open("r+b") as handle:
            handle.seek(4096)
            handle.write(b"\xff" * 4096 * 20)

        with pytest.raises(BrokerUnusable, match=r"jobs\.db is damaged"), opened(file) as broker:
            push_each(broker, 500)

    def test_a_sequence_is_never_used_twice(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 3)
            broker.settle([success(job, keep=0) for job in claim(broker)])

        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)
            assert claim(broker)[0].sequence == 4

    def test_jobs_survive_that_every_process_closes_the_file(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            (job,) = push_each(broker, 1, payload=b"\x91\x07")

        with opened(tmp_path / "jobs.db") as broker:
            assert [(each.id, each.payload) for each in claim(broker)] == [(job.id, b"\x91\x07")]


def test_an_apsw_error_never_comes_through(tmp_path: Path) -> None:
    with opened(tmp_path / "jobs.db") as broker, pytest.raises(Exception, match="surrogates") as caught:
        broker.push([[new_job(owner="\ud800")]])

    assert not isinstance(caught.value, apsw.Error)


class TestUpgrading:
    def test_a_file_of_version_1_is_brought_up_to_date_with_its_jobs(self, tmp_path: Path) -> None:
        file, old = tmp_path / "old.db", new_job()
        _make_version_1(file, old.id.bytes)

        with opened(file) as broker:
            (kept,) = broker.get([old.id])
            assert kept is not None
            assert kept.state == "ready"
            push_each(broker, 1)
            assert len(broker.find(JobFilter())) == 2

        with raw(file) as db:
            assert db.pragma("user_version") == VERSION

    def test_an_upgraded_file_has_the_schema_of_a_new_one(self, tmp_path: Path) -> None:
        _make_version_1(tmp_path / "old.db", b"")

        for name in ("old.db", "new.db"):
            with opened(tmp_path / name):
                pass

        assert _schema(tmp_path / "old.db") == _schema(tmp_path / "new.db")


def _make_version_1(file: Path, id: bytes) -> None:
    schema = Path(__file__).with_name("sqlite_schema_1.sql").read_text(encoding="utf-8")

    with contextlib.closing(apsw.Connection(str(file))) as db:
        db.execute(schema)
        db.execute("insert into facts (name, value) values ('namespace', 'cherga')")
        db.execute("insert into counters (lane, state, count) values (0, 0, 1), (1, 2, 1)")
        db.execute("insert into lanes (number, queue, task, limits, suspect) values (1, 'default', 'noop', '[]', 0)")
        columns = "sequence, state, lane, rank, place, enqueued_at, id, payload"
        db.execute(f"insert into jobs ({columns}) values (1, 2, 1, 0, 1, 1.0, ?, x'80')", (id,))
        db.execute(f"pragma application_id = {APPLICATION_ID}; pragma user_version = 1")

    file.chmod(0o600)


def _schema(file: Path) -> dict[str, set[tuple[object, ...]]]:
    """Tables and indexes with their columns; the order of columns does not matter."""
    with raw(file) as db:
        names = [name for (name,) in db.execute("select name from sqlite_schema where name not like 'sqlite_%'")]
        tables = {name: set(db.execute(f"select name, type, pk from pragma_table_info('{name}')")) for name in names}
        return {
            name: columns or set(db.execute(f"select name from pragma_index_info('{name}')"))
            for name, columns in tables.items()
        }


def test_a_file_that_goes_while_it_is_opened_is_said(tmp_path: Path) -> None:
    file = tmp_path / "queue.db"

    with pytest.raises(BrokerUnusable, match=r"is gone .* put it back, and start again"), translated(file):
        file.stat()
