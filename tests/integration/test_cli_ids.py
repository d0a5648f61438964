"""Ids on the command line: whole or short, and what a shell offers at the Tab key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from click.shell_completion import ShellComplete

from cherga.cli import main, root
from tests.cli_shop import Shop, open_shop

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


def test_several_short_ids_are_looked_up(shop: Shop) -> None:
    assert shop.run("jobs", "cancel", "0197c2f4-5a1b-7e", "0197c2f4-5a1b-7f", "--json").data["cancelled"] == [
        str(ONE),
        str(TWO),
    ]


def test_digits_that_fit_several_jobs_are_answered_with_these(shop: Shop) -> None:
    ran = shop.run("jobs", "show", "0197c2")

    assert ran.code == 2
    assert f"several begin with 0197c2: {TWO} (add, ready), {ONE} (add, ready)" in ran.err


def test_digits_that_fit_no_job_are_answered(shop: Shop) -> None:
    ran = shop.run("jobs", "show", "ffff")

    assert ran.code == 1
    assert "no job whose id begins with ffff is kept" in ran.err


@pytest.mark.parametrize("text", ["", "019", "0197x", "hello", f"{ONE}0", "0" * 33])
def test_what_is_no_id_is_refused(shop: Shop, text: str) -> None:
    ran = shop.run("jobs", "show", text)

    assert ran.code == 2
    assert "expected the id of a job, such as 0197c2f4-" in ran.err
    assert "or at least its first 4 digits" in ran.err


def test_the_id_of_a_new_job_is_given_whole(shop: Shop) -> None:
    assert shop.run("jobs", "enqueue", "add", 1, "--id", "0197c2").code == 2


# --- completion


def offered(words: list[str], begun: str = "") -> list[str]:
    complete = ShellComplete(root, {}, "cherga", "_CHERGA_COMPLETE")
    return [item.value for item in complete.get_completions(words, begun)]


def test_ids_are_completed_newest_first(shop: Shop) -> None:
    assert offered(["jobs", "show", "-u", shop.app.broker_url], "0197") == [str(TWO), str(ONE)]
    assert offered(["-u", shop.app.broker_url, "jobs", "cancel"], "0197c2f4-5a1b-7e") == [str(ONE)]


def test_tasks_and_queues_are_completed(shop: Shop) -> None:
    target = ["-u", shop.app.broker_url]

    assert offered([*target, "jobs", "list", "--task"], "a") == ["add"]
    assert offered([*target, "jobs", "enqueue"], "exp") == ["export"]
    assert offered([*target, "queues", "pause"]) == ["default"]


def test_nothing_is_offered_where_the_application_cannot_be_opened(capsys: pytest.CaptureFixture[str]) -> None:
    assert offered(["jobs", "show", "-A", "not_there_at_all"], "01") == []
    assert offered(["jobs", "show", "-u", "nosuch://x"], "01") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_what_it_needs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_CHERGA_COMPLETE={shell}_complete" in capsys.readouterr().out
