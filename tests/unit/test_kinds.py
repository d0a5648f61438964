"""Whatever an annotation says, a value arrives as what it was, or is refused where it would not."""

from __future__ import annotations

import enum
import sys
from abc import ABC, abstractmethod
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    AnyStr,
    Generic,
    Literal,
    LiteralString,
    NamedTuple,
    NewType,
    ParamSpec,
    TypedDict,
    TypeVar,
    Union,
    Unpack,
    cast,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pytest
from markupsafe import Markup

from cherga import InvalidArguments, TaskError
from cherga.rules.codec import decode, encode
from cherga.rules.hints import remember_place
from cherga.rules.signature import Signature, pack_unbound

if TYPE_CHECKING:
    from decimal import Decimal as Money

T = TypeVar("T")
P = ParamSpec("P")
N = TypeVar("N", int, str)
B = TypeVar("B", bound="Cat")

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
DAY = date(2030, 1, 2)
MOMENT = datetime(2030, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str
    age: int = 1


@dataclass
class Puppy(Dog):
    toy: str = "ball"


@attrs.define
class Box:
    weight: float
    _inside: tuple[int, ...] = ()


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Line(msgspec.Struct, kw_only=True):
    start: Point | UUID
    end: Point


class Place(NamedTuple):
    north: float
    note: str | UUID = ""


class Options(TypedDict, total=False):
    deep: bool
    since: date | datetime


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.StrEnum):
    RED = "red"
    BIG = "big"


class Level(enum.IntEnum):
    LOW = 1


class Planet(enum.Enum):
    EARTH = (5.97, 6.37)
    MARS = (0.64, 3.38)


class Ratio(enum.Enum):
    HALF = 0.5
    NONE = None


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Order:
    number: UUID | str
    day: date
    paid: Money | None = None
    lines: list[Cat | Dog] = field(default_factory=list)


@dataclass
class Sealed:
    """Its constructor does not take what it works out."""

    a: int
    twice: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.twice = self.twice or self.a * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    meta: Any
    of: dict[str, Any] = field(default_factory=dict)


@dataclass
class Tree:
    left: Tree | UUID | None = None
    right: Tree | None = None


@dataclass
class Page(Generic[T]):
    items: list[T]


@dataclass(eq=False)
class Odd:
    """Says of no other that it is equal."""

    a: int


class Upper(str):
    __slots__ = ()


UserId = NewType("UserId", UUID)
Short = Annotated[str, msgspec.Meta(max_length=5)]
NAN = float("nan")

