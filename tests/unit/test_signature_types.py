"""Values of rich types arrive as what they were, where the annotation says what they are."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from cherga import InvalidArguments
from cherga.rules.signature import Signature


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Address:
    street: str
    tags: tuple[str, ...] = ()


@dataclass
class Person:
    name: str
    born: date
    address: Address | None = None
    friends: list[Person] = field(default_factory=list)


@attrs.define
class Parcel:
    weight: float
    inside: list[str] = attrs.Factory(list)


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


class Place(NamedTuple):
    north: float
    east: float


class Options(TypedDict, total=False):
    deep: bool


class Order(BaseModel):
    number: int = Field(gt=0)
    lines: list[str] = []
    placed: datetime | None = None


UserId = NewType("UserId", int)
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
ADA = Person("Ada", date(1815, 12, 10), Address("St James's Square", ("old", "london")), [Person("Mary", date(1780, 12, 26))])

VALUES: list[tuple[Any, Any]] = [
    (bool, True),
    (int, -5),
    (float, 2.5),
    (str, "черга 🧵"),
    (bytes, b"\x00\xff"),
    (None, None),
    (datetime, datetime(2030, 1, 1, 12, 30, 15, 123456, UTC)),
    (datetime, datetime(2030, 1, 1, 12, 30)),  # noqa: DTZ001
    (date, date(1815, 12, 10)),
    (time, time(23, 59, 59, 999999)),
    (timedelta, timedelta(days=3, microseconds=5)),
    (UUID, UUID("01890a5d-ac96-774b-bcce-b302099a8057")),
    (Decimal, Decimal("0.10000000000000000001")),
    (Colour, Colour.BLUE),
    (Level, Level.HIGH),
    (Literal["a", 1], 1),
    (Person, ADA),
    (list[Person], [ADA]),
    (Parcel, Parcel(2.5, ["book"])),
    (Point, Point(1, 2)),
    (Circle | Square, Square(3.0)),
    (Place, Place(50.45, 30.52)),
    (Options, {"deep": True}),
    (Order, Order(number=7, lines=["tea"], placed=datetime(2030, 1, 1, tzinfo=UTC))),
    (list[Order], [Order(number=1)]),
    (UserId, UserId(3)),
    (Percent, 99.5),
    (set[int], {1, 2, 3}),
    (frozenset[str], frozenset({"a"})),
    (tuple[int, str], (1, "x")),
    (tuple[int, ...], (1, 2, 3)),
    (dict[str, Point], {"a": Point(1)}),
    (dict[int, str], {1: "one"}),
    (Mapping[str, int], {"a": 1}),
    (Sequence[int], [1, 2]),
    (Iterable[Point], [Point(1)]),
    (Person | None, None),
    (int | str | None, "x"),
    (Any, {"a": [1, 2.5, "x", None, True, b"y"]}),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=str)
def test_a_value_arrives_as_it_was(kind: Any, value: Any) -> None:
    arrived = passed(kind, value)

    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Point, {"x": "one"}, "Expected `int`, got `str` - at `$.x`"),
        (Person, Person("Ada", "yesterday"), "Invalid RFC3339"),  # type: ignore[arg-type]
        (list[int], [1, 2, "three"], "Expected `int`, got `str` - at `$[2]`"),
        (Colour, "green", "Invalid enum value 'green'"),
        (Literal["a"], "b", "Invalid enum value 'b'"),
        (Percent, 101.0, "Expected `float` <= 100.0"),
        (UUID, "not one", "Invalid UUID"),
        (datetime, "soon", "Invalid RFC3339"),
        (Order, {"number": 0}, "greater than 0"),
        (Iterable[int], ["x"], "Expected `int`, got `str`"),
        (tuple[int, str], (1,), "Expected `array` of length 2"),
        (bool, 1, "Expected `bool`, got `int`"),
        (int, True, "Expected `int`, got `bool`"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        passed(kind, value)

    assert "argument 'value'" in str(caught.value)
    assert words in str(caught.value)


def test_an_aware_time_keeps_its_moment() -> None:
    kyiv = datetime(2030, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))

    assert passed(datetime, kyiv) == kyiv
    assert passed(Any, kyiv) == kyiv


def test_what_a_string_stands_for_may_be_sent_as_the_string() -> None:
    assert passed(UUID, "01890a5d-ac96-774b-bcce-b302099a8057") == UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert passed(Colour, "red") is Colour.RED


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(plain_values, max_size=4), st.dictionaries(st.text(min_size=1, max_size=5), plain_values, max_size=4))
def test_plain_values_arrive_whatever_they_are(args: list[Any], kwargs: dict[str, Any]) -> None:
    def function(*args: Any, **kwargs: Any) -> None: ...

    signature = Signature(function, "task")

    assert signature.unpack(signature.pack(tuple(args), kwargs)) == (tuple(args), kwargs)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_from_the_store_raise_anything_else(data: bytes) -> None:
    signature = Signature(takes_person, "task")

    try:
        signature.unpack(data)
    except (InvalidArguments, msgspec.DecodeError):
        return


def takes_person(person: Person, *, order: Order | None = None) -> None: ...


def passed(kind: Any, value: Any) -> Any:
    """The value as a function gets it whose parameter has this type."""

    def function(value: Any) -> None: ...

    function.__annotations__["value"] = kind
    signature = Signature(function, "task")
    (arrived,), _ = signature.unpack(signature.pack((value,), {}))
    return arrived
