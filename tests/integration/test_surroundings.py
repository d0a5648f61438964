"""What a worker calls beside jobs runs as they do: inside the application's own context, made anew and left again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from cherga import Depends, QueueTasks
from cherga.client.applications import current_source
from cherga.client.signals import Event
from cherga.testing import wait_until
from cherga.worker.host import close_process

INSIDE: ContextVar[int | None] = ContextVar("inside", default=None)
WAIT = 10


class Surrounded:
    """An application with a context of its own; notes which of its contexts each thing saw."""

    def __init__(self) -> None:
        self.app = QueueTasks("shop", "memory://")
        self.app.around_job.append(self.context)
        self.seen: dict[str, int | None] = {}
        self.open: set[int] = set()
        self._made = 0
        self._lock = threading.Lock()

    @contextmanager
    def context(self) -> Iterator[None]:
        with self._lock:
            self._made += 1
            number = self._made
            self.open.add(number)

        token = INSIDE.set(number)

        try:
            yield
        finally:
            INSIDE.reset(token)
            self.open.discard(number)

    def note(self, what: str) -> None:
        number = INSIDE.get()
        assert number is None or number in self.open, f"{what} ran in a context that was left already"
        self.seen[what] = number

    def is_inside(self, *what: str) -> bool:
        return all(self.seen[each] is not None for each in what)


@pytest.fixture
def surrounded() -> Iterator[Surrounded]:
    made = Surrounded()
    yield made
    made.app.close()


def in_a_worker(app: QueueTasks, *tasks: Any) -> None:
    with app.worker():
        for task in tasks:
            task.enqueue().await_end(WAIT)


def inline(app: QueueTasks, *tasks: Any) -> None:
    with app.testing(inline=True):
        for task in tasks:
            task.enqueue()


def inline_on_a_loop(app: QueueTasks, *tasks: Any) -> None:
    async def enqueue() -> None:
        with app.testing(inline=True):
            for task in tasks:
                await task.aenqueue()

        for _ in range(20):  # what lives on this loop is closed once it turns again
            await asyncio.sleep(0)

    asyncio.run(enqueue())


def drained(app: QueueTasks, *tasks: Any) -> None:
    with app.testing() as kit:
        for task in tasks:
            task.enqueue()

        kit.drain()


def drained_on_a_loop(app: QueueTasks, *tasks: Any) -> None:
    async def drain() -> None:
        with app.testing() as kit:
            for task in tasks:
                await task.aenqueue()

            await kit.adrain()

    asyncio.run(drain())


run_in_every_mode = pytest.mark.parametrize(
    "run", [in_a_worker, inline, inline_on_a_loop, drained, drained_on_a_loop], ids=lambda run: run.__name__
)


@run_in_every_mode
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_handlers(surrounded: Surrounded, run: Callable[..., None], is_async: bool) -> None:
    app, sources = surrounded.app, list[Any]()

    def listen(name: str) -> None:
        def hear(event: Event) -> None:
            surrounded.note(name)
            sources.append(current_source())

        async def ahear(event: Event) -> None:
            await asyncio.sleep(0)
            hear(event)

        getattr(app.on, name)(ahear if is_async else hear)

    names = ("started", "succeeded", "failed", "worker_started")

    for name in names:
        listen(name)

    @app.task
    def work() -> None:
        surrounded.note("job")

    @app.task
    async def fail() -> None:
        raise ValueError

    run(app, work, fail)
    wait_until(lambda: surrounded.seen.keys() >= {*names, "job"}, "every handler has heard")

    assert surrounded.is_inside(*names)
    assert len({surrounded.seen[name] for name in (*names, "job")}) == 5
    assert set(sources) == {app}
    wait_until(lambda: not surrounded.open, "every context was left")


@run_in_every_mode
@pytest.mark.parametrize("task_is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("scope", ["task", "worker", "process"])
def test_dependencies(surrounded: Surrounded, run: Callable[..., None], task_is_async: bool, scope: str) -> None:
    app, note = surrounded.app, surrounded.note

    def generator() -> Iterator[None]:
        note("generator opening")
        yield
        note("generator closing")

    async def async_generator() -> AsyncIterator[None]:
        note("async generator opening")
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(0)
        note("async generator closing")

    @contextmanager
    def manager() -> Iterator[None]:
        note("manager opening")
        yield
        note("manager closing")

    class Class:
        async def __aenter__(self) -> None:
            note("class opening")

        async def __aexit__(self, *told: object) -> None:
            note("class closing")

    parameters: tuple[Any, ...] = tuple(Depends(each, scope=scope) for each in (generator, async_generator, manager, Class))

    def work(a: None = parameters[0], b: None = parameters[1], c: None = parameters[2], d: None = parameters[3]) -> None:
        note("job")

    async def awork(a: None = parameters[0], b: None = parameters[1], c: None = parameters[2], d: None = parameters[3]) -> None:
        note("job")

    run(app, app.task("work")(awork if task_is_async else work))
    close_process()

    kinds = ("generator", "async generator", "manager", "class")
    steps = [f"{kind} {step}" for kind in kinds for step in ("opening", "closing")]
    assert surrounded.seen.keys() == {*steps, "job"}
    assert surrounded.is_inside(*steps)
    assert surrounded.open == set()


def test_what_cannot_be_surrounded_is_logged_and_harms_nothing(
    surrounded: Surrounded, caplog: pytest.LogCaptureFixture
) -> None:
    app = surrounded.app
    broken: list[AbstractContextManager[None]] = []

    def outside_of_jobs() -> AbstractContextManager[None]:
        return surrounded.context() if current_is_job() else broken.pop()

    def current_is_job() -> bool:
        return threading.current_thread().name != "cherga-herald"

    app.around_job[:] = [outside_of_jobs]
    app.on.succeeded(lambda event: surrounded.note("handler"))

    @app.task
    def work() -> str:
        return "done"

    with app.worker():
        assert work.enqueue().result(WAIT) == "done"
        wait_until(lambda: "a handler of 'succeeded' failed" in caplog.text, "the fault is logged")
        assert work.enqueue().result(WAIT) == "done"

    assert "handler" not in surrounded.seen
