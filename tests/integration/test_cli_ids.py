"""Ids on the command line: whole or short, and what a shell offers at the Tab key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from click.shell_completion import ShellComplete

from cherga.cli import main, root
from tests.cli_shop import FACTORY, Shop, open_shop

ONE = UUID("0197c2f4-5a1b-7e30-8c4d-1f2e3d4c5b6a")
TWO = UUID("0197c2f4-5a1b-7fff-8c4d-1f2e3d4c5b6a")


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    with open_shop(tmp_path, capsys) as shop:
        for id in (ONE, TWO):
            shop.app.tasks["add"].using(id=id).enqueue(7)

        yield shop


@pytest.mark.parametrize("text", [str(ONE), ONE.hex, "0197c2f4-5a1b-7e", "0197C2F45A1B7E3", f" {str(ONE)[:20]} "])
def test_as_few_digits_as_tell_the_job_are_enough(shop: Shop, text: str) -> None:
    assert shop.run("jobs", "show", text, "--json").data["id"] == str(ONE)


@pytest.fixture
def pair(shop: Shop) -> tuple[UUID, UUID]:
    """Two jobs of one moment: their ids begin alike."""
    ids = UUID("01a22ee5-dc2c-76af-9c44-f0bac7818cd6"), UUID("01a22ee5-dc2c-76af-9c44-f0bac70197c2")
    shop.app.tasks["add"].using(id=ids[0]).enqueue(7)
    shop.app.tasks["add"].using(id=ids[1]).enqueue(8)
    return ids


@pytest.mark.parametrize("text", ["8cd6", "…18cd6", "...c7818cd6", "9c44-f0bac7818cd6", "F0BAC7818CD6"])
def test_the_last_digits_will_do_too(shop: Shop, pair: tuple[UUID, UUID], text: str) -> None:
    assert shop.run("jobs", "show", text, "--json").data["id"] == str(pair[0])


def test_an_ellipsis_says_that_an_id_ends_with_what_another_begins_with(shop: Shop, pair: tuple[UUID, UUID]) -> None:
    assert shop.run("jobs", "show", "…0197c2", "--json").data["id"] == str(pair[1])
    assert "several begin with 0197c2" in shop.run("jobs", "show", "0197c2").err
    assert "no job whose id ends with 01a2 is kept" in shop.run("jobs", "show", "…01a2").err


def test_digits_that_several_ids_end_with_are_answered_with_these(shop: Shop) -> None:
    ran = shop.run("jobs", "show", "5b6a")

    assert ran.code == 2
    assert f"several end with 5b6a: {TWO} (add, ready), {ONE} (add, ready) (see" in ran.err


def test_several_short_ids_are_looked_up(shop: Shop) -> None:
    assert shop.run("jobs", "cancel", "0197c2f4-5a1b-7e", "0197c2f4-5a1b-7f", "--json").data["cancelled"] == [
        str(ONE),
        str(TWO),
    ]


def test_digits_that_fit_several_jobs_are_answered_with_these(shop: Shop) -> None:
    ran = shop.run("jobs", "show", "0197c2")

    assert ran.code == 2
    assert f"several begin with 0197c2: {TWO} (add, ready), {ONE} (add, ready); the last digits of an id will do" in ran.err


def test_digits_that_fit_no_job_are_answered(shop: Shop) -> None:
    ran = shop.run("jobs", "show", "ffff")

    assert ran.code == 1
    assert "no job whose id begins or ends with ffff is kept" in ran.err


@pytest.mark.parametrize("text", ["", "019", "0197x", "hello", f"{ONE}0", "0" * 33])
def test_what_is_no_id_is_refused(shop: Shop, text: str) -> None:
    ran = shop.run("jobs", "show", text)

    assert ran.code == 2
    assert "expected the id of a job, such as 0197c2f4-" in ran.err
    assert "or at least its first or last 4 digits" in ran.err


def test_the_id_of_a_new_job_is_given_whole(shop: Shop) -> None:
    assert shop.run("jobs", "enqueue", "add", 1, "--id", "0197c2").code == 2


# --- completion


def offered(words: list[str], begun: str = "") -> list[str]:
    complete = ShellComplete(root, {}, "cherga", "_CHERGA_COMPLETE")
    return [item.value for item in complete.get_completions(words, begun)]


def test_ids_are_completed_newest_first(shop: Shop) -> None:
    assert offered(["jobs", "show", "-u", shop.app.broker_url], "0197") == [str(TWO), str(ONE)]
    assert offered(["-u", shop.app.broker_url, "jobs", "cancel"], "0197c2f4-5a1b-7e") == [str(ONE)]


def test_ids_are_completed_from_their_ends(shop: Shop, pair: tuple[UUID, UUID]) -> None:
    assert offered(["jobs", "show", "-u", shop.app.broker_url], "8cd6") == [str(pair[0])]
    assert offered(["jobs", "show", "-u", shop.app.broker_url], "…8cd6") == [str(pair[0])]


def test_tasks_and_queues_are_completed(shop: Shop) -> None:
    target = ["-u", shop.app.broker_url]

    assert offered([*target, "jobs", "list", "--task"], "a") == ["add"]
    assert offered([*target, "jobs", "enqueue"], "exp") == ["export"]
    assert offered([*target, "queues", "pause"]) == ["default"]


def test_schedules_arguments_and_zones_are_completed(shop: Shop) -> None:
    target = ["-u", shop.app.broker_url]
    shop.app.schedule("nightly-export", "export", (7,), cron="0 3 * * *")

    for verb in ("pause", "resume", "run", "delete", "change"):
        assert offered([*target, "schedules", verb], "ni") == ["nightly-export"]

    assert offered([*target, "schedules", "add", "x"], "ex") == ["export"]
    assert offered([*target, "schedules", "change", "x", "--timezone"], "Europe/Ky") == ["Europe/Kyiv"]
    assert offered(["worker", "-u", shop.app.broker_url, "-q"], "de") == ["default"]

    with_code = ["-A", FACTORY, *target]
    assert offered([*with_code, "jobs", "enqueue", "add", "--arg"]) == ["a=", "b="]
    assert offered([*with_code, "queues", "pause", "--task", "export", "--arg"], "p") == ["pages="]
    assert offered([*target, "jobs", "enqueue", "add", "--arg"]) == []


@pytest.mark.parametrize("words", [["jbos", "list"], ["jobs", "shwo"], ["schedules", "show"]])
def test_a_slip_on_the_line_is_no_error_while_it_is_typed(words: list[str]) -> None:
    assert offered(words, "x") == []


def test_nothing_is_offered_where_the_application_cannot_be_opened(capsys: pytest.CaptureFixture[str]) -> None:
    assert offered(["jobs", "show", "-A", "not_there_at_all"], "01") == []
    assert offered(["jobs", "show", "-u", "nosuch://x"], "01") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_what_it_needs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_CHERGA_COMPLETE={shell}_complete" in capsys.readouterr().out
