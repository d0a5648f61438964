"""``cherga backup``: a whole and private copy of a queue in use, which never takes the place of another file by itself."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cherga import JobState, QueueTasks
from cherga.cli.exits import ExitCode
from cherga.testing import wait_until
from tests.cli_shop import Shop, open_shop
from tests.sqlite_files import raw


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    with open_shop(tmp_path, capsys) as shop:
        yield shop


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.db"


def queue_file(shop: Shop) -> Path:
    return Path(shop.app.broker_url.removeprefix("sqlite:///"))


def test_a_copy_holds_the_jobs_and_is_a_queue(shop: Shop, copy: Path) -> None:
    done, waiting = shop.app.add_task("add", 1), shop.app.tasks["add"].using(run_in=60).enqueue(2)

    with shop.app.worker():
        done.result(10)

    ran = shop.look("backup", str(copy))
    assert ran.rows == [[str(copy), "2", str(copy.stat().st_size)]]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert os.listdir(copy.parent) == [copy.name]
    other = QueueTasks("shop", f"sqlite:///{copy}")
    assert {job.id for job in other.jobs()} == {done.id, waiting.id}
    found = other.get(done.id)
    assert found is not None
    assert found.result() == 2
    other.close()


def test_as_json_it_says_what_it_wrote(shop: Shop, copy: Path) -> None:
    shop.app.add_task("add", 1)
    assert shop.look("backup", str(copy), "--json").data == {"file": str(copy), "jobs": 1, "bytes": copy.stat().st_size}


def test_a_file_that_is_there_is_replaced_only_when_that_is_asked_for(shop: Shop, copy: Path) -> None:
    copy.write_text("precious")
    refused = shop.run("backup", str(copy))
    assert (refused.code, copy.read_text()) == (ExitCode.CONFIG, "precious")
    assert "--force" in refused.err
    shop.look("backup", str(copy), "--force")

    with raw(copy) as db:
        assert db.pragma("quick_check") == "ok"

    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert os.listdir(copy.parent) == [copy.name]


@pytest.mark.parametrize("name", ["", "-wal", "-shm", "link"])
def test_the_queue_is_never_written_over(shop: Shop, copy: Path, name: str) -> None:
    file = queue_file(shop)
    job = shop.app.add_task("add", 1)
    target = file.with_name(file.name + name)

    if name == "link":
        target = copy
        target.symlink_to(file)

    refused = shop.run("backup", str(target), "--force")
    assert refused.code == ExitCode.CONFIG
    assert "another file" in refused.err
    assert job.refresh().status is JobState.READY


def test_the_queue_is_not_written_over_by_another_name_of_its_file(shop: Shop, copy: Path) -> None:
    job = shop.app.add_task("add", 1)
    os.link(queue_file(shop), copy)
    refused = shop.run("backup", str(copy), "--force")
    copy.unlink()

    assert refused.code == ExitCode.BROKER
    assert "expected a queue file with one name" in refused.err
    assert job.refresh().status is JobState.READY


def test_what_is_in_use_by_its_looks_is_not_written_over(shop: Shop, copy: Path) -> None:
    shop.look("backup", str(copy))
    other = QueueTasks("shop", f"sqlite:///{copy}")
    other.add_task("add", 7)
    refused = shop.run("backup", str(copy), "--force")
    assert "in use" in refused.err
    assert len(other.jobs()) == 1
    other.close()


def test_a_place_where_nothing_can_be_written_is_named(shop: Shop, copy: Path) -> None:
    assert "create it" in shop.run("backup", str(copy.parent / "missing" / "copy.db")).err
    assert "something else" in shop.run("backup", str(copy.parent), "--force").err


def test_a_damaged_queue_gives_no_copy(shop: Shop, copy: Path) -> None:
    shop.app.tasks["add"].enqueue_many([(n,) for n in range(500)])
    shop.app.close()
    file = queue_file(shop)
    size = file.stat().st_size

    with file.open("r+b") as handle:
        handle.seek(size - 30 * 4096)
        handle.write(b"\xff" * 20 * 4096)

    refused = shop.run("backup", str(copy))
    assert refused.code == ExitCode.BROKER
    assert "damaged" in refused.err
    assert os.listdir(copy.parent) == []


def test_copies_made_under_load_are_of_one_moment(shop: Shop, copy: Path) -> None:
    over = threading.Event()

    def enqueue() -> None:
        while not over.is_set():
            shop.app.tasks["add"].enqueue_many([(n,) for n in range(20)])

    with shop.app.worker(threads=2):
        producers = [threading.Thread(target=enqueue) for _ in range(2)]

        for producer in producers:
            producer.start()

        wait_until(lambda: len(shop.app.jobs(limit=200)) == 200, "there is much to copy")

        try:
            counts = [int(shop.look("backup", str(copy), "--force").rows[0][1]) for _ in range(3)]
        finally:
            over.set()

            for producer in producers:
                producer.join()

    with raw(copy) as db:
        assert db.pragma("integrity_check") == "ok"
        assert db.execute("select count(*) from jobs").get == counts[-1]
        assert counts[-1] % 20 == 0
