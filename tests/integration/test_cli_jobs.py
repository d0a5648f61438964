"""``cherga jobs``: what people do with jobs from a shell, on a real queue file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from cherga import ConfigError, JobState, group
from cherga.testing import wait_until
from tests.cli_shop import Shop, open_shop


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    with open_shop(tmp_path, capsys) as shop:
        yield shop


# --- enqueue


def test_an_enqueued_job_is_told_by_its_id_alone(shop: Shop) -> None:
    ran = shop.run("jobs", "enqueue", "add", 7)

    assert ran.code == 0
    job = shop.app.get(UUID(ran.out.strip()))
    assert job is not None
    assert (job.task_name, job.arguments) == ("add", {"a": 7, "b": 1})


def test_options_say_when_and_where_and_for_whom(shop: Shop) -> None:
    wish = ("--in", "2h", "--priority", 9, "--queue", "other", "--owner", "user:7", "--description", "Adding…", "--id", uuid4())
    record = shop.run("jobs", "enqueue", "add", "--arg", "b=3", "--arg", "a=2", *wish, "--json").data

    assert record["id"] == str(wish[-1])
    assert record["state"] == "scheduled"
    assert (record["queue"], record["priority"], record["owner"], record["description"]) == ("other", 9, "user:7", "Adding…")
    assert record["arguments"] == {"a": 2, "b": 3}


def test_arguments_that_do_not_fit_are_refused_and_named(shop: Shop) -> None:
    ran = shop.run("jobs", "enqueue", "add", "seven")

    assert ran.code == 2
    assert ran.err.startswith("cherga: task add(")
    assert "argument 'a': Expected `int`, got `str`" in ran.err
    assert ran.err.count("\n") == 1
    assert shop.app.jobs() == []


def test_without_the_code_a_published_task_is_enqueued_with_its_options(shop: Shop) -> None:
    ran = shop.look("jobs", "enqueue", "export", "--arg", "pages=3", "--unique", "one")
    (job,) = shop.app.jobs()

    assert (ran.code, ran.err) == (0, "")
    assert (job.queue, job.tags, job.arguments) == ("exports", ("nightly",), [[], {"pages": 3}])
    assert job.row.unique is not None
    assert job.row.unique.key == "one"


@pytest.mark.parametrize("way", ["run", "look"])
def test_an_unknown_task_offers_the_nearest_and_is_stored_only_by_force(shop: Shop, way: str) -> None:
    call = getattr(shop, way)

    assert call("jobs", "enqueue", "exprt", 3).code == 2
    assert "unknown task 'exprt'; did you mean 'export'?" in call("jobs", "enqueue", "exprt", 3).err
    assert shop.app.jobs() == []
    assert call("jobs", "enqueue", "exprt", 3, "--force").code == 0
    assert [job.task_name for job in shop.app.jobs()] == ["exprt"]


def test_a_unique_key_that_is_held_names_the_holder(shop: Shop) -> None:
    first = shop.run("jobs", "enqueue", "add", 1, "--unique", "k", "--json").data
    second = shop.run("jobs", "enqueue", "add", 2, "--unique", "k", "--json").data

    assert (first["existing"], second["existing"]) == (False, True)
    assert second["id"] == first["id"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--in", "soon"), "expected seconds or a number with s, m, h or d"),
        (("--at", "soon"), "expected a time such as"),
        (("--in", 5, "--at", "2031-05-17T12:00"), "expected --in or --at, got both"),
        (("--arg", "b"), "expected --arg as KEY=VALUE, got 'b'"),
        (("--arg", "b=1", "--arg", "b=2"), "expected each argument once, got b 2 times"),
        (("--priority", 101), "101 is not in the range"),
        (("--timeout", 5), "expected --timeout only together with --wait"),
        (("--queue", "a b"), "expected queue to be 1 to 200 letters"),
    ],
)
def test_a_wrong_option_is_one_line_that_says_what_was_expected(shop: Shop, args: tuple[object, ...], words: str) -> None:
    ran = shop.run("jobs", "enqueue", "add", 1, *args)

    assert ran.code in {2, 5}
    assert ran.err.startswith("cherga: ")
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_a_job_can_be_waited_for(shop: Shop) -> None:
    with shop.app.worker():
        good = shop.run("jobs", "enqueue", "export", 3, "--wait")
        bad = shop.run("jobs", "enqueue", "fail", "no mail server", "--wait")

    assert good.code == 0
    assert good.rows[0][::2] == ["job", "export"]
    assert [fields[1] for fields in good.rows if fields[0] == "log"] == ["page 1", "page 2", "page 3"]
    assert ["progress", "100.0", "3", "3", "reading"] in good.rows
    assert good.rows[-1] == ["succeeded", good.rows[0][1], "", '{"pages": 3}']
    assert bad.code == 1
    assert bad.rows[-1] == ["failed", bad.rows[0][1], "error", "ConnectionError: no mail server"]


def test_a_wait_ends_with_8_when_its_time_is_over_and_the_job_goes_on(shop: Shop) -> None:
    ran = shop.run("jobs", "enqueue", "add", 1, "--wait", "--timeout", "0.05")

    assert ran.code == 8
    assert "has not ended within 0.05 seconds; it goes on" in ran.err
    assert [job.status for job in shop.app.jobs()] == [JobState.READY]


# --- list and show


def test_a_list_has_a_line_of_fields_for_each_job_newest_first(shop: Shop) -> None:
    jobs = [shop.app.add_task("add", n) for n in range(3)]
    ran = shop.look("jobs", "list")

    assert [fields[:4] for fields in ran.rows] == [[str(job.id), "ready", "add", "default"] for job in reversed(jobs)]
    assert ran.err == ""


def test_a_list_is_filtered_and_paged(shop: Shop) -> None:
    jobs = [shop.app.add_task("add", n) for n in range(5)]
    shop.app.add_task("fail", "x")
    jobs[0].cancel()

    def ids(*args: object) -> list[str]:
        return [fields[0] for fields in shop.look("jobs", "list", *args).rows]

    assert ids("--task", "add", "--state", "cancelled") == [str(jobs[0].id)]
    assert ids("--task", "add", "--unfinished", "-n", 2) == [str(jobs[4].id), str(jobs[3].id)]
    assert ids("--task", "add", "--before", jobs[3].id, "-n", 2) == [str(jobs[2].id), str(jobs[1].id)]
    assert len(ids("--limit", 0)) == 6
    assert ids("--owner", "nobody") == []


def test_a_list_that_was_cut_says_where_it_goes_on(shop: Shop) -> None:
    jobs = [shop.app.add_task("add", n) for n in range(2)]

    assert shop.look("jobs", "list", "-n", 1).err == f"cherga: more: --before {jobs[1].id}, or --limit 0 for all\n"
    assert shop.look("jobs", "list", "-n", 2).err == ""


def test_show_tells_everything_as_lines_and_as_json(shop: Shop) -> None:
    job = shop.app.tasks["export"].using(owner="user:7").enqueue(2)

    with shop.app.worker():
        job.result(10)

    lines = {fields[0]: fields[1] for fields in shop.look("jobs", "show", job.id).rows}
    record = shop.look("jobs", "show", job.id, "--json").data

    assert lines["task"] == "export"
    assert lines["state"] == "succeeded"
    assert lines["arguments.pages"] == "2"
    assert lines["progress"].startswith("100 %  2 of 2")
    assert lines["result"] == '{"pages": 2}'
    assert lines["meta.file"] == '"posts.json"'
    assert (record["state"], record["result"], record["meta"], record["owner"]) == (
        "succeeded",
        {"pages": 2},
        {"file": "posts.json"},
        "user:7",
    )
    assert [attempt["number"] for attempt in record["attempts"]] == [1]
    assert record["finished_at"].endswith("Z")


def test_a_group_and_its_members_are_found_from_one_another(shop: Shop) -> None:
    add, fail = shop.app.tasks["add"], shop.app.tasks["fail"]
    job = group([add.s(1), add.s(2), fail.s("no")], policy="ended").enqueue()

    with shop.app.worker():
        job.await_end(10)

    assert "members\t2 succeeded, 1 failed\n" in shop.run("jobs", "show", job.id).out
    assert shop.run("jobs", "show", job.id, "--json").data["children"] == {"succeeded": 2, "failed": 1}

    members = shop.run("jobs", "list", "--parent", job.id, "--json").data
    assert [member["task"] for member in members] == ["fail", "add", "add"]
    assert f"parent\t{job.id}\n" in shop.run("jobs", "show", members[0]["id"]).out
    assert "members" not in shop.run("jobs", "show", members[0]["id"]).out


def test_show_of_a_failed_job_has_error_and_traceback(shop: Shop) -> None:
    job = shop.app.add_task("fail", "no mail server")

    with shop.app.worker():
        wait_until(lambda: job.refresh().status.final, "the job has failed")

    ran = shop.look("jobs", "show", job.id)

    assert ["traceback", "ConnectionError: no mail server"] in ran.rows
    assert shop.look("jobs", "show", job.id, "--json").data["error"]["type"] == "ConnectionError"


@pytest.mark.parametrize("command", ["show", "watch", "retry", "cancel"])
def test_a_job_that_is_not_kept_and_an_id_that_is_none_are_told_apart(shop: Shop, command: str) -> None:
    missing = shop.look("jobs", command, uuid4())
    wrong = shop.look("jobs", command, "seven")

    assert missing.code == 1
    assert "it never existed, or was pruned" in missing.err
    assert wrong.code == 2
    assert "expected the id of a job, such as" in wrong.err


# --- watch


def test_watching_as_json_is_a_line_for_each_update_and_one_for_the_end(shop: Shop) -> None:
    job = shop.app.add_task("export", 2)

    with shop.app.worker():
        ran = shop.look("jobs", "watch", job.id, "--json")

    *updates, end = ran.documents
    assert ran.code == 0
    assert {update["event"] for update in updates} == {"update"}
    assert [line for update in updates for line in update["logs"]] == ["page 1", "page 2"]
    assert updates[-1]["final"] is True
    assert (end["event"], end["state"], end["result"]) == ("end", "succeeded", {"pages": 2})


def test_watching_a_cancelled_job_ends_with_1_and_its_message(shop: Shop) -> None:
    job = shop.app.add_task("add", 1)
    job.cancel("not today")
    ran = shop.look("jobs", "watch", job.id)

    assert ran.code == 1
    assert ran.rows[-1] == ["cancelled", str(job.id), "asked", "not today"]


# --- retry and cancel


def test_named_jobs_are_cancelled_and_retried(shop: Shop) -> None:
    first, second = shop.app.add_task("add", 1), shop.app.add_task("add", 2)

    cancelled = shop.look("jobs", "cancel", first.id, second.id, first.id, "-m", "not today")
    assert (cancelled.code, cancelled.rows) == (0, [[str(first.id), "cancelled"], [str(second.id), "cancelled"]])
    assert first.refresh().message == "not today"

    again = shop.look("jobs", "cancel", first.id)
    assert again.code == 1
    assert "expected it to be scheduled, ready, blocked or running, it is cancelled" in again.err

    assert shop.look("jobs", "retry", first.id, "--json").data == {"retried": [str(first.id)], "left": []}
    assert first.refresh().status is JobState.READY


def test_a_group_is_cancelled_with_its_members_and_not_run_again(shop: Shop) -> None:
    add = shop.app.tasks["add"]
    beside = add.enqueue(3)
    job = group(add.s(1), add.s(2)).enqueue()

    assert shop.look("jobs", "cancel", beside.id, job.id).rows == [[str(beside.id), "cancelled"], [str(job.id), "cancelled"]]
    assert {each.status for each in shop.app.jobs()} == {JobState.CANCELLED}

    again = shop.look("jobs", "retry", job.id)
    assert again.code == 1
    assert f"it stands for a group, which is not run again; retry its members: cherga jobs list --parent {job.id}" in again.err


def test_the_application_hears_of_jobs_that_are_cancelled_before_they_ran(shop: Shop) -> None:
    first, second = shop.app.add_task("add", 1), shop.app.add_task("add", 2)

    named = shop.look("jobs", "cancel", first.id, "-A", "tests.cli_shop:make_talking_app")
    matching = shop.look("jobs", "cancel", "--task", "add", "--yes", "-A", "tests.cli_shop:make_talking_app")

    assert f"heard of {first.id}" in named.out
    assert f"heard of {second.id}" in matching.out
    assert str(first.id) not in matching.out


def test_a_running_job_is_asked_to_stop(shop: Shop) -> None:
    job = shop.app.add_task("wait")

    with shop.app.worker():
        wait_until(lambda: job.refresh().status is JobState.RUNNING, "the job runs")
        ran = shop.look("jobs", "cancel", job.id)
        wait_until(lambda: job.refresh().status is JobState.CANCELLED, "the job has stopped")

    assert ran.rows == [[str(job.id), "stopping"]]


def test_one_job_that_cannot_be_moved_holds_up_no_other(shop: Shop) -> None:
    ready, missing = shop.app.add_task("add", 1), uuid4()
    ran = shop.look("jobs", "cancel", missing, ready.id, "--json")

    assert ran.code == 1
    assert ran.data == {"cancelled": [str(ready.id)], "stopping": [], "left": []}
    assert f"no job {missing} is kept" in ran.err


def test_all_jobs_that_match_are_moved_page_by_page(shop: Shop) -> None:
    shop.app.tasks["add"].enqueue_many([(n,) for n in range(1200)])
    other = shop.app.add_task("fail", "x")

    assert len(shop.look("jobs", "cancel", "--task", "add", "--yes", "--json").data["cancelled"]) == 1200
    assert other.refresh().status is JobState.READY
    assert len(shop.look("jobs", "retry", "--task", "add", "--state", "cancelled", "--yes").rows) == 1200
    assert {job.status for job in shop.app.jobs(task="add", limit=2000)} == {JobState.READY}


def test_without_a_state_a_filter_means_failed_jobs_to_retry_and_unfinished_ones_to_cancel(shop: Shop) -> None:
    failed, cancelled = shop.app.add_task("fail", "a"), shop.app.add_task("fail", "b")
    cancelled.cancel()

    with shop.app.worker():
        wait_until(lambda: failed.refresh().status.final, "the job has failed")

    ready = shop.app.add_task("fail", "c")

    assert shop.look("jobs", "cancel", "--task", "fail", "--yes", "--json").data["cancelled"] == [str(ready.id)]
    assert shop.look("jobs", "retry", "--task", "fail", "--yes", "--json").data["retried"] == [str(failed.id)]


def test_many_jobs_are_moved_only_with_a_yes(shop: Shop) -> None:
    job = shop.app.add_task("add", 1)
    ran = shop.look("jobs", "cancel", "--queue", "default")

    assert ran.code == 2
    assert "expected --yes, because nobody can be asked here" in ran.err
    assert job.refresh().status is JobState.READY


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("retry",), "expected ids, or which jobs with --task, --queue, --state, --owner or --parent; got neither"),
        (("retry", uuid4(), "--task", "add"), "got both"),
        (("retry", "--state", "running"), "expected --state to be scheduled, succeeded, failed or cancelled, got running"),
        (("cancel", "--state", "failed"), "expected --state to be scheduled, ready, blocked or running, got failed"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(shop: Shop, args: tuple[object, ...], words: str) -> None:
    ran = shop.look("jobs", *args)

    assert ran.code == 2
    assert words in ran.err


# --- logs


def test_log_lines_are_printed_oldest_first(shop: Shop) -> None:
    job = shop.app.tasks["export"].enqueue(3)

    with shop.app.worker():
        job.result(timeout=20)

    assert shop.run("jobs", "logs", job.id).out == "page 1\npage 2\npage 3\n"
    assert shop.look("jobs", "logs", str(job.id)[:23], "--follow").out == "page 1\npage 2\npage 3\n"
    assert shop.look("jobs", "logs", job.id, "--json").documents[0] == {"job": str(job.id), "log": "page 1"}


def test_more_lines_than_one_look_brings_are_all_printed(shop: Shop) -> None:
    job = shop.app.tasks["export"].enqueue(250)

    with shop.app.worker():
        job.result(timeout=20)

    assert len(shop.run("jobs", "logs", job.id).rows) == 250


def test_a_job_that_told_nothing_is_said(shop: Shop) -> None:
    job = shop.app.tasks["add"].enqueue(1)
    ran = shop.run("jobs", "logs", job.id)

    assert (ran.code, ran.out) == (0, "")
    assert "has told nothing; a task tells with ctx.log(...)" in ran.err


@pytest.mark.parametrize(
    "command", [("jobs", "list"), ("queues", "list"), ("workers",), ("limits", "list"), ("schedules", "list")]
)
@pytest.mark.parametrize("way", [(), ("--json",)])
def test_only_a_terminal_is_written_over(shop: Shop, command: tuple[str, ...], way: tuple[str, ...]) -> None:
    ran = shop.run(*command, "--watch", *way)

    assert ran.code == 2
    assert "expected a terminal for --watch" in ran.err


# --- slips of the pen


@pytest.mark.parametrize(
    ("word", "meant"),
    [("runing", "running"), ("queued", "ready"), ("STARTED", "running"), ("success", "succeeded"), ("canceled", "cancelled")],
)
def test_a_state_that_is_none_is_answered_with_the_one_that_is_meant(shop: Shop, word: str, meant: str) -> None:
    ran = shop.run("jobs", "list", "--state", word)

    assert ran.code == 2
    assert f"unknown state {word.lower()!r}; did you mean {meant!r}? (see cherga jobs list --help)" in ran.err

    with pytest.raises(ConfigError, match=f"unknown state '{word}'; did you mean '{meant}'"):
        shop.app.jobs(states=[word])


def test_a_state_alone_is_as_good_as_a_list_of_one(shop: Shop) -> None:
    job = shop.app.add_task("add", 1)

    assert shop.app.jobs(states="ready") == shop.app.jobs(states=JobState.READY) == [job]
    assert shop.app.jobs(states="running") == []


def test_a_list_without_jobs_says_when_a_name_may_be_a_slip(shop: Shop) -> None:
    shop.app.add_task("add", 1)
    task, queue = "no task 'expotr' is known; did you mean 'export'?", "uses queue 'defualt'; did you mean 'default'?"

    assert task in shop.run("jobs", "list", "--task", "expotr").err
    assert task in shop.look("jobs", "list", "--task", "expotr").err
    assert task in shop.look("jobs", "cancel", "--task", "expotr", "--yes").err
    assert queue in shop.run("jobs", "list", "--queue", "defualt", "--json").err
    assert shop.run("jobs", "list", "--task", "export").err == ""
    assert shop.run("jobs", "list", "--task", "cherga.group").err == ""


def test_an_argument_by_name_needs_its_option(shop: Shop) -> None:
    ran = shop.run("jobs", "enqueue", "add", "a=3")

    assert ran.code == 2
    assert "expected --arg a=3 for the argument a, got 'a=3' (as a text: '\"a=3\"')" in ran.err
    assert shop.run("jobs", "enqueue", "fail", '"words=3"').code == 0
    assert shop.run("jobs", "enqueue", "fail", "x=3").code == 0
    assert {job.arguments["words"] for job in shop.app.jobs(task="fail")} == {"words=3", "x=3"}
