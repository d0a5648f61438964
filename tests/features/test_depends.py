"""``Depends``: opened for each job, closed after it in reverse order, whatever happens; shared ones are opened once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import pytest
from msgspec import Struct

from cherga import ConfigError, Context, Depends, Job, JobCancelled, JobFailed, QueueTasks, Snooze, ctx
from cherga.testing import wait_until

diary: list[str] = []


@pytest.fixture(autouse=True)
def empty_diary() -> None:
    diary.clear()


def generator() -> Iterator[str]:
    diary.append("open generator")
    yield "generator"
    diary.append("close generator")


async def async_generator(inner: Annotated[str, Depends(generator)]) -> AsyncIterator[str]:
    await asyncio.sleep(0)
    diary.append("open async_generator")
    yield f"async_generator({inner})"
    await asyncio.sleep(0)
    diary.append("close async_generator")


@contextmanager
def manager(inner: str = Depends(async_generator)) -> Iterator[str]:
    diary.append("open manager")
    yield f"manager({inner})"
    diary.append("close manager")


@asynccontextmanager
async def async_manager(inner: str = Depends(manager)) -> AsyncIterator[str]:
    diary.append("open async_manager")
    yield f"async_manager({inner})"
    diary.append("close async_manager")


def function(inner: str = Depends(async_manager)) -> str:
    return f"function({inner})"


async def coroutine(inner: str = Depends(function)) -> str:
    await asyncio.sleep(0)
    return f"coroutine({inner})"


KINDS = ["generator", "async_generator", "manager", "async_manager"]
ALL = "coroutine(function(async_manager(manager(async_generator(generator)))))"


def declare(app: QueueTasks, is_async: bool, body: Callable[[str], Any]) -> Any:
    """The same body as a ``def`` and as an ``async def`` task, which needs all kinds of dependencies."""
    if is_async:

        @app.task(name="job")
        async def ajob(number: int, value: str = Depends(coroutine)) -> Any:
            await asyncio.sleep(0)
            return body(value)

        return ajob

    @app.task(name="job")
    def job(number: int, value: str = Depends(coroutine)) -> Any:
        return body(value)

    return job


@pytest.mark.parametrize("is_async", [False, True])
class TestOneJob:
    def test_every_kind_is_opened_and_closed_in_reverse_order(self, app: QueueTasks, is_async: bool) -> None:
        task = declare(app, is_async, lambda value: [value, list(diary)])

        with app.worker():
            value, opened = task.enqueue(1).result(5)

        assert value == ALL
        assert opened == [f"open {kind}" for kind in KINDS]
        assert diary[4:] == [f"close {kind}" for kind in reversed(KINDS)]

    @pytest.mark.parametrize("error", [ValueError("x"), Snooze(60), SystemExit(3)])
    def test_they_hear_of_what_the_task_raised(self, app: QueueTasks, is_async: bool, error: BaseException) -> None:
        def session() -> Iterator[str]:
            try:
                yield "session"
                diary.append("commit")
            except BaseException as raised:
                diary.append(f"rollback {type(raised).__name__}")
                raise

        def fail() -> None:
            raise error

        if is_async:

            @app.task(name="job")
            async def ajob(s: str = Depends(session)) -> None:
                fail()
        else:

            @app.task(name="job")
            def job(s: str = Depends(session)) -> None:
                fail()

        with app.worker():
            app.tasks["job"].enqueue()
            wait_until(lambda: diary, "the session is closed")

        assert diary == [f"rollback {type(error).__name__}"]

    def test_an_error_that_one_of_them_swallows_still_fails_the_job_and_rolls_the_others_back(
        self, app: QueueTasks, is_async: bool
    ) -> None:
        def outer() -> Iterator[int]:
            try:
                yield 1
                diary.append("outer committed")
            except ZeroDivisionError:
                diary.append("outer rolled back")
                raise

        @contextmanager
        def inner(o: int = Depends(outer)) -> Iterator[int]:
            try:
                yield 2
            except ZeroDivisionError:
                diary.append("inner swallowed")

        if is_async:

            @app.task(name="job")
            async def ajob(i: int = Depends(inner)) -> float:
                return 1 / 0
        else:

            @app.task(name="job")
            def job(i: int = Depends(inner)) -> float:
                return 1 / 0

        with app.worker(), pytest.raises(JobFailed, match="division by zero"):
            app.tasks["job"].enqueue().result(5)

        assert diary == ["inner swallowed", "outer rolled back"]

    def test_one_that_fails_while_closing_fails_the_job_and_the_others_are_closed_with_its_error(
        self, app: QueueTasks, is_async: bool
    ) -> None:
        def outer() -> Iterator[int]:
            try:
                yield 1
            except RuntimeError as error:
                diary.append(f"outer heard {error}")
                raise

        async def inner(o: int = Depends(outer)) -> AsyncIterator[int]:
            yield 2
            raise RuntimeError("commit failed")

        if is_async:

            @app.task(name="job")
            async def ajob(i: int = Depends(inner)) -> str:
                return "done"
        else:

            @app.task(name="job")
            def job(i: int = Depends(inner)) -> str:
                return "done"

        with app.worker(), pytest.raises(JobFailed, match="commit failed"):
            app.tasks["job"].enqueue().result(5)

        assert diary == ["outer heard commit failed"]

    def test_one_that_cannot_be_opened_fails_the_job_and_what_was_open_is_closed(self, app: QueueTasks, is_async: bool) -> None:
        def broken(inner: str = Depends(generator)) -> str:
            raise ConnectionError("no database")

        if is_async:

            @app.task(name="job")
            async def ajob(b: str = Depends(broken)) -> None:
                diary.append("ran")
        else:

            @app.task(name="job")
            def job(b: str = Depends(broken)) -> None:
                diary.append("ran")

        with app.worker(), pytest.raises(JobFailed, match="no database"):
            app.tasks["job"].enqueue().result(5)

        assert diary == ["open generator"]

    def test_a_dependency_that_is_needed_twice_is_opened_once_for_the_job(self, app: QueueTasks, is_async: bool) -> None:
        def left(g: str = Depends(generator)) -> str:
            return g

        if is_async:

            @app.task(name="job")
            async def ajob(a: str = Depends(left), b: str = Depends(generator)) -> list[str]:
                return [a, b]
        else:

            @app.task(name="job")
            def job(a: str = Depends(left), b: str = Depends(generator)) -> list[str]:
                return [a, b]

        with app.worker():
            assert app.tasks["job"].enqueue().result(5) == ["generator", "generator"]

        assert diary == ["open generator", "close generator"]


class Connection:
    """A context manager that is a dependency itself, and one that is merely returned by another."""

    def __init__(self, context: Context) -> None:
        self.owner = context.owner
        self.entered = 0

    def __enter__(self) -> Connection:
        self.entered += 1
        return self

    def __exit__(self, *error: object) -> None:
        diary.append("left")


def test_a_class_is_entered_and_gets_the_context_and_what_a_function_returns_is_not(app: QueueTasks) -> None:
    kept = Connection.__new__(Connection)
    kept.entered = 0

    def pool() -> Connection:
        return kept

    @app.task
    def look(connection: Connection = Depends(Connection), own: Connection = Depends(pool)) -> list[Any]:
        return [connection.owner, connection.entered, own.entered]

    with app.worker():
        assert look.using(owner="user:7").enqueue().result(5) == ["user:7", 1, 0]

    assert diary == ["left"]


def test_dependencies_find_their_place_among_all_kinds_of_parameters(app: QueueTasks) -> None:
    @app.task
    def first(g: Annotated[str, Depends(generator)], a: int, context: Context, b: int = 2, *rest: int, c: int = 3) -> list[Any]:
        return [g, a, context.attempt, b, rest, c]

    @app.task(echo=True)
    def after_self(self: Any, a: int, g: Annotated[str, Depends(generator)], /, *, b: int, **more: int) -> list[Any]:
        return [self.task_name, a, g, b, more]

    enqueue: Callable[..., Job[Any]] = first.enqueue
    enqueue_echo: Callable[..., Job[Any]] = after_self.enqueue

    with app.worker():
        assert enqueue(1, 5, 6, 7, c=8).result(5) == ["generator", 1, 1, 5, (6, 7), 8]
        assert enqueue(1).result(5) == ["generator", 1, 1, 2, (), 3]
        assert enqueue_echo(1, b=2, d=4).result(5) == ["after_self", 1, "generator", 2, {"d": 4}]


def test_a_sender_cannot_pass_a_dependency(app: QueueTasks) -> None:
    @app.task
    def task(value: str = Depends(generator)) -> str:
        return value

    with pytest.raises(Exception, match="unexpected keyword argument"):
        task.enqueue(value="mine")


def test_each_of_many_jobs_side_by_side_closes_its_own(app: QueueTasks) -> None:
    open_now: set[str] = set()

    async def own() -> AsyncIterator[str]:
        name = str(ctx.job_id)
        open_now.add(name)

        try:
            yield name
        finally:
            await asyncio.sleep(0)
            open_now.remove(name)

    @app.task
    async def job(number: int, name: str = Depends(own)) -> bool:
        await asyncio.sleep(0.001 * (number % 5))

        if number % 3 == 0:
            raise ValueError(number)

        return name in open_now and name == str(ctx.job_id)

    with app.worker():
        jobs = job.enqueue_many([(number,) for number in range(40)])
        wait_until(lambda: all(each.is_finished for each in jobs), "all jobs have ended")

    assert [each.refresh().is_succeeded and each.result() for each in jobs] == [number % 3 != 0 for number in range(40)]
    assert not open_now


class TestBeingStopped:
    async def opened(self) -> AsyncIterator[str]:
        diary.append("open")

        try:
            yield "x"
        finally:
            await asyncio.sleep(0)
            diary.append("close")

    def hanging(self, app: QueueTasks, **options: Any) -> Any:
        @app.task(**options)
        async def hang(value: str = Depends(self.opened)) -> None:
            diary.append("run")
            await asyncio.sleep(60)

        return hang

    def test_cancellation_closes_them(self, app: QueueTasks) -> None:
        task = self.hanging(app)

        with app.worker():
            job = task.enqueue()
            wait_until(lambda: "run" in diary, "the job runs")
            job.cancel("enough")

            with pytest.raises(JobCancelled):
                job.result(5)

        assert diary == ["open", "run", "close"]

    def test_max_time_closes_them(self, app: QueueTasks) -> None:
        task = self.hanging(app, max_time=0.05)

        with app.worker(), pytest.raises(JobFailed, match="max_time"):
            task.enqueue().result(5)

        assert diary == ["open", "run", "close"]

    def test_a_drain_closes_them(self, app: QueueTasks) -> None:
        app.configure(app.name, app.broker_url, **{**app.given_settings, "grace": 0.1})
        task = self.hanging(app)

        with app.worker():
            job = task.enqueue()
            wait_until(lambda: "run" in diary, "the job runs")

        assert diary == ["open", "run", "close"]
        assert job.refresh().interruptions == 1

    def test_a_thread_past_its_time_closes_its_own_when_it_ends(self, app: QueueTasks) -> None:
        @app.task(max_time=0.05)
        def slow(value: str = Depends(generator)) -> None:
            ctx.sleep(60)

        with app.worker(), pytest.raises(JobFailed, match="max_time"):
            slow.enqueue().result(5)

        wait_until(lambda: diary == ["open generator"] or len(diary) == 2, "the dependency is closed")

    def test_a_thread_that_waits_for_something_async_is_woken_by_a_cancellation(self, app: QueueTasks) -> None:
        async def endless(g: str = Depends(generator)) -> AsyncIterator[str]:
            try:
                diary.append("endless begun")
                await asyncio.sleep(60)
                yield "never"
            finally:
                diary.append("endless ended")

        @app.task
        def job(value: str = Depends(endless)) -> None: ...

        with app.worker():
            each = job.enqueue()
            wait_until(lambda: "endless begun" in diary, "the dependency is being opened")
            each.cancel()

            with pytest.raises(JobCancelled):
                each.result(5)

            wait_until(lambda: "endless ended" in diary, "the wait has ended")

    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize("when", ["opening", "closing"])
    def test_a_dependency_may_cancel_the_job_itself(self, app: QueueTasks, is_async: bool, when: str) -> None:
        async def picky(context: Context) -> AsyncIterator[str]:
            if when == "opening":
                context.cancel("not today")

            yield "picky"
            context.cancel("not today")

        if is_async:

            @app.task(name="job", retry=3)
            async def ajob(value: str = Depends(picky)) -> None: ...
        else:

            @app.task(name="job", retry=3)
            def job(value: str = Depends(picky)) -> None: ...

        with app.worker():
            each = app.tasks["job"].enqueue()

            with pytest.raises(JobCancelled, match="not today"):
                each.result(5)

        assert each.attempt == 1

    def test_what_must_be_left_in_the_task_that_entered_it_is_so_for_threads_too(self, app: QueueTasks) -> None:
        async def limited() -> AsyncIterator[str]:
            try:
                async with asyncio.timeout(60):
                    yield "limited"
            except ValueError as error:
                diary.append(f"heard {error}")
                raise

        @app.task
        def job(fail: bool, value: str = Depends(limited)) -> str:
            if fail:
                raise ValueError("this")

            return value

        with app.worker():
            assert job.enqueue(False).result(5) == "limited"

            with pytest.raises(JobFailed, match="ValueError: this"):
                job.enqueue(True).result(5)

        assert diary == ["heard this"]


class TestShared:
    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize("scope", ["worker", "process"])
    def test_eight_threads_open_it_once(self, app: QueueTasks, is_async: bool, scope: str) -> None:
        meeting = threading.Barrier(8, timeout=5)
        pause = threading.Event()

        def pool() -> Iterator[object]:
            diary.append("open")
            pause.wait(0.05)
            yield object()
            diary.append("close")

        async def apool() -> AsyncIterator[object]:
            diary.append("open")
            await asyncio.sleep(0.05)
            yield object()
            diary.append("close")

        def meet() -> None:
            meeting.wait()

        kind: Callable[[], Any] = apool if is_async else pool

        @app.task
        def job(number: int, met: None = Depends(meet), shared: object = Depends(kind, scope=scope)) -> int:
            return id(shared)

        with app.worker(threads=8):
            jobs = job.enqueue_many([(number,) for number in range(8)])
            assert len({each.result(5) for each in jobs}) == 1
            assert diary == ["open"]

        if scope == "worker" or is_async:
            assert diary == ["open", "close"]

    def test_many_coroutines_and_threads_open_it_once_together(self, app: QueueTasks) -> None:
        async def pool() -> AsyncIterator[object]:
            diary.append("open")
            await asyncio.sleep(0.05)
            yield object()
            diary.append("close")

        @app.task
        async def ajob(number: int, pool: object = Depends(pool, scope="worker")) -> int:
            return id(pool)

        @app.task
        def job(number: int, pool: object = Depends(pool, scope="worker")) -> int:
            return id(pool)

        with app.worker():
            jobs: list[Job[int]] = [*ajob.enqueue_many([(n,) for n in range(20)]), *job.enqueue_many([(n,) for n in range(20)])]
            assert len({each.result(5) for each in jobs}) == 1

        assert diary == ["open", "close"]

    def test_each_life_of_a_worker_opens_its_own(self, app: QueueTasks) -> None:
        def pool() -> Iterator[str]:
            diary.append("open")
            yield "pool"
            diary.append("close")

        @app.task
        def job(pool: str = Depends(pool, scope="worker")) -> str:
            return pool

        for _ in range(2):
            with app.worker():
                job.enqueue().result(5)
                job.enqueue().result(5)

        assert diary == ["open", "close"] * 2

    def test_the_process_keeps_its_own_from_one_worker_to_the_next(self, app: QueueTasks) -> None:
        def cache() -> dict[str, int]:
            diary.append("open")
            return {}

        @app.task
        def job(cache: dict[str, int] = Depends(cache, scope="process")) -> int:
            cache["jobs"] = cache.get("jobs", 0) + 1
            return cache["jobs"]

        seen = []

        for _ in range(2):
            with app.worker():
                seen += [job.enqueue().result(5), job.enqueue().result(5)]

        assert (seen, diary) == ([1, 2, 3, 4], ["open"])

    def test_they_are_closed_in_reverse_order_by_the_task_that_opened_them(self, app: QueueTasks) -> None:
        async def engine() -> AsyncIterator[str]:
            async with asyncio.timeout(None):  # must be left in the task that entered it
                diary.append("open engine")
                yield "engine"
                diary.append("close engine")

        def sessions(engine: str = Depends(engine, scope="worker")) -> Iterator[str]:
            diary.append("open sessions")
            yield f"sessions({engine})"
            diary.append("close sessions")

        @app.task
        async def job(sessions: str = Depends(sessions, scope="worker")) -> str:
            return sessions

        with app.worker():
            assert job.enqueue().result(5) == "sessions(engine)"

        assert diary == ["open engine", "open sessions", "close sessions", "close engine"]

    def test_a_failure_while_opening_is_the_jobs_alone_and_the_next_job_tries_again(self, app: QueueTasks) -> None:
        def pool() -> str:
            diary.append("try")

            if len(diary) < 3:
                raise ConnectionError("not yet")

            return "pool"

        @app.task
        def job(number: int, pool: str = Depends(pool, scope="worker")) -> str:
            return pool

        with app.worker(threads=1):
            jobs = job.enqueue_many([(number,) for number in range(4)])
            wait_until(lambda: all(each.is_finished for each in jobs), "all jobs have ended")

        assert [each.refresh().is_succeeded for each in jobs] == [False, False, True, True]

    def test_the_job_that_opens_it_may_be_cancelled_without_harm_to_those_who_wait(self, app: QueueTasks) -> None:
        go_on = threading.Event()

        async def pool() -> AsyncIterator[str]:
            diary.append("open")

            while not go_on.is_set():
                await asyncio.sleep(0.005)

            yield "pool"
            diary.append("close")

        @app.task
        async def job(number: int, pool: str = Depends(pool, scope="worker")) -> str:
            return pool

        with app.worker():
            first = job.enqueue(1)
            wait_until(lambda: diary, "the first job opens the pool")
            second = job.enqueue(2)
            wait_until(lambda: second.is_running, "the second job waits for it")
            first.cancel()

            with pytest.raises(JobCancelled):
                first.result(5)

            go_on.set()
            assert second.result(5) == "pool"

        assert diary == ["open", "close"]

    def test_one_that_cannot_be_closed_holds_up_nothing(self, app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
        def first() -> Iterator[str]:
            yield "first"
            diary.append("first closed")

        def second(first: str = Depends(first, scope="worker")) -> Iterator[str]:
            yield "second"
            raise OSError("it is stuck")

        @app.task
        def job(second: str = Depends(second, scope="worker")) -> str:
            return second

        with app.worker():
            assert job.enqueue().result(5) == "second"

        assert diary == ["first closed"]
        assert "it is stuck" in caplog.text


class TestOverrides:
    def real(self) -> str:
        raise AssertionError("the real one is opened")

    def test_something_else_stands_in_for_a_dependency(self, app: QueueTasks) -> None:
        def outer(inner: str = Depends(self.real)) -> str:
            return f"outer({inner})"

        def fake(g: str = Depends(generator)) -> Iterator[str]:
            yield f"fake({g})"
            diary.append("fake closed")

        @app.task
        def job(value: str = Depends(outer)) -> str:
            return value

        app.dependency_overrides[self.real] = fake

        with app.worker():
            assert job.enqueue().result(5) == "outer(fake(generator))"

        assert diary[1:] == ["fake closed", "close generator"]

    def test_a_stand_in_lives_as_long_and_may_not_need_what_lives_shorter(self, app: QueueTasks) -> None:
        def fake(g: str = Depends(generator)) -> str:
            return g

        @app.task
        def job(value: str = Depends(self.real, scope="worker")) -> str:
            return value

        app.dependency_overrides[self.real] = fake

        with app.worker(), pytest.raises(JobFailed, match="lives shorter"):
            job.enqueue().result(5)


class TestWrongUses:
    def test_a_scope_that_does_not_exist(self) -> None:
        with pytest.raises(ConfigError, match=r"expected a scope of task, worker, process; got 'request'"):
            Depends(generator, scope="request")

    def test_what_cannot_be_called(self) -> None:
        with pytest.raises(ConfigError, match="expected Depends to be given a function, got 'session'"):
            Depends("session")  # type: ignore[arg-type]

    @pytest.mark.parametrize("scope", ["worker", "process"])
    def test_what_lives_longer_may_not_need_what_lives_shorter(self, scope: str) -> None:
        def engine(session: str = Depends(generator)) -> str:
            return session

        with pytest.raises(ConfigError, match=f"engine .scope {scope}. not to depend on generator, which lives shorter"):
            Depends(engine, scope=scope)

    def test_what_lives_longer_may_not_take_the_context_of_one_job(self) -> None:
        def engine(context: Context) -> str:
            return context.task_name

        with pytest.raises(ConfigError, match="not to take the context of one job"):
            Depends(engine, scope="worker")

    def test_a_parameter_that_nothing_fills(self) -> None:
        def engine(url: str) -> str:
            return url

        with pytest.raises(ConfigError, match=r"expected parameter 'url' of the dependency .*engine to have a default"):
            Depends(engine)


class ForeignDepends:
    """As other libraries have it; each calls it Depends and keeps the function as ``dependency``."""

    def __init__(self, dependency: Any = None) -> None:
        self.dependency = dependency


def foreign(name: str, library: str, **more: Any) -> Any:
    """A dependency of that class of that library."""
    return type(name, (ForeignDepends,), {"__module__": f"{library}.params"})(**more)


class Dependency(Struct):
    """What a package needs."""

    name: str


LODASH = Dependency("lodash")


def get_session() -> str:
    return "session"


class TestOfOtherLibraries:
    @pytest.mark.parametrize(
        ("name", "library"),
        [
            ("Depends", "fastapi"),
            ("Security", "fastapi"),
            ("Depends", "fast_depends"),
            ("Dependant", "fast_depends"),
            ("_Depends", "docket"),
            ("Dependency", "taskiq_dependencies"),
            ("Provide", "dependency_injector"),
            ("Provide", "litestar"),
            ("DependencyKwarg", "litestar"),
            ("FromComponent", "dishka"),
        ],
    )
    def test_a_dependency_of_another_library_is_refused(self, app: QueueTasks, name: str, library: str) -> None:
        theirs = foreign(name, library, dependency=get_session)

        def by_default(session: Any = theirs) -> None: ...
        def by_hint(session: Any) -> None: ...
        def behind_ours(session: Any = theirs) -> None: ...

        by_hint.__annotations__["session"] = Annotated[str, theirs]
        words = (
            rf"expected cherga's Depends for the parameter 'session', got that of {library}, which is not opened here; write "
            r"session=Depends\(get_session\) with from cherga import Depends"
        )

        for function in (by_default, by_hint):
            with pytest.raises(ConfigError, match=rf"task {function.__name__} \(.*{words}"):
                app.task(function)

        with pytest.raises(ConfigError, match=words):
            Depends(behind_ours)

    def test_a_class_that_happens_to_be_called_so_is_a_value(self, app: QueueTasks) -> None:
        @app.task
        def install(what: Dependency = LODASH) -> str:
            return what.name

        with app.testing(inline=True):
            assert install.enqueue().result() == "lodash"
