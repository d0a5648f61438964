"""Stored values as text, and text as values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cherga.cli.values import call_text, json_text, printable, printable_lines, read_value, shorten, unpack
from cherga.rules.codec import encode


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("-5", -5), ("true", True), ("null", None), ('"7"', "7"), ("[1, 2]", [1, 2]), ("Ada", "Ada"), ("007", "007")],
)
def test_an_argument_is_json_where_it_can_be_else_text(text: str, value: Any) -> None:
    assert read_value(text) == value


@pytest.mark.parametrize("text", ["[1", "NaN", "1 2", '{"a":', "[" * 100_000])
def test_broken_json_is_text(text: str) -> None:
    assert read_value(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None]}, '{"a": [1, null]}'),
        (datetime(2031, 5, 17, 12, tzinfo=UTC), '"2031-05-17T12:00:00Z"'),
        (b"\x00\xff", '"AP8="'),
        ({1: "one"}, '{"1": "one"}'),
        ({(1, 2): {None: 3}}, '{"(1, 2)": {"None": 3}}'),
        ({"kept": {(1,): [b"x"]}}, '{"kept": {"(1,)": ["eA=="]}}'),
    ],
)
def test_every_stored_value_has_a_json_text(value: Any, text: str) -> None:
    assert json_text(unpack(encode(value))) == text


def test_what_cannot_be_read_is_none() -> None:
    assert unpack(None) is None
    assert unpack(b"\xc1") is None


def test_a_call_shows_its_values_in_order() -> None:
    assert call_text({"user_id": 7, "name": "Ada"}) == '7, "Ada"'
    assert call_text([[7], {"name": "Ada"}]) == '7, "Ada"'
    assert call_text(None) == ""


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\tc\r\nd\x9b\u202e") == r"a\x1b[31mb\tc\r\nd\x9b\u202e"
    assert printable("черга\u00a0— 7 %") == "черга\u00a0— 7 %"
    assert printable_lines("a\n\tb\x1b") == "a\n    b\\x1b"


def test_long_texts_are_cut_with_an_ellipsis() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"
