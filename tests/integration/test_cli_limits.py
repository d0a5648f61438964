"""``cherga limits`` and ``cherga jobs why`` on a real queue file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cherga import JobState
from cherga.testing import wait_until
from cherga.words.limits import LimitRule, Overflow
from tests.cli_shop import Shop, open_shop


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    with open_shop(tmp_path, capsys) as shop:
        yield shop


def test_a_limit_is_set_listed_and_reset(shop: Shop) -> None:
    made = shop.look("limits", "set", "--queue", "default", "--max-running", 5, "--max-length", 3, "--overflow", "drop_oldest")
    shop.look("limits", "set", "--task", "add", "--rate", "100/m")
    shop.look("limits", "set", "--task", "export", "--key", "*", "--max-running", 2)
    shop.app.tasks["add"].enqueue(1)

    assert made.rows == [["queue:default", "5", "", "3", "drop_oldest"]]
    assert shop.look("limits", "list").rows == [
        ["queue:default", "0/5", "", "", "1/3", "drop_oldest", "run time"],
        ["task:add", "0", "100/m", "0", "", "", "run time"],
        ["key:export", "/2", "", "", "", "", "run time"],
    ]

    assert shop.look("limits", "reset", "--queue", "default").err == ""
    assert [row[0] for row in shop.look("limits", "list").rows] == ["task:add", "key:export"]


def test_none_lifts_what_the_code_declares_until_the_reset(shop: Shop) -> None:
    shop.app.limit(queue="default", max_running=5, max_length=3)
    shop.app.publish()

    shop.look("limits", "set", "--queue", "default", "--max-running", "none", "--overflow", "drop_oldest")
    assert shop.app.limits.get(queue="default").rule == LimitRule(max_length=3, overflow=Overflow.DROP_OLDEST)
    assert shop.look("limits", "list", "--json").data[0]["set_by"] == "run time"

    shop.look("limits", "reset", "--queue", "default")
    (listed,) = shop.look("limits", "list", "--json").data
    assert (listed["max_running"], listed["max_length"], listed["set_by"]) == (5, 3, "code")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("set", "--max-running", 5), "expected --queue, or --task, or --task with --key"),
        (("set", "--queue", "a", "--task", "b", "--max-running", 5), "expected --queue, or --task"),
        (("set", "--queue", "default", "--key", "b", "--max-running", 5), "expected --queue, or --task"),
        (("set", "--task", "add"), "expected what to set"),
        (("set", "--task", "add", "--max-running", "-1"), "expected a whole number, 0 or more, or none, got '-1'"),
        (("set", "--task", "add", "--rate", "5/y"), "expected a rate like '100/m'"),
        (("set", "--task", "add", "--max-length", 5), "expected max_length for a queue"),
        (("reset",), "expected --queue, or --task"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(shop: Shop, args: tuple[object, ...], words: str) -> None:
    ran = shop.look("limits", *args)

    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert shop.app.limits.all() == []


def test_a_limit_of_what_nobody_knows_is_set_with_a_note(shop: Shop) -> None:
    task = shop.look("limits", "set", "--task", "exprt", "--max-running", 5)
    queue = shop.look("limits", "set", "--queue", "exprts", "--max-running", 5)

    assert (task.code, queue.code) == (0, 0)
    assert "no task 'exprt' is known yet; did you mean 'export'?" in task.err
    assert "no queue 'exprts' is known yet; did you mean 'exports'?" in queue.err
    assert "no limit of task add was set at run time" in shop.look("limits", "reset", "--task", "add").err


# --- why


def test_why_names_what_stands_in_the_way_and_what_helps(shop: Shop) -> None:
    job = shop.app.add_task("add", 1)
    shop.look("queues", "pause", "default")
    told = shop.look("jobs", "why", job.id)

    assert told.code == 0
    assert ["when", "it runs once a worker is alive and queue default is resumed"] in told.rows
    assert ["obstacles.no worker", "no worker is alive"] in told.rows
    assert ["obstacles.paused", "queue default is paused"] in told.rows
    assert ["obstacles.help", "cherga queues resume default"] in told.rows


def test_why_names_the_jobs_that_a_limit_lets_run(shop: Shop) -> None:
    shop.app.limits.set(task="wait", max_running=1)
    first, second = shop.app.add_task("wait"), shop.app.add_task("wait")
    after = shop.app.tasks["add"].using(after=[second]).enqueue(1)

    with shop.app.worker():
        wait_until(lambda: first.refresh().status is JobState.RUNNING, "the first job runs")
        limited = shop.look("jobs", "why", second.id, "--json").data
        blocked = shop.look("jobs", "why", after.id, "--json").data
        running = shop.look("jobs", "why", first.id, "--json").data
        first.cancel()
        second.cancel()

    assert [(one["kind"], one["jobs"]) for one in limited["obstacles"]] == [("limit", [str(first.id)])]
    assert limited["obstacles"][0]["remedy"] == "cherga limits set --task wait --max-running 2"
    assert [(one["kind"], one["jobs"]) for one in blocked["obstacles"]] == [("jobs", [str(second.id)])]
    assert (running["obstacles"], running["when"].startswith("it runs since ")) == ([], True)


def test_why_tells_that_no_worker_knows_the_task_or_listens_to_the_queue(shop: Shop) -> None:
    unknown, elsewhere = shop.app.add_task("ad"), shop.app.add_task("export", 1)

    with shop.app.worker(queues=["default"]):
        wait_until(lambda: bool(shop.app.broker.workers()), "the worker is registered")
        task = shop.look("jobs", "why", unknown.id, "--json").data
        queue = shop.look("jobs", "why", elsewhere.id, "--json").data

    assert [one["kind"] for one in task["obstacles"]] == ["task"]
    assert "did you mean 'add'?" in task["obstacles"][0]["text"]
    assert [one["kind"] for one in queue["obstacles"]] == ["queue"]


def test_why_of_a_job_that_is_not_kept_fails(shop: Shop) -> None:
    ran = shop.look("jobs", "why", uuid4())

    assert (ran.code, ran.out) == (1, "")
    assert "it never existed, or was pruned" in ran.err
