"""Models of pydantic arrive, and come back, as they were."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, SecretBytes, SecretStr, computed_field

from cherga import InvalidArguments
from cherga.rules.codec import decode, encode
from cherga.rules.results import Results
from cherga.rules.signature import Signature

T = TypeVar("T")
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


class Alias(BaseModel):
    user_id: int = Field(alias="userId")
    other: int = Field(0, validation_alias=pydantic.AliasChoices("first", "second"), serialization_alias="third")


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.title().replace("_", ""), populate_by_name=True)
    user_id: int


class Secret(BaseModel):
    password: SecretStr
    key: SecretBytes = SecretBytes(b"")
    shown: str = ""


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.a * 2


class Excluded(BaseModel):
    a: int
    token: str = Field(default="", exclude=True)


class Base(BaseModel):
    a: int


class Child(Base):
    b: int = 2


class Holder(BaseModel):
    item: Base
    items: list[Base] = []
    by_name: dict[str, Base | None] = {}


class Page(BaseModel, Generic[T]):
    items: list[T]


class One(BaseModel):
    kind: Literal["one"] = "one"
    x: int = 1


class Two(BaseModel):
    kind: Literal["two"] = "two"
    x: int = 1


class Either(BaseModel):
    it: Annotated[One | Two, Field(discriminator="kind")]
    untagged: Base | Child | None = None


class Colour(enum.Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: pydantic.AwareDatetime
    day: date
    colour: Colour
    id: UUID
    amount: Decimal
    pair: tuple[int, str]
    some: frozenset[int]


class Odd(BaseModel):
    """What JSON does not know."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=False)
    x: float = float("inf")
    data: bytes = b"\xff\x00"
    where: Path = Path("/tmp")
    url: pydantic.HttpUrl = pydantic.HttpUrl("https://example.org/")
    free: Any = None


class Generated(BaseModel):
    id: UUID = Field(default_factory=lambda: UUID(int=0), frozen=True)
    _private: int = PrivateAttr(default=3)


class Numbers(RootModel[list[int]]):
    pass


class Validated(BaseModel):
    """Validating it twice is not validating it once."""

    word: str

    @pydantic.field_validator("word")
    @classmethod
    def louder(cls, word: str) -> str:
        return word + "!"


MODELS: list[BaseModel] = [
    Alias.model_validate({"userId": 7, "first": 3}),
    Camel(user_id=7),
    Secret(password=SecretStr("pw"), key=SecretBytes(b"\x00\xff"), shown="x"),
    Computed(a=1),
    Excluded(a=1, token="t"),
    Child(a=1, b=5),
    Holder(item=Child(a=1, b=9)),
    Holder(item=Base(a=1), items=[Child(a=2), Base(a=3)], by_name={"x": Child(a=4), "y": None}),
    Page[int](items=[1]),
    Page[Base](items=[Child(a=1)]),
    Either(it=Two(x=3)),
    Either(it=One(), untagged=Child(a=1)),
    Strict(
        when=MOMENT,
        day=MOMENT.date(),
        colour=Colour.RED,
        id=UUID(int=5),
        amount=Decimal("1.50"),
        pair=(1, "x"),
        some=frozenset({1}),
    ),
    Odd(),
    Odd.model_validate({"free": (1, {MOMENT.date()}), "more": {"a": (1,)}}),
    Odd(url=pydantic.HttpUrl("https://example.org/a?b=1")),
    Generated(),
    Generated(id=UUID(int=7)),
    Numbers([1, 2]),
]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_model_arrives_and_comes_back_as_it_was(model: BaseModel) -> None:
    for back in (passed(type(model), model), returned(type(model), model), passed(list[type(model)], [model])[0]):  # type: ignore[misc]
        assert back == model
        assert type(back) is type(model)
        assert repr(back) == repr(model)
        assert back.model_fields_set == model.model_fields_set


def test_a_kin_of_the_annotated_model_arrives_as_itself() -> None:
    assert repr(passed(Base, Child(a=1, b=5))) == "Child(a=1, b=5)"
    assert repr(returned(list[Base], [Child(a=1, b=5)])) == "[Child(a=1, b=5)]"


def test_a_union_with_a_model_keeps_what_it_is() -> None:
    assert passed(One | Two, Two(x=3)) == Two(x=3)
    assert passed(Base | int, 5) == 5
    assert passed(Base | dict[str, int], {"a": 1}) == {"a": 1}
    assert passed(Base | dict[str, int], Base(a=1)) == Base(a=1)
    assert passed(One | None, None) is None


def test_secrets_arrive_and_are_not_shown() -> None:
    payload = encode({"x": Secret(password=SecretStr("pw"), key=SecretBytes(b"k"))})

    assert decode(payload) == {"x": {"password": "**********", "key": "**********", "shown": ""}}
    assert passed(SecretStr, SecretStr("pw")).get_secret_value() == "pw"

    with pytest.raises(InvalidArguments, match="would arrive as plain text") as caught:
        passed(Any, SecretStr("hush"))

    assert "hush" not in str(caught.value)


def test_plain_data_is_validated_as_the_model_says() -> None:
    assert passed(Alias, {"userId": 7}) == Alias.model_validate({"userId": 7})
    assert passed(Numbers, [1, 2]) == Numbers([1, 2])

    for wrong in ({"a": "x"}, {"a": 1, "b": 2}):
        with pytest.raises(InvalidArguments, match="argument 'x'"):
            passed(Computed, wrong)


def test_a_model_that_changes_with_each_validation_is_refused() -> None:
    with pytest.raises(InvalidArguments, match=r"the str 'hm!' at word would arrive as the str 'hm!!'"):
        passed(Validated, Validated(word="hm"))


def test_a_model_without_an_annotation_is_refused_and_comes_back_as_plain_data() -> None:
    with pytest.raises(InvalidArguments, match=r"the Base Base\(a=1\) would arrive as the dict {'a': 1}"):
        passed(Any, Base(a=1))

    assert Results().unpack(encode(Base(a=1))) == {"a": 1}


def test_a_model_stored_by_an_earlier_version_is_read() -> None:
    payload = encode({"x": {"when": "2030-01-01T00:00:00Z", "a": 1}})
    signature = Signature(annotated(Base), "task")

    assert signature.unpack(payload) == ((Base(a=1),), {})


def annotated(kind: Any) -> Any:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = kind
    return function


def passed(kind: Any, value: Any) -> Any:
    """The value as a function gets it whose parameter has this annotation."""
    signature = Signature(annotated(kind), "task")
    (arrived,), _ = signature.unpack(signature.pack((value,), {}))
    return arrived


def returned(kind: Any, value: Any) -> Any:
    """The value as the handle of a job gives it whose task returns this."""
    results = Results(kind)
    return results.unpack(results.pack(value))
