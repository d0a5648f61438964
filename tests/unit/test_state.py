"""``State``: values shared between jobs, changed by compare-and-set."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast
from uuid import UUID

import pytest

from cherga import (
    ConfigError,
    Context,
    Depends,
    InvalidState,
    QueueTasks,
    State,
    StateConflict,
    StateError,
    StateHandle,
)
from cherga.client.submit import Submitter
from cherga.doors.broker import FullBroker
from cherga.rules.codec import encode
from cherga.testing import FakeClock
from cherga.words.clock import Clock
from cherga.words.shared import Shared

if TYPE_CHECKING:
    from elsewhere import Ghost  # type: ignore[import-not-found]


class Totals(State):
    """What these tests share."""

    count: int = 0
    names: list[str] = []


class Anything(State):
    """A value of any type."""

    value: Any = None


class Count(State):
    """A number alone."""

    count: int = 0


class Renamed(State):
    """Stored under another name than its own."""

    state_name: ClassVar[str] = "Totals"

    count: int = 0


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("states", "memory://", max_payload=1000)
    yield app
    app.close()


@pytest.fixture
def totals(app: QueueTasks) -> StateHandle[Totals]:
    return app.state(Totals)


def add_one(state: Totals | Count) -> None:
    state.count += 1


def own_totals(totals: StateHandle[Totals], ctx: Context) -> StateHandle[Totals]:
    return totals.at(ctx.owner or "")


def test_nothing_stored_gives_the_defaults(totals: StateHandle[Totals]) -> None:
    assert totals.get() == Totals(count=0, names=[])


def test_what_is_set_is_what_others_get(app: QueueTasks, totals: StateHandle[Totals]) -> None:
    totals.set(Totals(3, ["Ada"]))

    assert app.state(Totals).get() == Totals(3, ["Ada"])


def test_an_update_may_change_the_state_it_is_given(totals: StateHandle[Totals]) -> None:
    assert totals.update(add_one) == Totals(1)
    assert totals.get() == Totals(1)


def test_an_update_may_return_another_state(totals: StateHandle[Totals]) -> None:
    assert totals.update(lambda state: Totals(state.count + 5)) == Totals(5)
    assert totals.get() == Totals(5)


def test_a_copy_that_is_changed_changes_nothing_for_others(totals: StateHandle[Totals]) -> None:
    totals.get().names.append("Ada")
    totals.update(add_one).names.append("Ada")

    assert totals.get() == Totals(1, [])


def test_each_key_has_a_value_of_its_own(app: QueueTasks, totals: StateHandle[Totals]) -> None:
    app.state(Totals, key="user:7").update(add_one)
    totals.at("user:8").set(Totals(8))

    assert [totals.at(key).get().count for key in ("user:7", "user:8", "user:9")] == [1, 8, 0]
    assert totals.get().count == 0


def test_a_deleted_value_is_the_default_again(totals: StateHandle[Totals]) -> None:
    totals.set(Totals(3))
    totals.delete()
    totals.delete()

    assert totals.get() == Totals()


def test_an_update_that_raises_stores_nothing(totals: StateHandle[Totals]) -> None:
    def fail(state: Totals) -> None:
        state.count = 7
        raise LookupError("no")

    with pytest.raises(LookupError):
        totals.update(fail)

    assert totals.get() == Totals()


def test_every_call_has_an_async_twin(totals: StateHandle[Totals]) -> None:
    async def use() -> list[int]:
        await totals.aset(Totals(1))
        counts = [(await totals.aget()).count, (await totals.aupdate(add_one)).count]
        await totals.adelete()
        return [*counts, (await totals.aget()).count]

    assert asyncio.run(use()) == [1, 2, 0]


def test_updates_of_many_coroutines_are_all_kept(totals: StateHandle[Totals]) -> None:
    async def use() -> None:
        await asyncio.gather(*(totals.aupdate(add_one) for _ in range(30)))

    asyncio.run(use())

    assert totals.get().count == 30


# --- values that do not fit


def test_a_value_that_cannot_be_encoded_is_refused_and_named(app: QueueTasks) -> None:
    with pytest.raises(InvalidState, match=r"state Anything cannot be stored: a lock cannot"):
        app.state(Anything).set(Anything(threading.Lock()))

    assert app.state(Anything).get() == Anything()


def test_a_value_of_the_wrong_type_is_refused_with_its_field(totals: StateHandle[Totals]) -> None:
    with pytest.raises(InvalidState, match=r"Expected `int`, got `str` - at `\$\.count`"):
        totals.set(Totals(count=cast(int, "seven")))


def test_a_value_over_the_limit_is_refused(app: QueueTasks) -> None:
    with pytest.raises(InvalidState, match=r"state Anything: expected at most 1,000 bytes"):
        app.state(Anything).set(Anything("x" * 2000))


def test_an_update_that_returns_something_else_is_told_what_was_expected(totals: StateHandle[Totals]) -> None:
    with pytest.raises(InvalidState, match="expected a Totals, or None after changing it, got 1"):
        totals.update(cast(Any, lambda state: state.count + 1))


def test_what_another_class_stored_is_refused_until_it_is_set_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/states.db"
    old, new = QueueTasks("states", url), QueueTasks("states", url)
    old.broker.swap("state:Totals", 0, b"\x81\xa5count\xa3one")

    with pytest.raises(InvalidState, match=r"what is stored does not fit Renamed: .*count.*; set or delete it"):
        new.state(Renamed).update(lambda state: None)

    new.state(Renamed).set(Renamed(4))

    assert old.state(Totals).get() == Totals(4)
    old.close()
    new.close()


# --- classes that do not fit


def test_a_field_without_a_default_is_refused(app: QueueTasks) -> None:
    class Wrong(State):
        count: int

    with pytest.raises(ConfigError, match="expected a default for each field, but 'count' has none"):
        app.state(Wrong)


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str
    age: int = 1


class Rich(State):
    """Fields of every kind."""

    pet: Cat | Dog | None = None
    number: UUID | str = ""
    free: Any = None
    days: set[date] = set()


def test_a_state_keeps_what_its_fields_are(app: QueueTasks) -> None:
    handle = app.state(Rich)
    number, day = UUID(int=7), date(2030, 1, 2)

    for rich in (Rich(Dog("Rex"), number, (1, day), {day}), Rich(Cat("Tom"), "7", {"a": number}), Rich()):
        handle.set(rich)
        assert handle.get() == rich

    def rename(rich: Rich) -> None:
        rich.pet = Dog("Pat", 3)

    assert handle.update(rename).pet == Dog("Pat", 3)


def test_a_value_that_would_not_come_back_is_refused(app: QueueTasks) -> None:
    with pytest.raises(InvalidState, match=r"the Cat Cat\(name='Tom'\) at free would arrive as the dict"):
        app.state(Rich).set(Rich(free=Cat("Tom")))

    with pytest.raises(InvalidState, match=r"expected Cat \| Dog \| NoneType, got the int 7"):
        app.state(Rich).set(Rich(pet=cast(Any, 7)))


def test_a_local_class_may_be_a_field_and_an_unknown_one_is_refused(app: QueueTasks) -> None:
    @dataclass
    class Local:
        a: int

    class Known(State):
        it: Local | None = None

    class Unknown(State):
        it: list[Ghost] = []

    app.state(Known).set(Known(Local(3)))
    assert app.state(Known).get() == Known(Local(3))

    with pytest.raises(ConfigError, match="field 'it': expected an annotation that can be looked up"):
        app.state(Unknown)


def test_something_that_is_no_state_is_refused(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected a subclass of State, got <class 'dict'>"):
        app.state(cast(Any, dict))


def test_a_name_that_could_be_that_of_another_with_a_key_is_refused(app: QueueTasks) -> None:
    class Odd(State):
        state_name: ClassVar[str] = "Totals:user"

    with pytest.raises(ConfigError, match="expected a state's name to be without a colon, got 'Totals:user'"):
        app.state(Odd)


def test_two_classes_of_one_name_are_refused(app: QueueTasks) -> None:
    app.state(Totals)

    with pytest.raises(ConfigError, match=r"the state 'Totals' is taken: .*Totals.*Renamed"):
        app.state(Renamed)


def test_errors_of_states_have_one_root() -> None:
    assert issubclass(InvalidState, StateError)
    assert issubclass(StateConflict, StateError)


# --- conflicts


class Rival:
    """A broker whose shared number somebody else raises before each of the first ``losses`` swaps, which take a second."""

    def __init__(self, losses: float, clock: FakeClock) -> None:
        self.losses = losses
        self.count = 0
        self.swaps = 0
        self._clock = clock

    def load(self, keys: list[str]) -> list[Shared]:
        return [Shared(encode(Count(self.count)), self.count + 1)]

    def swap(self, key: str, version: int, value: bytes | None) -> bool:
        self.swaps += 1
        self._clock.advance(1)

        if self.swaps > self.losses:
            return True

        self.count += 10
        return False


class Office:
    """A source of states whose broker is a rival."""

    max_payload = 1000

    def __init__(self, losses: float) -> None:
        clock = FakeClock()
        self.clock: Clock = clock
        self.rival = Rival(losses, clock)
        self.broker = cast(FullBroker, self.rival)
        self.submitter = Submitter(lambda groups: [])


def test_an_update_that_lost_is_made_again_to_what_is_there_now() -> None:
    office, seen = Office(losses=2), []

    def change(state: Count) -> None:
        seen.append(state.count)
        state.count += 1

    assert StateHandle(Count, office).update(change) == Count(21)
    assert seen == [0, 10, 20]


def test_an_update_that_always_loses_ends_with_a_clear_error() -> None:
    office = Office(losses=float("inf"))

    with pytest.raises(StateConflict, match=r"state Count:user:7: others changed it at every try for 5 seconds; nothing"):
        StateHandle(Count, office, "user:7").update(add_one, timeout=5)

    assert office.rival.swaps == 5


def test_the_async_twin_gives_up_too() -> None:
    office = Office(losses=float("inf"))

    async def update() -> None:
        await StateHandle(Count, office).aupdate(add_one, timeout=3)

    with pytest.raises(StateConflict, match="for 3 seconds"):
        asyncio.run(update())

    office.submitter.close()


def test_an_update_that_changes_nothing_writes_nothing() -> None:
    office = Office(losses=0)

    assert StateHandle(Count, office).update(lambda state: None) == Count(0)
    assert office.rival.swaps == 0


# --- in tasks


def test_a_parameter_annotated_with_a_handle_is_filled_in(app: QueueTasks) -> None:
    @app.task
    def visit(page: str, totals: StateHandle[Totals]) -> int:
        return totals.at(page).update(add_one).count

    @app.task
    async def avisit(page: str, totals: StateHandle[Totals]) -> int:
        return (await totals.at(page).aupdate(add_one)).count

    with app.worker():
        app.tasks["visit"].enqueue("home").result(5)
        app.tasks["avisit"].enqueue("home").result(5)

    assert app.state(Totals, key="home").get().count == 2


def test_a_dependency_may_take_a_handle(app: QueueTasks) -> None:
    @app.task
    def visit(totals: Annotated[StateHandle[Totals], Depends(own_totals)]) -> None:
        totals.update(add_one)

    with app.worker():
        app.tasks["visit"].using(owner="user:7").enqueue().result(5)

    assert app.state(Totals, key="user:7").get().count == 1


def test_a_handle_that_names_no_class_is_refused_where_the_task_is_declared(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match=r"task visit \(.*test_state\.py:\d+\): expected StateHandle to name its class"):

        @app.task
        def visit(totals: StateHandle) -> None:  # type: ignore[type-arg]
            """Never run."""


def test_a_handle_of_a_class_that_is_unfit_is_refused_where_the_task_is_declared(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match=r"task visit \(.*\): expected a subclass of State, got <class 'int'>"):

        @app.task
        def visit(totals: StateHandle[int]) -> None:  # type: ignore[type-var]
            """Never run."""
