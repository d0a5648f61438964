"""Which jobs a pause with arguments means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from cherga.rules.codec import encode, written_out
from cherga.rules.pausing import means, same_words, write_arguments
from cherga.words.errors import ConfigError
from cherga.words.shared import PauseScope

pack = msgspec.msgpack.encode

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
DAY = date(2030, 1, 2)
MOMENT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    y: int


DEEP = b"\x81\xa4user" + b"\x91" * 100_000 + b"\x07"


def test_the_same_arguments_have_the_same_text() -> None:
    assert write_arguments({"b": 1, "a": "x"}) == write_arguments({"a": "x", "b": 1}) == '{"a":"x","b":1}'


@pytest.mark.parametrize("value", [object(), [object()], print, 1j, {"a": range(3)}])
def test_only_what_can_be_stored_can_be_paused_by(value: object) -> None:
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
        ({"user": [1, 2]}, {"user": [1, 2.0]}, True),
        ({"user": [1, 2]}, {"user": [2, 1]}, False),
        ({"user": [1]}, {"user": [True]}, False),
        ({"user": {"a": [1], "b": 2}}, {"user": {"b": 2, "a": [1]}}, True),
        ({"user": {"a": 1}}, {"user": {"a": 1, "b": 2}}, False),
        ({"user": {1, 2}}, {"user": [2, 1]}, True),
        ({"user": {1, 2}}, {"user": [1, 3]}, False),
        ({"user": (1, DAY)}, {"user": [1, "2030-01-02"]}, True),
        ({"user": b"x"}, {"user": b"x"}, True),
        ({"user": float("inf")}, {"user": float("inf")}, True),
        ({"user": ID}, {"user": str(ID)}, True),
        ({"user": ID}, {"user": str(ID).upper()}, True),
        ({"user": ID}, {"user": ID.hex}, True),
        ({"user": ID}, {"user": "x"}, False),
        ({"user": str(ID)}, {"user": ID}, True),
        ({"user": DAY}, {"user": "2030-01-02"}, True),
        ({"user": DAY}, {"user": DAY}, True),
        ({"user": "2030-01-02"}, {"user": DAY}, True),
        ({"user": DAY}, {"user": "2030-01-03"}, False),
        ({"user": MOMENT}, {"user": MOMENT}, True),
        ({"user": MOMENT}, {"user": "2030-01-02T05:04:05+02:00"}, True),
        ({"user": MOMENT.replace(tzinfo=None)}, {"user": "2030-01-02T03:04:05"}, True),
        ({"user": Decimal("1.50")}, {"user": "1.5"}, True),
        ({"user": Decimal("1.50")}, {"user": "1.51"}, False),
        ({"user": Colour.RED}, {"user": "red"}, True),
        ({"user": Colour.RED}, {"user": Colour.RED}, True),
        ({"user": timedelta(hours=24)}, {"user": "P1D"}, True),
        ({"user": Point(1, 2)}, {"user": {"x": 1, "y": 2}}, True),
        ({"user": Point(1, 2)}, {"user": {"x": 1, "y": 3}}, False),
    ],
)
def test_a_job_is_meant_that_has_all_the_arguments(arguments: dict[str, Any], payload: dict[str, Any], expected: bool) -> None:
    assert means(write_arguments(arguments), pack(payload)) is expected


@pytest.mark.parametrize("value", [(1, DAY), {DAY: ID}, {ID}, Colour.RED, Point(1, 2), MOMENT, Decimal("1.50"), b"x"])
def test_a_value_that_was_written_out_is_meant_too(value: Any) -> None:
    assert means(write_arguments({"user": value}), encode({"user": written_out(value)}))
    assert not means(write_arguments({"user": [value]}), encode({"user": written_out(value)}))


def test_an_argument_that_was_sent_by_name_is_found_where_it_has_a_name() -> None:
    assert means(write_arguments({"user": 7}), pack([[], {"user": 7}]))
    assert not means(write_arguments({"user": 7}), pack([[7], {}]))


def test_two_pauses_that_read_alike_are_one_for_who_resumes() -> None:
    by_value, by_text, other = (PauseScope(None, "mail", write_arguments({"user": user})) for user in (ID, str(ID), "x"))

    assert same_words(by_value, by_text)
    assert not same_words(by_value, other)
    assert not same_words(by_value, PauseScope("a", "mail", by_value.arguments))
    assert not same_words(by_value, PauseScope(None, "mail"))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90", b"\x07", b"\x81\x01\x02", b"\x81\xa1\xff\x01", DEEP])
def test_a_payload_that_cannot_be_read_is_not_meant(payload: bytes) -> None:
    assert not means('{"user":7}', payload)


UNREADABLE = [
    *("", "nonsense", "[]", "7", '{"user":[7]}', "{}", '{"user":{}}', '{"user":{"a":1,"b":2}}', '{"user":{"set":7}}'),
    *('{"user":{"enum":7}}', '{"user":{"object":["a",{"b":{}}]}}'),
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_arguments_that_cannot_be_read_mean_no_job(text: str) -> None:
    assert not any(means(text, pack({"user": user})) for user in (7, "x", {"b": 1}, None))
