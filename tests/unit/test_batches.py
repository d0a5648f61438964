"""Batches: what a function is given, what may be declared, and when a call starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any
from uuid import uuid4

import pytest

from cherga import Batch, ConfigError, InvalidArguments, QueueTasks
from cherga.client.batches import MOST_JOBS, Batching
from cherga.testing.clock import FakeClock
from cherga.words.claim import ClaimedJob
from cherga.words.session import Begun
from cherga.worker.assignment import Assignment
from cherga.worker.calls import Call
from cherga.worker.collecting import Collector, Desk
from cherga.worker.slots import BATCHED, SlotTable

# --- what a function is given


def test_a_batch_is_a_list() -> None:
    batch = Batch(["a", "b"])

    assert batch == ["a", "b"]
    assert batch.jobs == ()


def test_a_batch_of_a_unit_test_keeps_what_was_said() -> None:
    batch, error = Batch([1, 2, 3]), ValueError("no")
    batch.succeed(0, "yes")
    batch.fail(-1, error)

    assert batch.verdicts == {0: "yes", 2: error}


def test_a_place_outside_the_batch_is_refused() -> None:
    with pytest.raises(IndexError, match="a batch of 2, got 2"):
        Batch([1, 2]).succeed(2)


def test_a_job_fails_with_an_exception_alone() -> None:
    wrong: Any = "text"

    with pytest.raises(TypeError, match="exception, got 'text'"):
        Batch([1]).fail(0, wrong)


# --- what may be declared


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("batches", "memory://")


def nothing(values: list[int]) -> None:
    """A function that may be a batch task."""


def echoing(self: Any, values: list[int]) -> None:
    """A function for ``echo``."""


def generating(values: list[int]) -> Iterable[int]:
    yield from values


@pytest.mark.parametrize(
    ("options", "function", "words"),
    [
        ({"batch": 0}, nothing, "from 1 to 10000, got 0"),
        ({"batch": MOST_JOBS + 1}, nothing, "got 10001"),
        ({"batch": True}, nothing, "got True"),
        ({"batch": None}, nothing, "got None"),
        ({"batch": 2, "batch_wait": 61}, nothing, "from 0 to 60 seconds, got 61"),
        ({"batch": 2, "batch_wait": -1}, nothing, "batch_wait"),
        ({"batch_wait": 1}, nothing, "batch together with batch_wait"),
        ({"batch_size": 5}, nothing, "did you mean 'batch'"),
        ({"batch": 2, "echo": True}, echoing, "no echo beside batch"),
        ({"batch": 2, "executor": object}, nothing, "no executor beside batch"),
        ({"batch": 2, "decode": str}, nothing, "no decode beside batch"),
        ({"batch": 2, "middlewares_before": [repr]}, nothing, "no middlewares_before beside batch"),
        ({"batch": 2, "middlewares_after": [repr]}, nothing, "no middlewares_after beside batch"),
        ({"batch": 2}, generating, "got a generator"),
        ({"batch": 2, "every": 60}, nothing, "to need no arguments"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(
    app: QueueTasks, options: dict[str, Any], function: Callable[..., Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        app.task(**options)(function)

    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(caught.value)


def test_a_function_of_several_parameters_is_refused(app: QueueTasks) -> None:
    def index(values: list[int], more: int) -> None: ...

    with pytest.raises(ConfigError, match=r"one parameter, a list.*got index\(values"):
        app.task(batch=2)(index)


def test_a_parameter_that_is_no_list_is_refused(app: QueueTasks) -> None:
    def index(value: int) -> None: ...

    function: Any = index

    with pytest.raises(ConfigError, match=r"'value' to be a list.*got int"):
        app.task(batch=2)(function)


@pytest.mark.parametrize("hint", [list[int], Batch[int], Sequence[int], Iterable[int], Annotated[list[int], "numbers"]])
def test_a_job_is_enqueued_with_one_element(app: QueueTasks, hint: Any) -> None:
    def index(values: Any) -> None: ...

    index.__annotations__["values"] = hint
    task: Any = app.task(batch=2)(index)

    with pytest.raises(InvalidArguments, match=r"'values'.*Expected `int`"):
        task.enqueue("text")

    assert task.enqueue(1).status == "ready"


@pytest.mark.parametrize("hint", [list, Any, None])
def test_elements_without_a_type_may_be_anything(app: QueueTasks, hint: Any) -> None:
    def index(values: Any) -> None: ...

    index.__annotations__ = {} if hint is None else {"values": hint}
    task: Any = app.task(batch=2)(index)

    assert task.enqueue("text").status == task.enqueue({"a": 1}).status == "ready"


def test_a_plain_call_is_given_a_batch(app: QueueTasks) -> None:
    @app.task(batch=2)
    def index(values: Batch[int]) -> list[int]:
        values.succeed(0)
        return list(values)

    assert index([1, 2, 3]) == [1, 2, 3]


# --- when a call starts


class Executing:
    """Makes calls, and writes down what else becomes of jobs."""

    def __init__(self) -> None:
        self.many = self

    def call_for(self, members: Sequence[Assignment]) -> Call:
        return Call(members, [])


class Inner:
    """A runner that starts nothing by itself."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.refill_below = -1
        self.slots = 1
        self.ahead = 0

    def submit(self, calls: Sequence[Assignment]) -> None:
        self.calls += calls

    def free(self) -> int:
        return self.slots - len(self.calls)

    def room(self) -> int:
        return self.free() + self.ahead

    def sizes(self) -> list[int]:
        return [len(call.members) for call in self.calls]


