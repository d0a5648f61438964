"""What crosses the wire: a closed set of types, and nothing that a name in the data could bring back to life."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from cherga import InvalidArguments, PayloadTooLarge
from cherga.rules.annotations import decoder
from cherga.rules.codec import ENCODE_ERRORS, check_size, decode, encode, encode_argument


class Model(BaseModel):
    name: str
    when: datetime


class Proxy:
    """Stands for something that is not there now, as a LocalProxy outside its context does."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of application context")


class Plain:
    """Knows nothing of being stored."""


def test_plain_values_come_back() -> None:
    value = {"a": [1, -2, 2.5, "x", None, True, b"\x00"], "when": datetime(2030, 1, 1, tzinfo=UTC)}

    assert decode(encode(value)) == value


def test_a_pydantic_model_goes_as_plain_data_and_comes_back_by_its_type() -> None:
    model = Model(name="Ada", when=datetime(2030, 1, 1, tzinfo=UTC))

    assert decode(encode(model)) == {"name": "Ada", "when": datetime(2030, 1, 1, tzinfo=UTC)}
    assert decoder(Model).decode(encode(model)) == model


UNSTORABLE = {
    "object": Plain(),
    "class": Plain,
    "model class": Model,
    "proxy": Proxy(),
    "function": print,
    "2**70": 2**70,
    "half a character": "\ud83d",
    "object in a set": {1, Plain()},
}


@pytest.mark.parametrize("value", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_what_cannot_be_stored_raises_one_of_the_named_errors(value: Any) -> None:
    with pytest.raises(ENCODE_ERRORS):
        encode(value)


def test_the_type_that_cannot_be_stored_is_named() -> None:
    with pytest.raises(TypeError, match="a Plain cannot be stored in a job; pass its id or plain data instead"):
        encode([Plain()])

    with pytest.raises(InvalidArguments, match="argument 'x' cannot be encoded: a Plain"):
        encode_argument(Plain(), "argument 'x'")


def test_a_type_that_cannot_be_stored_is_not_made_from_data() -> None:
    with pytest.raises(msgspec.ValidationError, match="expected a Plain, which cannot be stored in a job"):
        decoder(Plain).decode(encode({"__class__": "Plain"}))


def test_the_size_is_limited_with_a_way_out() -> None:
    assert check_size(b"12345", 5, "the result") == b"12345"

    with pytest.raises(
        PayloadTooLarge, match="the result: expected at most 5 bytes encoded, got 6; store large data elsewhere"
    ):
        check_size(b"123456", 5, "the result")