RIGHT: list[tuple[Any, Any]] = [
    # unions of classes
    (Cat | Dog, Cat("Tom")),
    (Cat | Dog, Dog("Rex", 3)),
    (Union[Dog, Cat, None], Cat("Tom")),  # noqa: UP007  (as older code has it)
    (Cat | Dog | None, None),
    (list[Cat | Dog], [Cat("Tom"), Dog("Rex")]),
    (dict[str, Cat | Dog], {"a": Dog("Rex")}),
    (tuple[Cat | Dog, int], (Cat("Tom"), 5)),
    (Cat | Dog | str | int, "Tom"),
    (Cat | dict[str, int], {"name": 1}),
    (Cat | dict[str, int], Cat("Tom")),
    (Cat | Point | Box, Point(1, 2)),
    (Cat | Point | Box, Box(2.5, (1,))),
    (Annotated[Cat | Dog, "a pet"], Dog("Rex")),
    # of what is written as text
    (UUID | str, ID),
    (UUID | str, str(ID)),
    (str | UUID | None, ID),
    (date | datetime, DAY),
    (datetime | date, MOMENT),
    (datetime | date, MOMENT.replace(tzinfo=UTC)),
    (date | str, "2030-01-02"),
    (Decimal | str, Decimal("1.50")),
    (Decimal | float, 1.5),
    (Decimal | float, Decimal("1.50")),
    (time | timedelta, time(3, 4)),
    (time | timedelta, timedelta(days=1, seconds=2)),
    (Colour | str, Colour.RED),
    (Colour | str, "red"),
    (Colour | Size, Size.BIG),
    (Level | int, Level.LOW),
    (Level | int, 7),
    (Literal["a"] | int | UUID, ID),
    (Literal["a", "b"] | str, "c"),
    (bytes | UUID | str, b"x"),
    # of collections
    (set[int] | list[int], {1}),
    (set[int] | list[int], [1]),
    (tuple[int, ...] | list[int], (1, 2)),
    (list[int] | str, "x"),
    (frozenset[str] | str, frozenset({"a"})),
    # classes with such fields, or with names that are only there for type checkers
    (Order, Order(ID, DAY)),
    (Order, Order("7", DAY, Decimal("9.90"), [Cat("Tom"), Dog("Rex")])),
    (list[Order], [Order(ID, DAY)]),
    (Line, Line(start=ID, end=Point(1))),
    (Line, Line(start=Point(2), end=Point(1))),
    (Place, Place(1.5, ID)),
    (Place, Place(1.5, "x")),
    (Options, {"deep": True, "since": DAY}),
    (Options, {"since": MOMENT}),
    (Frozen, Frozen(meta=(1, {DAY: ID}), of={"a": {1, 2}})),
    (Tree, Tree(Tree(ID), Tree())),
    (Sealed, Sealed(2)),
    (Page[Cat | Dog], Page([Cat("Tom"), Dog("Rex")])),
    (Page[Cat | Dog] | None, Page([Cat("Tom"), Dog("Rex")])),
    (Page[Planet] | str, Page([Planet.MARS])),
    # kin of the annotated class
    (Dog, Puppy("Rex", 1, "bone")),
    (list[Dog], [Puppy("Rex", 1, "bone"), Dog("Pat")]),
    (Cat | Dog, Puppy("Rex", 1, "bone")),
    # enums and words the decoder does not know
    (Planet, Planet.MARS),
    (Ratio, Ratio.HALF),
    (Ratio, Ratio.NONE),
    (Planet | None, Planet.EARTH),
    (list[Planet], [Planet.EARTH]),
    (dict[str, Planet], {"a": Planet.EARTH}),
    (Rights, Rights.READ),
    (Rights, Rights.READ | Rights.WRITE),
    (Rights | None, Rights(0)),
    (Rights | str, Rights.READ | Rights.WRITE),
    (Literal[Colour.RED, b"x"], Colour.RED),
    (Literal[Colour.RED, b"x"], b"x"),
    # variables, new types and aliases
    (T, (1, DAY)),
    (N, "x"),
    (AnyStr, b"x"),
    (B, Cat("Tom")),
    (LiteralString, "x"),
    (UserId, UserId(ID)),
    (UserId | str, UserId(ID)),
    (list[T], [DAY]),  # type: ignore[valid-type]
    (object, {1, 2}),
    # no annotation, and those that say nothing
    (Any, (1, 2)),
    (Any, [(1, "x"), [2]]),
    (Any, {"a": DAY, "b": {ID}, "c": (MOMENT, {"d": frozenset({Decimal("1.0")})})}),
    (Any, {DAY: 1, (1, DAY): 2, frozenset({1}): 3}),
    (Any, {1: "a", "1": "b", None: 3, 2.5: 5}),
    (Any, timedelta(days=-1, microseconds=5)),
    (Any, time(1, 2, 3)),
    (Any, Decimal("1E+5")),
    (Any, MOMENT),
    (Any, bytearray(b"x")),
    (list, [DAY, (1,)]),
    (dict, {"a": (1,)}),
    (tuple, (1, (2,))),
    (set, {DAY, (1, 2)}),
    (list[Any], [{1}]),
    (dict[str, Any], {"a": {"b": DAY}}),
    (Mapping[str, Any], {"a": ID}),
    (Sequence[Any], [ID]),
    (Collection[Any], [ID]),
    (tuple[int, Any], (1, DAY)),
    (Any | None, DAY),
    # texts and numbers of other classes
    (Markup, Markup("<b>")),
    (list[Markup], [Markup("<b>")]),
    (Markup | None, Markup("<b>")),
]


@pytest.mark.parametrize(("annotation", "value"), RIGHT, ids=map(str, range(len(RIGHT))))
def test_a_value_arrives_as_it_was(annotation: Any, value: Any) -> None:
    arrived = passed(annotation, value)

    assert arrived == (bytes(value) if isinstance(value, bytearray) else value)
    assert types_in(arrived) == types_in(value)


def test_what_is_equal_to_nothing_arrives_too() -> None:
    assert passed(Odd, Odd(3)).a == 3
    assert passed(list[Odd], [Odd(3)])[0].a == 3
    assert repr(passed(Any, [NAN, (NAN,)])) == "[nan, (nan,)]"


