"""What limits and pauses are called, and the command lines that name them."""

from __future__ import annotations

import shlex
from itertools import pairwise

import pytest

from cherga.cli.calls import read_named
from cherga.rules.describe import describe_limit, describe_scope, limit_options, scope_arguments, scope_options
from cherga.rules.pausing import write_arguments
from cherga.words.shared import PauseScope


@pytest.mark.parametrize(
    ("name", "described", "options"),
    [
        ("queue:mail", "queue mail", "--queue mail"),
        ("task:export", "task export", "--task export"),
        ("key:export", "task export, each key", "--task export --key '*'"),
        ("key:export|7", "task export, key 7", "--task export --key 7"),
        ("key:app:export|a|b c", "task app:export, key a|b c", "--task app:export --key 'a|b c'"),
        ("whatever", "whatever", ""),
    ],
)
def test_a_limit_is_named_for_people_and_for_the_command_line(name: str, described: str, options: str) -> None:
    assert describe_limit(name) == described
    assert limit_options(name) == options


@pytest.mark.parametrize(
    "arguments",
    [{"user_id": 7}, {"user_id": "7"}, {"a": None, "b": True, "c": 1.5}, {"words": "it's two words"}, {"text": "null"}],
)
def test_the_command_line_of_a_pause_says_the_same_arguments_again(arguments: dict[str, object]) -> None:
    scope = PauseScope(task="send", arguments=write_arguments(arguments))
    words = shlex.split(scope_options(scope))
    named = [word for before, word in pairwise(words) if before == "--arg"]

    assert read_named(named) == arguments == scope_arguments(scope)


def test_a_pause_whose_arguments_cannot_be_read_is_described_all_the_same() -> None:
    assert describe_scope(PauseScope(task="send", arguments="{")) == "task send"
