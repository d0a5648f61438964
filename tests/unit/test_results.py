"""What a task returns comes back from ``job.result()`` as what it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

import pytest

from cherga import ConfigError, QueueTasks, chain
from cherga.rules.codec import encode
from cherga.rules.kinds import Changed
from cherga.rules.results import Results

if TYPE_CHECKING:
    from elsewhere import Ghost  # type: ignore[import-not-found]

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
DAY = date(2030, 1, 2)


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


class Pet(Enum):
    CAT = "cat"
    DOG = "dog"


def returned(annotation: Any, value: Any) -> Any:
    results = Results(annotation)
    return results.unpack(results.pack(value))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 7),
        (None, None),
        (Any, (1, DAY)),
        (Any, {"a": {ID}}),
        (Any, Decimal("1.50")),
        (Cat | Dog, Dog("Rex")),
        (list[Cat | Dog], [Dog("Rex"), Cat("Tom")]),
        (UUID | str, ID),
        (UUID | str, str(ID)),
        (Dog, Puppy("Rex")),
        (tuple[int, date], (1, DAY)),
        (NoReturn, None),
        # what a task returns is not held to what it says
        (int, "seven"),
        (int, (1, DAY)),
        (Cat | Dog, 42),
        (Cat, None),
        (Cat, {"other": (1, 2)}),
        (Cat, {"name": "Tom", "other": (1, 2)}),
        (list[Cat], [{"name": "Tom", "other": (1, {DAY: 2})}]),
        (Cat | None, {"name": "Tom", "other": 1}),
        (float, 2**53 + 1),
        (list[float], [1.5, 2**53 + 1]),
    ],
)
def test_a_result_comes_back_as_it_was_returned(annotation: Any, value: Any) -> None:
    back = returned(annotation, value)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value"), [(Any, Cat("Tom")), (int, Cat("Tom")), (Dog, [Cat("Tom")]), (Any, [(1, Dog("Rex"))])]
)
def test_an_object_that_nothing_says_how_to_make_is_told(annotation: Any, value: Any) -> None:
    with pytest.raises(Changed, match="would arrive as the dict"):
        Results(annotation).pack(value)


def test_a_result_that_no_longer_fits_comes_back_as_plain_data() -> None:
    data = Results(Cat | Dog).pack(Dog("Rex"))

    assert Results(int).unpack(data) == Results().unpack(data) == {"name": "Rex", "age": 1}
    assert Results(Dog).unpack(encode({"wrong": 1})) == {"wrong": 1}


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("shop", "memory://")
    yield app
    app.close()


def test_a_job_gives_what_its_task_returned(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    def pet(name: str) -> Cat | Dog:
        return Dog(name) if name == "Rex" else Cat(name)

    @app.task
    def pair(x):  # type: ignore[no-untyped-def]
        return x, DAY

    @app.task
    def bare():  # type: ignore[no-untyped-def]
        return Cat("Tom")

    @app.task
    def keyed():  # type: ignore[no-untyped-def]
        return {Pet.CAT: {Pet.DOG}}

    with app.worker():
        assert keyed.enqueue().result(10) == {"cat": {"dog"}}
        assert [pet.enqueue(name).result(10) for name in ("Rex", "Tom")] == [Dog("Rex"), Cat("Tom")]
        assert pair.enqueue((1, ID)).result(10) == ((1, ID), DAY)
        assert [bare.enqueue().result(10) for _ in range(2)] == [{"name": "Tom"}] * 2

    told = [record.getMessage() for record in caplog.records if "its result" in record.getMessage()]
    assert len(told) == 2
    assert "(keyed): its result: the Pet <Pet.CAT: 'cat'> at [key]" in told[0]
    assert "(bare): its result: the Cat Cat(name='Tom') would arrive as the dict {'name': 'Tom'}" in told[1]


def test_a_result_whose_class_would_change_it_again_comes_back_as_plain_data(
    app: QueueTasks, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    def double(times: int) -> Doubled:
        return Doubled(times)

    @app.task
    def doubles() -> list[Doubled]:
        return [Doubled(1)]

    with app.worker():
        one: Any = double.enqueue(2).result(10)
        several: Any = doubles.enqueue().result(10)
        assert (one, several) == ({"times": 4}, [{"times": 2}])

    assert "would arrive as the int 8" in caplog.text


@dataclass
class Doubled:
    times: int

    def __post_init__(self) -> None:
        self.times *= 2


def test_a_chain_hands_on_what_a_step_returned(app: QueueTasks) -> None:
    @app.task
    def first() -> Cat | Dog:
        return Dog("Rex", 3)

    @app.task
    def second(pet: Cat | Dog) -> str:
        return type(pet).__name__

    @app.task
    def pair():  # type: ignore[no-untyped-def]
        return 1, DAY

    @app.task
    def kinds(x):  # type: ignore[no-untyped-def]
        return type(x).__name__, type(x[1]).__name__

    @app.task
    def day() -> date:
        return DAY

    @app.task
    def kind(x):  # type: ignore[no-untyped-def]
        return type(x).__name__

    with app.worker():
        assert chain(first.s(), second.s()).enqueue().result(10) == "Dog"
        assert chain(first.s(), kind.s()).enqueue().result(10) == "dict"
        assert chain(day.s(), kind.s()).enqueue().result(10) == "date"
        assert chain(pair.s(), kinds.s()).enqueue().result(10) == ("tuple", "date")


def test_a_return_annotation_that_cannot_be_looked_up_is_refused(app: QueueTasks) -> None:
    def ghost() -> Ghost: ...

    def ghosts() -> Iterator[Ghost]:
        yield 1

    for function in (ghost, ghosts):
        with pytest.raises(ConfigError, match=rf"task {function.__name__} \(.*its return: expected an annotation that can be"):
            app.task(function)


def test_what_a_decoder_makes_of_the_result_is_what_counts(app: QueueTasks) -> None:
    @app.task(decode=str)
    def ghost() -> Ghost: ...

    assert ghost.results.unpack(encode("x")) == "x"