def test_a_subclass_of_text_or_numbers_arrives_as_what_it_is_one_of() -> None:
    for value, kind in ((Markup("<b>"), str), (Upper("X"), str), (Size.BIG, str), (Level.LOW, int), (Big(5), int)):
        arrived = passed(Any, value)
        assert (arrived, type(arrived)) == (value, kind)
        assert type(passed(kind, value)) is kind

    assert passed(Any, OrderedDict(a=(1,))) == {"a": (1,)}
    assert passed(Any, defaultdict(list, a=[1])) == {"a": [1]}
    assert passed(datetime, Later(2030, 1, 2)) == passed(Any, Later(2030, 1, 2)) == datetime(2030, 1, 2)  # noqa: DTZ001


def test_so_does_a_subclass_of_times_and_decimals() -> None:
    for value, kind in ((Clock(3, 4, 5, 6), time), (Price("1.50"), Decimal)):
        for annotation in (Any, kind):
            arrived = passed(annotation, value)
            assert (str(arrived), type(arrived)) == (str(value), kind)


@pytest.mark.parametrize("annotation", [Any, datetime, datetime | None])
def test_a_moment_of_an_hour_that_a_zone_has_twice_arrives(annotation: Any) -> None:
    for fold, expected in ((0, "2030-10-27T00:30:00+00:00"), (1, "2030-10-27T01:30:00+00:00")):
        moment = datetime(2030, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
        assert passed(annotation, moment).isoformat() == expected
        assert passed(list[annotation], [moment])[0].isoformat() == expected


HUGE = 2**53 + 1
"""The first whole number that no float is equal to."""


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (float, HUGE),
        (float | None, HUGE),
        (float | str, HUGE),
        (list[float], [1, HUGE]),
        (dict[str, float], {"a": HUGE}),
        (tuple[float, ...], [HUGE]),
        (Box, Box(HUGE)),
        (Box, {"weight": HUGE}),
        (Annotated[float, "kilograms"], HUGE),
    ],
    ids=str,
)
def test_a_whole_number_is_never_rounded_to_a_float(annotation: Any, value: Any) -> None:
    with pytest.raises(InvalidArguments, match=f"the int {HUGE}.* would arrive as the float"):
        passed(annotation, value)


def test_a_whole_number_that_a_float_is_equal_to_arrives_as_one() -> None:
    assert passed(float, 2**53) == 2.0**53
    assert passed(list[float], [1, NAN])[0] == 1.0


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Dog, {"name": "Rex", "tail": 1}),
        (Dog | None, {"name": "Rex", "tail": 1}),
        (list[Dog], [{"name": "Rex", "tail": 1}]),
        (tuple[Dog, ...], [{"name": "Rex", "tail": 1}]),
        (dict[str, Dog], {"a": {"name": "Rex", "tail": 1}}),
        (Page[Dog], {"items": [{"name": "Rex", "tail": 1}]}),
        (Page[Dog], Page([cast("Dog", {"name": "Rex", "tail": 1})])),
        (Point, {"x": 1, "tail": 1}),
        (Box, {"weight": 1.0, "tail": 1}),
        (Place, {"north": 1.0, "tail": 1}),
    ],
    ids=str,
)
def test_a_key_that_is_no_field_is_not_lost(annotation: Any, value: Any) -> None:
    with pytest.raises(InvalidArguments, match="tail"):
        passed(annotation, value)


def test_the_names_under_which_a_struct_is_written_are_fields() -> None:
    assert passed(Camel, {"kind": "camel", "longName": {"x": 1}}) == Camel(Point(1))

    with pytest.raises(InvalidArguments, match="without 'tail'; the fields of a Point are x, y"):
        passed(Camel, {"longName": {"x": 1, "tail": 1}})


class Camel(msgspec.Struct, rename="camel", tag_field="kind", tag="camel"):
    long_name: Point


def test_what_no_value_stands_for_is_refused() -> None:
    for annotation in (Any, int | msgspec.UnsetType):
        with pytest.raises(InvalidArguments, match="expected a value, got UNSET; leave the argument out"):
            passed(annotation, msgspec.UNSET)

    with pytest.raises(InvalidArguments, match="not C-contiguous"):
        passed(bytes, memoryview(b"abcd")[::2])


class Clock(time):
    pass


class Price(Decimal):
    pass


class Big(int):
    pass


class Later(datetime):
    pass