class Watching:
    """Remembers what was to be watched."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []

    def watch(self, deadline: float) -> None:
        self.deadlines.append(deadline)


class Table:
    """A collector of at most 3 jobs, waiting 10 seconds, and what is around it."""

    def __init__(self, app: QueueTasks) -> None:
        self.task: Any = app.task(batch=3, batch_wait=10)(nothing)
        self.clock = FakeClock()
        self.inner, self.watching = Inner(), Watching()
        self.left = BATCHED
        fakes: dict[str, Any] = {"executor": Executing(), "deadlines": self.watching, "inner": self.inner}
        desk = Desk(fakes["executor"], fakes["deadlines"], self.clock, lambda: self.left)
        self.collector = Collector(Batching(3, 10.0), fakes["inner"], desk)

    def bring(self, count: int, crashes: int = 0) -> list[Assignment]:
        made = [Assignment(_job(crashes), self.task, self.task.policy) for _ in range(count)]
        self.collector.submit(made)
        return made


def _job(crashes: int) -> ClaimedJob:
    id = uuid4()
    return ClaimedJob(id, 1, id.int >> 66, "nothing", "default", 0, b"", None, 1, 1, crashes, 0, 0.0, 0.0, None, None, None)


@pytest.fixture
def table(app: QueueTasks) -> Table:
    return Table(app)


def test_a_call_starts_when_enough_jobs_are_there(table: Table) -> None:
    table.bring(2)
    assert table.inner.calls == []

    table.bring(2)
    assert table.inner.sizes() == [3]
    assert table.collector.in_hand() == 1


def test_a_call_starts_when_the_first_job_has_waited_long_enough(table: Table) -> None:
    due = table.clock.monotonic() + 10
    table.bring(1)
    table.clock.advance(6)
    table.bring(1)

    assert table.watching.deadlines == [due, due]
    table.collector.flush(due - 0.01)
    assert table.inner.calls == []
    table.collector.flush(due)
    assert table.inner.sizes() == [2]


def test_what_is_left_over_waits_anew(table: Table) -> None:
    table.bring(2)
    table.clock.advance(6)
    table.bring(2)

    assert table.collector.due == table.clock.monotonic() + 10


def test_a_suspect_is_alone(table: Table) -> None:
    table.bring(1)
    table.bring(2, crashes=1)

    assert table.inner.sizes() == [1, 1]
    assert table.collector.in_hand() == 1


def test_no_more_is_taken_than_one_call_and_nothing_without_a_slot(table: Table) -> None:
    assert table.collector.room() == 3
    table.bring(2)
    assert table.collector.room() == 1
    table.bring(1)
    assert table.collector.room() == 0


def test_one_call_may_wait_where_slots_are_soon_free(table: Table) -> None:
    table.inner.ahead = 100
    table.bring(3)
    assert table.collector.room() == 0, "the first call has not begun"

    table.inner.calls[0].slot = 0
    assert table.collector.room() == 3
    table.bring(3)
    assert table.collector.room() == 0, "the second call waits"


def test_no_more_is_taken_than_the_table_in_shared_memory_holds(table: Table) -> None:
    table.left = 2
    assert table.collector.room() == 2


def test_what_waits_can_be_taken_back_and_taken_out(table: Table) -> None:
    first, second = table.bring(2)

    assert table.collector.remove(first.job.token) is first
    assert table.collector.remove(first.job.token) is None
    assert table.collector.take_back() == [second]
    assert (table.collector.in_hand(), table.collector.take_back()) == (0, [])


def test_what_waits_starts_when_nothing_more_is_claimed(table: Table) -> None:
    table.bring(1)
    table.collector.hurry()

    assert table.inner.sizes() == [1]


def test_a_collector_rings_through_the_runner_whose_slots_it_uses(table: Table) -> None:
    table.inner.refill_below = 5
    table.collector.refill_below = 0
    assert table.inner.refill_below == 5

    table.collector.refill_below = -1
    assert table.inner.refill_below == 5

    table.inner.refill_below = -1
    table.collector.refill_below = 0
    assert table.inner.refill_below == 0


# --- what a supervisor sees of them


def test_all_jobs_of_a_call_stand_in_the_table_while_it_runs() -> None:
    table = SlotTable.private(2)
    places = table.batches.take(3)
    table.batches.begin(places, [7, 8, 9])
    assert table.begun() == Begun(frozenset({7, 8, 9}))

    table.batches.end(places)
    assert table.begun() == Begun()
    assert table.batches.left == BATCHED


def test_jobs_of_a_call_that_must_not_run_twice_stand_there_until_they_are_written_whoever_needs_the_places() -> None:
    table = SlotTable.private(2)
    places = table.batches.take(2)
    table.once.keep((8,))
    table.batches.begin(places, [7, 8])
    table.batches.end(places)
    assert table.begun() == Begun(frozenset({8}), frozenset({8}))

    everything = table.batches.take(BATCHED)
    table.batches.begin(everything, [1] * BATCHED)
    assert table.begun() == Begun(frozenset({1, 8}), frozenset({8}))
    table.once.let_go((8,))
    assert table.begun() == Begun(frozenset({1}))
