"""Whatever can be called is a task, or is refused where it is declared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from cherga import QueueTasks, TaskError

DAY = date(2030, 1, 2)


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("shop", "memory://")
    yield app
    app.close()


class Mailer:
    """Methods of every kind."""

    def __init__(self, name: str = "mailer") -> None:
        self.name = name

    def send(self, x: date) -> tuple[str, date]:
        return self.name, x

    async def asend(self, x: date) -> tuple[str, date]:
        return self.name, x

    @staticmethod
    def static(x: date) -> tuple[str, date]:
        return "static", x

    @classmethod
    def made(cls, x: date) -> tuple[str, date]:
        return cls.__name__, x

    def __call__(self, x: date) -> tuple[str, date]:
        return f"called {self.name}", x


class AsyncCall:
    """An object whose call is awaited."""

    async def __call__(self, x: date) -> tuple[str, date]:
        return "awaited", x


def pair(first: str, x: date) -> tuple[str, date]:
    return first, x


async def apair(first: str, x: date) -> tuple[str, date]:
    return first, x


CALLABLES: dict[str, tuple[Any, str]] = {
    "bound method": (Mailer("m").send, "m"),
    "bound async method": (Mailer("m").asend, "m"),
    "static method": (Mailer.static, "static"),
    "class method": (Mailer.made, "Mailer"),
    "callable object": (Mailer("m"), "called m"),
    "async callable object": (AsyncCall(), "awaited"),
    "partial": (functools.partial(pair, "p"), "p"),
    "partial of a method": (functools.partial(Mailer("m").send), "m"),
    "partial of a partial": (functools.partial(functools.partial(pair, "p")), "p"),
    "partial of async": (functools.partial(apair, "p"), "p"),
    "static method object": (vars(Mailer)["static"], "static"),
    "cached": (functools.lru_cache(functools.partial(pair, "p")), "p"),
    "lambda": (lambda x: ("lambda", x), "lambda"),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_what_can_be_called_with_its_arguments_alone_is_a_task(app: QueueTasks, name: str) -> None:
    function, first = CALLABLES[name]
    task = app.task(name="work")(function)

    with app.worker():
        assert task.enqueue(DAY).result(10) == (first, DAY)


@pytest.mark.parametrize("name", [name for name in CALLABLES if name != "lambda"])
def test_the_annotations_of_what_is_called_count(app: QueueTasks, name: str) -> None:
    task = app.task(name="work")(CALLABLES[name][0])

    with app.worker():
        assert app.add_task("work", "2030-01-02").result(10) == (CALLABLES[name][1], DAY)
        assert task.results.unpack(task.results.pack(("x", DAY))) == ("x", DAY)


def refusal(declare: Callable[[], Any]) -> str:
    with pytest.raises(TaskError) as caught:
        declare()

    return str(caught.value)


def test_a_method_in_the_body_of_a_class_is_refused(app: QueueTasks) -> None:
    def plain() -> None:
        class Shop:
            @app.task
            def sell(self, x: int) -> None: ...

    def with_options() -> None:
        class Shop:
            @app.task("sell", retry=3)
            async def sell(self, x: int) -> None: ...

    def strangely_named() -> None:
        class Shop:
            @app.task
            def sell(this, x: int) -> None: ...

    def below() -> None:
        class Shop:
            @classmethod
            @app.task
            def sell(cls, x: int) -> None: ...

    def above() -> None:
        class Shop:
            @app.task
            @classmethod
            def sell(cls, x: int) -> None: ...

    for declare in (plain, with_options, strangely_named, below, above):
        message = refusal(declare)
        assert "method" in message
        assert "Shop.sell; a worker has no object to call it on: make it a function or a @staticmethod" in message

    assert app.tasks == {}


def test_a_method_taken_from_its_class_is_refused(app: QueueTasks) -> None:
    assert "got the method Mailer.send" in refusal(lambda: app.task("work")(Mailer.send))


def test_a_static_method_and_a_bound_task_may_stand_in_a_class(app: QueueTasks) -> None:
    class Shop:
        @staticmethod
        @app.task
        def below(x: int) -> int:
            return x

        @app.task
        @staticmethod
        def above(x: int) -> int:
            return x

        @app.task(echo=True)
        def bound(self: Any, x: int) -> tuple[str, int]:
            return self.task_name, x

    tasks: list[Any] = [Shop.below, Shop.above, Shop.bound]

    with app.worker():
        assert [task.enqueue(3).result(10) for task in tasks] == [3, 3, ("bound", 3)]


def test_a_class_and_what_cannot_be_called_are_refused(app: QueueTasks) -> None:
    assert "expected a function to declare as a task, got <class" in refusal(lambda: app.task("work")(Mailer))
    assert "expected a function to declare as a task, got 7" in refusal(lambda: app.task("work")(7))  # type: ignore[call-overload]