def test_what_the_annotation_makes_of_a_value_is_no_change() -> None:
    assert passed(float, 10) == 10.0
    assert passed(list[int], (1, 2)) == [1, 2]
    assert passed(Dog, {"name": "Rex"}) == Dog("Rex")
    assert passed(str, ID) == str(ID)
    assert passed(Cat | Dog, {"name": "Rex", "age": 3}) == Dog("Rex", 3)
    assert passed(Cat | Dog, {"name": "Tom"}) == Cat("Tom")
    assert passed(Order, {"number": str(ID), "day": "2030-01-02", "lines": [{"name": "Tom"}]}) == Order(
        str(ID), DAY, None, [Cat("Tom")]
    )
    assert passed(UUID | date, "2030-01-02") == DAY
    assert passed(Planet, "MARS") is Planet.MARS
    assert passed(Tree, {"left": {"left": None}}) == Tree(Tree())


@pytest.mark.parametrize("number", [Decimal("NaN"), Decimal("-sNaN"), float("nan")], ids=str)
def test_what_is_no_number_and_so_equal_to_nothing_arrives(number: Any) -> None:
    assert str(passed(Any, [number])[0]) == str(number)
    assert str(passed(dict[str, Any], {"a": (number, 1)})["a"][0]) == str(number)


def test_a_set_with_what_is_equal_to_nothing_arrives() -> None:
    assert str(passed(Any, {(float("nan"), 1), (Decimal("NaN"), 2)}).pop()[0]).lower() == "nan"


class Spot(NamedTuple):
    x: int


class Abstract(ABC):
    @abstractmethod
    def go(self) -> None: ...


Bound = TypeVar("Bound", bound=Abstract)


@dataclass
class Holder(Generic[Bound]):
    item: Bound


@dataclass
class HolderOfDay(Holder[date]):  # type: ignore[type-var]
    more: int = 1


class Pair(msgspec.Struct, Generic[Bound, T]):
    one: Bound
    two: list[T]


class PairOfDays(Pair[date, T]):  # type: ignore[type-var]
    three: T


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (HolderOfDay | Dog, HolderOfDay(DAY)),
        (PairOfDays[UUID] | Dog, PairOfDays(DAY, [ID], ID)),
        (PairOfDays | Dog, PairOfDays(DAY, [ID], ID)),
    ],
    ids=["dataclass", "struct", "open struct"],
)
def test_what_a_class_names_with_its_generic_base_counts(annotation: Any, value: Any) -> None:
    assert passed(annotation, value) == value


def test_an_object_that_its_own_class_cannot_be_made_of_is_refused_with_the_reason() -> None:
    with pytest.raises(
        InvalidArguments, match=r"expected Holder \| Dog, got a Holder: expected a Abstract, which cannot be stored"
    ):
        passed(Holder | Dog, Holder(DAY))


REFUSED: list[tuple[Any, Any, str]] = [
    (Cat | Dog, 42, "expected Cat | Dog, got the int 42"),
    (Cat | Dog, Box(1.0), "expected Cat | Dog, got a Box"),
    (Cat | Dog, {"age": 3}, "expected Cat | Dog"),
    (UUID | str, 7, "got the int 7"),
    (Dog, Cat("Tom"), "expected a Dog, got a Cat"),
    (Order, {"number": 7, "day": "2030-01-02"}, "got the int 7"),
    (Order, {"number": "7"}, "day"),
    (Planet, 3, "3 is not a valid Planet"),
    (Literal[Colour.RED, b"x"], b"y", "expected one of"),
    (tuple[Cat | Dog, int], (Cat("Tom"),), "expected 2 values, got 1"),
    (dict[str, Cat | Dog], {"a": 1}, "expected Cat | Dog"),
    (list[Cat | Dog], "Tom", "expected a collection"),
    (list[Short], ["too long"], "length <= 5"),
    (Options, {"since": DAY, "depp": 1}, "depp"),
    (Any, Cat("Tom"), "the Cat Cat(name='Tom') would arrive as the dict {'name': 'Tom'}, which is not the same; annotate it"),
    (Any, [Cat("Tom")], "at [0]"),
    (Any, {"pet": {"a": Cat("Tom")}}, "['a']"),
    (Any, Colour.RED, "the Colour <Colour.RED: 'red'> would arrive as the str 'red'"),
    (Any, {Colour.RED}, "the Colour <Colour.RED: 'red'> at [member] would arrive as the str 'red'"),
    (set, {(1, Colour.RED)}, "at [member][1]"),
    (dict, {Colour.RED: 1}, "at [key]"),
    (dict[str, Any], {"a": {(1, Colour.RED): 1}}, "at ['a'][key][1]"),
    (Any, [{Spot(1)}], "an object in a set, or as a key, needs an annotation that names its class"),
    (Any, Place(1.0), "annotate it with its class"),
    (Frozen, Frozen(meta=Cat("Tom")), "at meta"),
    (Any, deque([1]), "a deque cannot be stored"),
    (Any, range(3), "a range cannot be stored"),
    (Any, 1j, "a complex cannot be stored"),
]


