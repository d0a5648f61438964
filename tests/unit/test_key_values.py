"""Unique and limit keys are made of what the arguments are, and not of how they were written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import combinations
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from markupsafe import Markup

from cherga import ConfigError, JobState, QueueTasks
from cherga.rules.canonical import form_of, write
from cherga.words.claim import ClaimWish
from cherga.words.session import SessionInfo
from tests.live_hand import Hand

ID = UUID("abcdef00-0000-4000-8000-000000000001")
UTC_TEN = datetime(2031, 1, 1, 10, tzinfo=UTC)
TWO_HOURS = timezone(timedelta(hours=2))


class Shop(Enum):
    KYIV = "kyiv"
    LVIV = "lviv"


class Size(StrEnum):
    BIG = "big"


class Level(IntEnum):
    LOW = 1


@dataclass
class Address:
    street: str
    number: float = 1.0


class Point(msgspec.Struct):
    x: float
    y: float = 0.0


class Place(NamedTuple):
    north: float
    east: float = 0.0


class Options(TypedDict, total=False):
    deep: bool
    size: float


class Order(pydantic.BaseModel):
    number: int
    price: Decimal = Decimal(0)


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("shop", "memory://")
    yield app
    app.close()


def task_of(annotation: Any) -> Callable[[Any], None]:
    def work(x: Any) -> None: ...

    work.__annotations__["x"] = annotation
    return work


SAME: list[tuple[Any, Any, Any]] = [
    (float, 10, 10.0),
    (float, 0.0, -0.0),
    (list[float], [1, 2], [1.0, 2.0]),
    (Decimal, Decimal("1.5"), "1.50"),
    (Decimal, Decimal("1.0"), Decimal("1.00")),
    (Decimal, Decimal("0"), Decimal("-0.00")),
    (Decimal, Decimal("1E+3"), Decimal("1000")),
    (datetime, UTC_TEN, UTC_TEN.astimezone(TWO_HOURS)),
    (datetime, UTC_TEN, "2031-01-01T12:00:00+02:00"),
    (date, date(2031, 1, 1), "2031-01-01"),
    (time, time(1, 2), "01:02:00"),
    (timedelta, timedelta(hours=24), "P1D"),
    (UUID, ID, str(ID).upper()),
    (UUID, ID, ID.hex),
    (Shop, Shop.KYIV, "kyiv"),
    (Shop | None, Shop.KYIV, "kyiv"),
    (Level, Level.LOW, 1),
    (str, "big", Size.BIG),
    (str, "<b>", Markup("<b>")),
    (set[str], {"a", "b", "c"}, {"c", "b", "a"}),
    (set[str], {"a", "b"}, ["b", "a", "b"]),
    (frozenset[Shop], frozenset(Shop), ["lviv", "kyiv"]),
    (dict[str, int], {"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (tuple[int, str], (1, "a"), [1, "a"]),
    (Address, Address("A", 1), Address("A", 1.0)),
    (Address, Address("A"), {"street": "A"}),
    (Point, Point(1), {"x": 1.0, "y": 0}),
    (Place, Place(1), [1.0, 0.0]),
    (Options, {"deep": True, "size": 1}, {"size": 1.0, "deep": True}),
    (Order, Order(number=1, price=Decimal("2.0")), {"number": 1, "price": "2.00"}),
    (Any, 10, 10.0),
    (Any, {"a": {1, 2}}, {"a": {2, 1}}),
    (Any, {1: "a", 2: "b"}, {2: "b", 1: "a"}),
    (Any, UTC_TEN, UTC_TEN.astimezone(TWO_HOURS)),
    (UUID | str, ID, UUID(str(ID))),
]


@pytest.mark.parametrize(("annotation", "one", "other"), SAME, ids=map(str, range(len(SAME))))
def test_equal_arguments_have_one_key_however_they_are_written(app: QueueTasks, annotation: Any, one: Any, other: Any) -> None:
    unique = app.task(name="unique", unique=True)(task_of(annotation))
    named = app.task(name="named", unique=["x"], key="x", max_running=1)(task_of(annotation))
    made = app.task(name="made", unique=lambda x: x, key=lambda x: [x], max_running=1)(task_of(annotation))

    for task in (unique, named, made):
        first, second = task.enqueue(one), task.enqueue(other)
        assert second == first
        assert second.existing

    for task in (named, made):
        first, second = (task.using(unique=False).enqueue(value) for value in (one, other))
        assert first.row.limit_keys == second.row.limit_keys
        assert len(first.row.limit_keys) == 1


OTHER: list[Any] = [
    None, "None", "null", True, "true", "True", 1, "1", 1.5, "1.5", [1], (1,), {1}, [[1]], ["1"], {"1": 1}, {1: 1}, "", "[1]",
    ["a,b", "c"], ["a", "b,c"], b"a", "a", "61", date(2031, 1, 1), "2031-01-01", UTC_TEN.replace(tzinfo=None), UTC_TEN,
    ID, str(ID),
    Decimal("1.5"), timedelta(days=1), "P1D", {"a": None}, {}, [], (), "\"a\"", "{\"uuid\":\"x\"}", float("inf"), "inf",
    [None], {"a": 1, "b": 2},
]  # fmt: skip


OPTIONS: dict[str, dict[str, Any]] = {
    "unique": {"unique": True},
    "unique by name": {"unique": ["x"]},
    "unique by function": {"unique": lambda x: [x]},
    "key": {"key": "x", "max_running": 1},
    "key by function": {"key": lambda x: [x], "max_running": 1},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_other_arguments_have_another_key(app: QueueTasks, option: str) -> None:
    task = app.task(name="work", **OPTIONS[option])(task_of(Any))
    rows = [task.enqueue(value).row for value in OTHER]
    keys = [row.limit_keys[0] if row.limit_keys else row.unique.key if row.unique else "" for row in rows]
    clashes = [(one, other) for (one, a), (other, b) in combinations(zip(OTHER, keys, strict=True), 2) if a == b]

    assert not clashes


def test_several_arguments_make_one_key_for_each_of_their_pairs(app: QueueTasks) -> None:
    @app.task(key=["tenant", "path"], unique=["tenant", "path"], max_running=1)
    def work(tenant: str, path: str) -> None: ...

    one, other = work.enqueue("a,b", "c"), work.enqueue("a", "b,c")

    assert other != one
    assert one.row.limit_keys == ('key:work|["a,b","c"]',)
    assert other.row.limit_keys == ('key:work|["a","b,c"]',)


def test_two_classes_with_the_same_fields_have_two_keys(app: QueueTasks) -> None:
    @dataclass
    class Other:
        street: str
        number: float = 1.0

    task = app.task(name="work", unique=True)(task_of(Address | Other))

    assert task.enqueue(Address("A")) != task.enqueue(Other("A"))
    assert task.enqueue(Address("A")) == task.enqueue(Address("A"))


def test_a_default_that_is_given_is_the_one_that_is_left_out(app: QueueTasks) -> None:
    @app.task(unique=True, key=["price", "day"], max_running=1)
    def work(number: int, price: float = 1.0, day: date = date(2031, 1, 1), *rest: int, deep: bool = False) -> None: ...

    first = work.enqueue(7)
    assert work.enqueue(number=7, price=1, day=date(2031, 1, 1), deep=False) == first
    assert app.add_task("work", 7, day="2031-01-01") == first
    assert first.row.limit_keys == ('key:work|[1,"2031-01-01"]',)


def test_a_key_is_the_same_from_code_by_name_and_from_text(app: QueueTasks) -> None:
    @app.task(max_running=1, key="shop")
    def sync(shop: Shop, when: date) -> None: ...

    jobs = [sync.enqueue(Shop.KYIV, date(2031, 1, 1)), app.add_task("sync", "kyiv", "2031-01-01")]
    assert {job.row.limit_keys for job in jobs} == {("key:sync|kyiv",)}


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (int, 7, "7"),
        (str, "7", "7"),
        (str, "a b", "a b"),
        (str, "null", "null"),
        (str | None, "kyiv", "kyiv"),
        (str | None, None, "null"),
        (str | None, "null", '"null"'),
        (UUID, ID, str(ID)),
        (UUID | None, ID, str(ID)),
        (date, date(2031, 1, 1), "2031-01-01"),
        (datetime, UTC_TEN, "2031-01-01T10:00:00+00:00"),
        (Decimal, Decimal("1.50"), "1.5"),
        (float, 10.0, "10"),
        (bool, True, "true"),
        (Shop, Shop.KYIV, "kyiv"),
        (Level, Level.LOW, "1"),
        (Any, "kyiv", "kyiv"),
        (Any, "7", '"7"'),
        (Any, 7, "7"),
    ],
)
def test_a_limit_is_called_by_the_value_as_people_write_it(app: QueueTasks, annotation: Any, value: Any, text: str) -> None:
    task = app.task(name="work", max_running=1, key="x")(task_of(annotation))

    assert task.enqueue(value).row.limit_keys == (f"key:work|{text}",)


@pytest.mark.parametrize(
    ("annotation", "spellings"),
    [
        (int, [7, "7"]),
        (UUID, [ID, str(ID).upper(), ID.hex]),
        (Shop, [Shop.KYIV, "kyiv"]),
        (date, [date(2031, 1, 1), "2031-01-01"]),
        (datetime, [UTC_TEN, "2031-01-01T12:00:00+02:00"]),
        (float, [10, "10.0"]),
        (Decimal, [Decimal("1.50"), "1.5"]),
        (str, ["7"]),
        (bool, [True, "true"]),
    ],
)
def test_a_limit_can_be_set_for_a_value_in_any_spelling(app: QueueTasks, annotation: Any, spellings: list[Any]) -> None:
    task = app.task(name="work", max_running=1, key="x")(task_of(annotation))
    job = task.enqueue(spellings[0])

    for spelling in spellings:
        app.limits.set(task="work", key=spelling, max_running=5)
        assert [use.name for use in app.limits.all()] == [job.row.limit_keys[0]]
        assert app.limits.get(task="work", key=spelling).rule.max_running == 5
        app.limits.reset(task="work", key=spelling)

    assert app.limits.all() == []


def test_a_key_that_has_no_text_is_refused(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected key to be made of what has a text of its own"):
        app.limits.set(task="work", key=object(), max_running=1)


def test_a_step_that_is_fed_counts_for_the_value_as_it_will_arrive(app: QueueTasks) -> None:
    @app.task(key="shop", max_running=1)
    def sync(before: int, shop: Shop) -> None: ...

    keys = {sync.build_fed(sync.order, (), {"shop": shop}).limit_keys for shop in (Shop.KYIV, "kyiv")}
    assert keys == {("key:sync|kyiv",)}


def test_a_function_is_given_the_arguments_as_they_arrive(app: QueueTasks) -> None:
    seen: list[Any] = []

    @app.task(unique=lambda shop, *days, **more: seen.append((shop, days, more)))
    def sync(shop: Shop, *days: date, price: float = 0, **more: float) -> None: ...

    app.add_task("sync", "kyiv", "2031-01-01", price=1, deep=2)
    assert seen == [(Shop.KYIV, (date(2031, 1, 1),), {"price": 1.0, "deep": 2.0})]
    assert isinstance(seen[0][2]["deep"], float)


def test_a_form_is_the_same_in_every_process() -> None:
    program = """
