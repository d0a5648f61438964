"""``cherga schedules`` on a real queue file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_shop import Shop, open_shop


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    with open_shop(tmp_path, capsys) as shop:
        yield shop


def test_a_schedule_that_is_added_is_listed_until_it_is_deleted(shop: Shop) -> None:
    added = shop.run("schedules", "add", "sums", "add", 7, "--arg", "b=2", "--every", "90s", "--catch-up", "skip")
    (row,) = shop.look("schedules", "list").rows

    assert added.code == 0
    assert added.rows == [row]
    assert [*row[:3], *row[4:]] == ["sums", "add", "every 90 s", "skip", "run time", ""]
    assert row[3].endswith("Z")

    assert shop.look("schedules", "delete", "sums").rows == [["sums", "deleted"]]
    assert shop.look("schedules", "list").rows == []


def test_without_the_code_a_published_task_is_scheduled_with_its_options(shop: Shop) -> None:
    shop.look("schedules", "add", "nightly", "export", "100", "--cron", "0 3 * * *", "--timezone", "Europe/Kyiv")
    (listed,) = shop.look("schedules", "list", "--json").data

    assert (listed["task"], listed["queue"], listed["cron"]) == ("export", "exports", "0 3 * * *")
    assert (listed["timezone"], listed["catch_up"], listed["from_code"]) == ("Europe/Kyiv", "last", False)


def test_run_enqueues_the_job_now(shop: Shop) -> None:
    shop.run("schedules", "add", "sums", "add", 7, "--every", "1d")
    ran = shop.look("schedules", "run", "sums")
    job = shop.app.get(ran.rows[0][0])

    assert ran.code == 0
    assert job is not None
    assert (job.arguments, job.head.schedule) == ({"a": 7, "b": 1}, "sums")


def test_paused_schedules_have_no_next_tick_until_they_are_resumed(shop: Shop) -> None:
    shop.run("schedules", "add", "sums", "add", 7, "--every", "1d")

    assert shop.look("schedules", "pause", "sums").rows == [["sums", "paused"]]
    assert shop.look("schedules", "list").rows[0][3] == ""
    assert shop.look("schedules", "list").rows[0][6] == "yes"
    assert shop.look("schedules", "resume", "sums").rows == [["sums", "resumed"]]
    assert shop.look("schedules", "list", "--json").data[0]["next_at"].endswith("Z")


def test_change_leaves_what_it_does_not_name(shop: Shop) -> None:
    shop.run("schedules", "add", "sums", "add", 7, "--cron", "0 3 * * *", "--timezone", "Europe/Kyiv", "--catch-up", "all")
    changed = shop.look("schedules", "change", "sums", "--cron", "0 4 * * *", "--json").data

    assert (changed["cron"], changed["timezone"], changed["catch_up"]) == ("0 4 * * *", "Europe/Kyiv", "all")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("add", "x", "add", 1, "--cron", "0 99 * * *"), 2, "five fields (minute hour day month weekday)"),
        (("add", "x", "add", 1), 2, "expected --cron or --every, one of them"),
        (("add", "x", "add", 1, "--every", "60", "--timezone", "Europe/Kyv"), 2, "did you mean 'Europe/Kyiv'?"),
        (("add", "x", "ad", 1, "--every", "60"), 2, "unknown task 'ad'; did you mean 'add'?"),
        (("add", "x", "add", "--every", "60"), 2, "missing a required argument: 'a'"),
        (("add", "x", "add", "--arg", "a", "--every", "60"), 2, "expected --arg as KEY=VALUE, got 'a'"),
        (("add", "x", "add", "--every", "often"), 2, "expected seconds or a number with s, m, h or d"),
        (("add", "tidy", "add", 1, "--every", "60"), 2, "declared in the code; choose another name"),
        (("change", "sums"), 2, "expected what to change"),
        (("run", "sms"), 2, "got 'sms'; did you mean 'sums'?"),
        (("pause", "sums", "nothing"), 2, "expected the name of a schedule, got 'nothing'"),
        (("delete", "tidy"), 1, "schedule tidy was not deleted: the code declares it"),
        (("change", "tidy", "--every", "60"), 1, "schedule tidy was not changed: the code declares it"),
    ],
)
def test_what_cannot_be_done_is_told_with_the_reason(shop: Shop, args: tuple[object, ...], code: int, words: str) -> None:
    shop.app.task(cron="0 3 * * *", name="tidy")(lambda: None)
    shop.app.publish()
    shop.app.schedule("sums", "add", [7], every=3600)
    ran = shop.run("schedules", *args)

    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert [(one.name, one.paused) for one in shop.app.schedules.all()] == [("sums", False), ("tidy", False)]