@pytest.mark.parametrize(("annotation", "value", "words"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_a_value_that_would_not_arrive_as_it_is_is_refused(annotation: Any, value: Any, words: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        passed(annotation, value)

    assert "argument 'x'" in str(caught.value)
    assert words in str(caught.value)


def test_a_dictionary_that_could_be_several_classes_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="could be several of them; pass the object itself"):
        passed(Dog | Named, {"name": "Rex"})


@dataclass
class Named:
    name: str
    size: int = 0


def test_two_classes_of_one_name_in_a_union_are_refused_at_the_declaration() -> None:
    other: Any = dataclass(type("Cat", (), {"__annotations__": {"lives": int}}))

    with pytest.raises(TaskError, match="cannot be told apart: both are called Cat; rename one of them"):
        passed(Cat | other, Cat("Tom"))


# --- all kinds of parameters


def test_the_rest_and_keywords_arrive_as_they_were_too() -> None:
    def function(a: Cat | Dog, /, *rest: UUID | str, b: Planet = Planet.EARTH, **extra: date | datetime) -> Any:
        return a, rest, b, extra

    args, kwargs = (Dog("Rex"), ID, "x"), {"b": Planet.MARS, "since": DAY, "at": MOMENT}
    assert received(function, args, kwargs) == (args[0], args[1:], Planet.MARS, {"since": DAY, "at": MOMENT})
    assert received(function, (Cat("Tom"),), {}) == (Cat("Tom"), (), Planet.EARTH, {})


def test_the_rest_without_an_annotation_arrives_as_it_was() -> None:
    def function(*args, **kwargs):  # type: ignore[no-untyped-def]
        return args, kwargs

    call = (DAY, (1, {2})), {"when": MOMENT}
    assert received(function, *call) == call


def test_keywords_may_be_a_typed_dictionary_and_the_rest_a_tuple() -> None:
    def function(*args: *tuple[int, date], **kwargs: Unpack[Options]) -> Any:
        return args, kwargs

    call = (1, DAY), {"deep": True, "since": MOMENT}
    assert received(function, *call) == call

    with pytest.raises(InvalidArguments, match="argument 'kwargs'"):
        received(function, (1, DAY), {"deep": 1})


def test_what_a_decorator_passes_on_is_taken_as_it_is() -> None:
    def function(*args: P.args, **kwargs: P.kwargs) -> Any:  # type: ignore[valid-type]
        return args, kwargs

    assert received(function, (DAY,), {"a": (1,)}) == ((DAY,), {"a": (1,)})


# --- classes and names in places of their own


def test_a_local_class_is_found_where_the_task_is_declared() -> None:
    @dataclass
    class Local:
        day: date
        pet: Other | None = None

    @dataclass
    class Other:
        name: str

    def function(x: Local | Other, y: list[Other]) -> Any:
        return x, y

    remember_place(function)

    assert received(function, (Local(DAY, Other("Tom")), [Other("Kit")]), {}) == (Local(DAY, Other("Tom")), [Other("Kit")])


def test_a_name_that_the_function_has_closed_over_is_found() -> None:
    def outer(kind: type) -> Callable[..., Any]:
        def function(x: kind) -> Any:  # type: ignore[valid-type]
            return kind, x

        return function

    assert received(outer(Cat), (Cat("Tom"),), {}) == (Cat, Cat("Tom"))


NEWER = """
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

type Number = UUID | str
type Pair[A, B] = tuple[A, B]
type Json = dict[str, Json] | list[Json] | str | int | None

@dataclass
class Page[T]:
    items: list[T]
    next: Number | None = None

def named(x: Number) -> Number: ...
def pairs(x: list[Pair[int, date]]) -> Any: ...
def nested(x: Json) -> Any: ...
def page(x: Page[UUID | str]) -> Any: ...
def generic[T: (int, UUID)](x: T, *rest: T) -> T: ...
def bound[T: date](x: list[T]) -> T: ...
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 has these annotations")
def test_annotations_of_newer_pythons_are_honoured() -> None:
    place: dict[str, Any] = {"__name__": "newer"}
    sys.modules["newer"] = cast(Any, SimpleNamespace(__dict__=place))

    try:
        exec(NEWER, place)
        page = place["Page"]([ID, "x"], ID)
        cases = {
            "named": ID,
            "pairs": [(1, DAY)],
            "nested": {"a": [{"b": None}, 1]},
            "page": page,
            "generic": ID,
            "bound": [DAY],
        }

        for name, value in cases.items():
            signature = Signature(place[name], "task")
            (arrived, *_), _ = signature.unpack(signature.pack((value,), {}))
            assert (name, arrived) == (name, value)
            assert types_in(arrived) == types_in(value)
    finally:
        del sys.modules["newer"]


# --- senders that do not know the signature


def test_what_was_sent_by_name_arrives_as_the_receiver_says() -> None:
    def function(a: Cat | Dog, b: UUID, c: UUID | str, d: Any, e: date, f: Colour) -> Any:
        return a, b, c, d, e, f

    values = (Dog("Rex"), ID, ID, (1, DAY), DAY, Colour.RED)
    positional, named = Signature(function, "task").unpack(pack_unbound("task", values[:4], {"e": DAY, "f": Colour.RED}))

    assert function(*positional, **named) == values


def test_a_job_of_an_earlier_version_is_still_read() -> None:
    def function(x: UUID | str, day: Any, point: Point, pet: Cat | Dog) -> Any: ...

    payload = encode({"x": str(ID), "day": "2030-01-02", "point": {"x": 1, "y": 2}, "pet": {"name": "Rex", "age": 1}})
    assert Signature(function, "task").unpack(payload)[0] == (str(ID), "2030-01-02", Point(1, 2), Dog("Rex"))


def test_only_classes_that_the_annotation_allows_are_made_of_a_name() -> None:
    payload = Signature(lambda x: None, "task").pack  # nothing of this name is known to the annotation
    assert payload(("x",), {})

    with pytest.raises(InvalidArguments, match=r"expected Cat \| Dog, got a Point"):
        taken(Cat | Dog, Signature(annotated(Point | Cat), "task").pack((Point(1),), {}))


@pytest.mark.parametrize("data", [b"\xc7\x00\x01", b"\xc7\x01\x01\x00", b"\xd4\x05x", b"\xc7\x06\x01\x92\xa4uuid\x01"])
def test_damaged_words_are_refused(data: bytes) -> None:
    payload = b"\x81\xa1x" + data

    for kind in (Any, Cat | Dog, Cat, UUID):
        try:
            taken(kind, payload)
        except (InvalidArguments, msgspec.DecodeError):
            continue


def test_arguments_are_shown_as_plain_data() -> None:
    payload = Signature(annotated(Order), "task").pack((Order(ID, DAY, None, [Dog("Rex")]),), {})

    assert decode(payload)["x"] == {"number": ID, "day": DAY, "paid": None, "lines": [{"name": "Rex", "age": 1}]}


def annotated(annotation: Any) -> Callable[..., Any]:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return function


def taken(annotation: Any, payload: bytes) -> Any:
    (arrived,), _ = Signature(annotated(annotation), "task").unpack(payload)
    return arrived


def passed(annotation: Any, value: Any) -> Any:
    """The value as a function gets it whose parameter has this annotation."""
    return taken(annotation, Signature(annotated(annotation), "task").pack((value,), {}))


def received(function: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any]) -> Any:
    """What the function gets when a worker calls it with these arguments."""
    signature = Signature(function, "task")
    positional, named = signature.unpack(signature.pack(tuple(args), kwargs))
    return function(*positional, **named)


def types_in(value: Any) -> Any:
    """The types of a value and of what it holds."""
    if isinstance(value, dict):
        return type(value), [(types_in(key), types_in(each)) for key, each in value.items()]

    if isinstance(value, list | tuple):
        return type(value), [types_in(each) for each in value]

    held = {} if isinstance(value, str | enum.Enum) else getattr(value, "__dict__", {})
    return bytes if isinstance(value, bytearray) else type(value), [types_in(each) for each in held.values()]
