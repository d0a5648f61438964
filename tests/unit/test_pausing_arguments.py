"""Which jobs a pause with arguments means."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cherga.rules.pausing import means, write_arguments
from cherga.words.errors import ConfigError

pack = msgspec.msgpack.encode

DEEP = b"\x81\xa4user" + b"\x91" * 100_000 + b"\x07"


def test_the_same_arguments_have_the_same_text() -> None:
    assert write_arguments({"b": 1, "a": "x"}) == write_arguments({"a": "x", "b": 1}) == '{"a":"x","b":1}'


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"x", object(), float("nan"), float("inf")])
def test_only_plain_values_can_be_paused_by(value: object) -> None:
    with pytest.raises(ConfigError, match="argument 'user'"):
        write_arguments({"user": value})


@pytest.mark.parametrize("arguments", [{"user": "\ud800"}, {"\ud800": 1}, {7: 1}, [("user", 7)], "user=7"])
def test_arguments_that_cannot_be_written_down_are_refused(arguments: Any) -> None:
    with pytest.raises(ConfigError, match="expected"):
        write_arguments(arguments)


def test_a_pause_needs_an_argument() -> None:
    with pytest.raises(ConfigError, match="at least one argument"):
        write_arguments({})


@pytest.mark.parametrize(
    ("arguments", "payload", "expected"),
    [
        ({"user": 7}, {"user": 7}, True),
        ({"user": 7}, {"user": 7, "more": [1]}, True),
        ({"user": 7}, {"user": 8}, False),
        ({"user": 7}, {}, False),
        ({"user": 7}, {"user": "7"}, False),
        ({"user": 7}, {"user": 7.0}, True),
        ({"user": 1}, {"user": True}, False),
        ({"user": True}, {"user": 1}, False),
        ({"user": True}, {"user": True}, True),
        ({"user": False}, {"user": 0}, False),
        ({"user": None}, {"user": None}, True),
        ({"user": None}, {}, False),
        ({"user": None}, {"user": 0}, False),
        ({"user": "ü"}, {"user": "ü"}, True),
        ({"user": ""}, {"user": ""}, True),
        ({"user": 2**63}, {"user": 2**63}, True),
        ({"user": -1.5}, {"user": -1.5}, True),
        ({"user": 7, "kind": "a"}, {"user": 7, "kind": "a"}, True),
        ({"user": 7, "kind": "a"}, {"user": 7, "kind": "b"}, False),
        ({"user": 7}, {"user": [7]}, False),
    ],
)
def test_a_job_is_meant_that_has_all_the_arguments(arguments: dict[str, Any], payload: dict[str, Any], expected: bool) -> None:
    assert means(write_arguments(arguments), pack(payload)) is expected


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90", b"\x07", b"\x81\x01\x02", b"\x81\xa1\xff\x01", DEEP])
def test_a_payload_that_cannot_be_read_is_not_meant(payload: bytes) -> None:
    assert not means('{"user":7}', payload)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "7", '{"user":[7]}', "{}"])
def test_arguments_that_cannot_be_read_mean_no_job(text: str) -> None:
    assert not means(text, pack({"user": 7}))
