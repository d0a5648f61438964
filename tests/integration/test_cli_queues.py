"""``cherga queues``, ``workers`` and ``prune`` on a real queue file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cherga import JobState
from cherga.testing import wait_until
from cherga.words.shared import PauseScope
from tests.cli_shop import Shop, open_shop


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    with open_shop(tmp_path, capsys) as shop:
        yield shop


def test_queues_are_listed_with_their_jobs_by_state_even_when_they_are_empty(shop: Shop) -> None:
    shop.app.tasks["add"].enqueue_many([(1,), (2,)])
    shop.app.tasks["add"].using(run_in=60).enqueue(3)
    shop.app.add_task("add", 4).cancel()

    assert shop.look("queues", "list").rows == [
        ["default", "2", "0", "1", "0", "0", "0", "1", ""],
        ["exports", "0", "0", "0", "0", "0", "0", "0", ""],
    ]


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(shop: Shop) -> None:
    paused = shop.look("queues", "pause", "default")
    job = shop.app.add_task("add", 1)

    with shop.app.worker():
        shop.app.add_task("export", 1).result(10)
        assert job.refresh().status is JobState.READY
        resumed = shop.look("queues", "resume", "default")
        assert job.result(10) == 2

    assert (paused.rows, resumed.rows) == ([["default", "", "paused", ""]], [["default", "", "resumed", ""]])
    assert (paused.err, resumed.err) == ("", "")


def test_tasks_and_everything_can_be_paused_too(shop: Shop) -> None:
    shop.look("queues", "pause", "--task", "add")
    shop.look("queues", "pause", "exports", "--task", "export")
    shop.look("queues", "pause", "--all")
    listed = {queue["queue"]: queue for queue in shop.look("queues", "list", "--json").data}

    assert set(shop.app.broker.paused()) == {PauseScope(task="add"), PauseScope("exports", "export"), PauseScope()}
    assert all(queue["paused"] for queue in listed.values())
    assert listed["exports"]["paused_tasks"] == ["add", "export"]
    assert "everything is paused" in shop.look("queues", "list").err

    assert shop.look("queues", "resume", "--all").code == 0
    assert shop.app.broker.paused() == []


def test_a_task_is_paused_for_some_arguments_alone(shop: Shop) -> None:
    paused = shop.look("queues", "pause", "--task", "add", "--arg", "a=1")
    held, free = shop.app.add_task("add", 1), shop.app.add_task("add", 2)
    listed = shop.look("queues", "list", "--json")

    with shop.app.worker():
        assert free.result(10) == 3
        assert held.refresh().status is JobState.READY
        assert shop.look("queues", "resume", "--task", "add", "--arg", "a=1").err == ""
        assert held.result(10) == 2

    assert paused.rows == [["", "add", "paused", '{"a":1}']]
    assert listed.data[0]["paused_arguments"] == [{"task": "add", "arguments": {"a": 1}}]
    assert (listed.data[0]["paused"], listed.data[0]["paused_tasks"]) == (False, [])
    assert "task add with a=1 is paused; cherga queues resume --task add --arg a=1" in listed.err


def test_pausing_by_an_argument_that_the_task_does_not_have_offers_the_nearest(shop: Shop) -> None:
    ran = shop.run("queues", "pause", "--task", "export", "--arg", "page=1")

    assert ran.code == 0
    assert "task export has no argument 'page'; did you mean 'pages'?" in ran.err


def test_pausing_a_task_that_nobody_knows_offers_the_nearest(shop: Shop) -> None:
    ran = shop.run("queues", "pause", "--task", "exprot")

    assert ran.code == 0
    assert "no task 'exprot' is known yet; did you mean 'export'?" in ran.err


def test_resuming_says_what_still_holds_the_queue_and_what_was_not_paused(shop: Shop) -> None:
    shop.look("queues", "pause", "--all")
    ran = shop.look("queues", "resume", "default")

    assert "queue default was not paused" in ran.err
    assert "everything is still paused" in ran.err


def test_pausing_a_queue_that_nothing_uses_offers_the_nearest(shop: Shop) -> None:
    ran = shop.look("queues", "pause", "exprts")

    assert ran.code == 0
    assert "no task, job or worker uses queue 'exprts' yet; did you mean 'exports'?" in ran.err
    assert shop.app.broker.paused() == [PauseScope("exprts")]


@pytest.mark.parametrize("args", [("pause",), ("pause", "default", "--all"), ("resume", "--all", "--task", "add")])
def test_a_scope_that_makes_no_sense_is_refused(shop: Shop, args: tuple[str, ...]) -> None:
    ran = shop.look("queues", *args)

    assert ran.code == 2
    assert "expected the names of queues, --task, or --all alone" in ran.err


def test_an_argument_alone_pauses_nothing(shop: Shop) -> None:
    ran = shop.look("queues", "pause", "default", "--arg", "a=1")

    assert ran.code == 2
    assert "expected --arg only together with --task" in ran.err
    assert shop.app.broker.paused() == []


def test_emptying_a_queue_cancels_what_waits_and_leaves_what_runs(shop: Shop) -> None:
    running = shop.app.add_task("wait")

    with shop.app.worker():
        wait_until(lambda: running.refresh().status is JobState.RUNNING, "the job runs")
        shop.look("queues", "pause", "--task", "add")
        waiting = [shop.app.add_task("add", 1), shop.app.tasks["add"].using(run_in=60).enqueue(2)]
        other = shop.app.tasks["add"].using(queue="other").enqueue(3)
        ran = shop.look("queues", "empty", "default", "--yes")

        assert {fields[0] for fields in ran.rows} == {str(job.id) for job in waiting}
        assert {job.refresh().status for job in waiting} == {JobState.CANCELLED}
        assert running.refresh().status is JobState.RUNNING
        assert other.refresh().status is JobState.READY
        running.cancel()


def test_workers_are_listed_while_they_are_alive(shop: Shop) -> None:
    assert shop.look("workers").out == ""

    with shop.app.worker(name="box", queues=("default",), threads=3, concurrency=4):
        (fields,) = wait_until(lambda: shop.look("workers").rows, "the worker has registered")
        (record,) = shop.look("workers", "--json").data

    assert (fields[0], fields[3], fields[5]) == ("box", "0", "default")
    assert (record["worker"], record["queues"], record["running"]) == ("box", ["default"], 0)
    assert 0 < record["lease_ends_in"] <= 30
    assert shop.look("workers", "--json").data == []


def test_prune_deletes_what_is_over_its_time_and_says_how_many(shop: Shop) -> None:
    short, long = shop.app.tasks["add"].using(result_ttl=0.05).enqueue(1), shop.app.tasks["add"].enqueue(2)

    with shop.app.worker():
        assert (short.result(10), long.result(10)) == (2, 3)

    pruned = wait_until(lambda: shop.look("prune", "--json").data["pruned"], "the first result's time is over")

    assert pruned == 1
    assert (shop.app.get(short.id), shop.app.get(long.id)) == (None, long)
    assert shop.look("prune").out == "0\n"