from cherga.rules.canonical import form_of, write
words = {f"word {number}" for number in range(20)}
print(write(form_of({"a": words, "b": {frozenset({each, 1}): words for each in words}})).decode())
"""
    command = [sys.executable, "-c", program]
    texts = {subprocess.check_output(command, env={"PYTHONHASHSEED": seed}, text=True, timeout=30) for seed in ("1", "2")}
    assert len(texts) == 1


def test_numbers_keep_all_their_digits() -> None:
    digits = "0.1000000000000000000000000000000000000000001"
    assert form_of(Decimal(digits)) == {"decimal": digits}
    assert write(form_of([2**64 - 1, -(2**63), 1e300])) == b"[18446744073709551615,-9223372036854775808,1e300]"


@pytest.mark.parametrize(
    ("annotation", "spellings"),
    [
        (int, [7]),
        (float, [10.0, 10]),
        (str, ["a"]),
        (bool, [True]),
        (Shop, [Shop.KYIV, "kyiv"]),
        (UUID, [ID, str(ID), str(ID).upper()]),
        (date, [date(2031, 1, 1), "2031-01-01"]),
        (datetime, [UTC_TEN, "2031-01-01T10:00:00Z", "2031-01-01T12:00:00+02:00"]),
        (Decimal, [Decimal("1.50"), "1.5", "1.50"]),
        (list[int], [[1, 2]]),
        (set[Shop], [{Shop.KYIV, Shop.LVIV}, ["lviv", "kyiv"]]),
        (tuple[int, date], [(1, date(2031, 1, 1)), [1, "2031-01-01"]]),
        (dict[str, UUID], [{"a": ID}, {"a": str(ID).upper()}]),
        (Address, [Address("A"), {"street": "A", "number": 1}]),
        (Order, [Order(number=1), {"number": 1}]),
        (int | None, [None]),
        (UUID | str, [ID]),
        (Address | Point, [Address("A")]),
        (Any, [date(2031, 1, 1), "2031-01-01"]),
        (Any, [(1, ID)]),
    ],
)
def test_a_pause_means_a_value_in_any_spelling(app: QueueTasks, annotation: Any, spellings: list[Any]) -> None:
    task = app.task(name="work")(task_of(annotation))
    jobs = [task.enqueue(value) for value in spellings]

    for paused in spellings:
        app.pause(task="work", arguments={"x": paused})
        assert claimed(app) == []

        app.resume(task="work", arguments={"x": spellings[0]})
        assert app.paused() == []

    assert len(claimed(app)) == len(jobs)


def claimed(app: QueueTasks) -> list[Any]:
    """The jobs that a worker gets."""
    app.broker.register(SessionInfo(id="hand.1", worker="hand", host="here", pid=1))
    wish = ClaimWish(session="hand.1", limit=100, tasks=frozenset(app.tasks))
    return list(app.broker.claim(wish).jobs)


def test_who_does_not_know_the_task_resumes_what_reads_alike(app: QueueTasks) -> None:
    app.task(name="work")(task_of(UUID))
    app.pause(task="work", arguments={"x": ID})
    app.tasks.clear()
    app.resume(task="work", arguments={"x": str(ID)})

    assert app.paused() == []


def test_jobs_whose_keys_an_earlier_version_made_end_as_they_did(app: QueueTasks) -> None:
    task = app.task(name="work", unique=True, key="x", max_running=1)(task_of(float))
    old = task.using(unique="work:of old").enqueue(1)
    hand = Hand(app)
    hand.claim()
    hand.end(JobState.SUCCEEDED)

    assert old.refresh().status is JobState.SUCCEEDED
    assert not task.using(unique="work:of old").enqueue(1).existing
