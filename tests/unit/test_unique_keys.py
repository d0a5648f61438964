"""At most one unfinished job holds a unique key; who enqueues another one gets the holder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cherga import ConfigError, EnqueueRefused, InvalidArguments, JobState, QueueTasks, Task
from cherga.words.unique import OnConflict, Unique, UniqueWhile
from tests.live_hand import Hand


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("shop", "memory://")


@pytest.fixture
def export(app: QueueTasks) -> Task[..., None]:
    @app.task(unique=True)
    def export(user: int, deep: bool = False) -> None: ...

    return export


def test_equal_arguments_find_the_job_that_is_there(app: QueueTasks, export: Task[..., None]) -> None:
    first, again = export.enqueue(7), export.enqueue(user=7, deep=False)

    assert again == first
    assert (first.existing, again.existing) == (False, True)
    assert len(app.jobs()) == 1


def test_other_arguments_are_another_job(export: Task[..., None]) -> None:
    assert export.enqueue(7) != export.enqueue(8)
    assert export.enqueue(7, deep=True) != export.enqueue(7)


def test_the_handle_of_an_existing_job_shows_that_job(export: Task[..., None]) -> None:
    first = export.using(owner="user:7", priority=3, description="First").enqueue(7)
    again = export.using(owner="user:8", priority=9, description="Second").enqueue(7)

    assert again.existing
    assert (again.owner, again.priority, again.description) == ("user:7", 3, "First")
    assert again.enqueued_at == first.refresh().enqueued_at


def test_the_key_is_free_again_once_the_job_has_ended(app: QueueTasks, export: Task[..., None]) -> None:
    first = export.enqueue(7)
    hand = Hand(app)
    hand.claim()

    assert export.enqueue(7) == first
    hand.end(JobState.FAILED)
    assert export.enqueue(7) != first


def test_two_tasks_do_not_share_keys_of_arguments(app: QueueTasks) -> None:
    one = app.task(name="one", unique=True)(lambda x: None)
    two = app.task(name="two", unique=True)(lambda x: None)

    assert one.enqueue(1) != two.enqueue(1)


def test_one_text_is_one_key(app: QueueTasks) -> None:
    one = app.task(name="one", unique="nightly")(lambda x: None)
    two = app.task(name="two", unique="nightly")(lambda x: None)

    assert one.enqueue(1) == two.enqueue(2)


def test_names_choose_the_arguments_that_count(app: QueueTasks) -> None:
    task = app.task(name="export", unique=["user"])(lambda user, note="": None)

    assert task.enqueue(7, "a") == task.enqueue(7, note="b")
    assert task.enqueue(7) != task.enqueue(8)


def test_a_function_makes_the_key_of_the_arguments(app: QueueTasks) -> None:
    task = app.task(name="fold", unique=lambda word: word.lower())(lambda word: None)

    assert task.enqueue("Word") == task.enqueue("WORD")
    assert task.enqueue("Word").row.unique == Unique("fold:word")


async def later(word: str) -> str:
    return word


def one_by_one(word: str) -> Iterator[str]:
    yield word


class Nameless:
    """Looks different in each process."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unique": "word"}, "expected unique to be ['word'] for the argument of that name"),
        ({"unique": []}, "expected unique to name at least one argument, got none"),
        ({"unique": ""}, "expected unique to be True, a text, names of arguments or a function, got ''"),
        ({"unique": later}, "expected unique to be a function that returns its value at once, got later"),
        ({"unique": one_by_one}, "expected unique to be a function that returns its value at once, got one_by_one"),
        ({"key": later, "max_running": 1}, "expected key to be a function that returns its value at once, got later"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused_where_it_is_written(
    app: QueueTasks, options: dict[str, Any], message: str
) -> None:
    def fold(word: str) -> None: ...

    with pytest.raises(ConfigError) as caught:
        app.task(**options)(fold)

    assert str(caught.value).startswith(f"task fold ({__file__}:")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [Nameless(), "\ud800", "\ud800" * 200])
@pytest.mark.parametrize("option", ["key", "unique"])
def test_a_value_without_a_lasting_text_makes_no_key(app: QueueTasks, option: Any, value: Any) -> None:
    task = app.task(name="fold")(lambda word: None)
    prepared = task.using(key=lambda word: value) if option == "key" else task.using(unique=lambda word: value)

    with pytest.raises(InvalidArguments, match=f"task fold: expected {option} to be"):
        prepared.enqueue("x")


def test_a_whole_unique_may_be_given(app: QueueTasks, export: Task[..., None]) -> None:
    refuse = Unique("one at a time", UniqueWhile.QUEUED, conflict=OnConflict.REFUSE)
    export.using(unique=refuse).enqueue(1)

    with pytest.raises(EnqueueRefused, match="'one at a time'"):
        export.using(unique=refuse).enqueue(2)


def test_uniqueness_may_be_switched_off_for_one_job(export: Task[..., None]) -> None:
    assert export.enqueue(7) != export.using(unique=False).enqueue(7)


def test_names_that_are_no_parameters_are_refused(app: QueueTasks, export: Task[..., None]) -> None:
    with pytest.raises(ConfigError, match="task export: expected unique to name its parameters, got 'usr'"):
        export.using(unique=["usr"]).enqueue(7)

    assert app.jobs() == []


def test_a_default_that_cannot_be_stored_does_not_stand_in_the_way(app: QueueTasks) -> None:
    nothing = object()
    task = app.task(name="work", unique=True)(lambda a, b=nothing: None)
    named = app.task(name="named", unique=["b"])(lambda a, b=nothing: None)

    assert task.enqueue(1) == task.enqueue(1)
    assert task.enqueue(1) != task.enqueue(1, 2)
    assert named.enqueue(1) == named.enqueue(2)


def test_many_at_once_with_one_key_are_one_job(app: QueueTasks, export: Task[..., None]) -> None:
    jobs = export.enqueue_many([(7,), (8,), (7,)])

    assert [job.existing for job in jobs] == [False, False, True]
    assert jobs[2] == jobs[0]
    assert len(app.jobs()) == 2


def test_a_set_has_one_key_in_every_process() -> None:
    """Each process walks through a set of texts in an order of its own."""
    program = """
from cherga import QueueTasks
task = QueueTasks("shop", "memory://").task(name="work", unique=True)(lambda words, **more: None)
words = {f"word {number}" for number in range(20)}
print(task.enqueue(words, more=dict.fromkeys(words)).row.unique.key)
"""
    assert len({printed(program, seed) for seed in ("1", "2")}) == 1


def printed(program: str, seed: str) -> Any:
    """What the program prints under this order of sets."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
    ).stdout
