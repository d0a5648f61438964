"""Declaring tasks: on applications, in routers, and shared; and what is said at once about wrong uses."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import pytest

from cherga import AsyncRouter, ConfigError, DuplicateTask, QueueTasks, Router, SyncRouter, ctx, shared_task


def line_of(function: Callable[..., Any]) -> int:
    code: CodeType = inspect.unwrap(function).__code__
    return code.co_firstlineno


class TestOnAnApplication:
    def test_every_form_of_the_decorator(self, app: QueueTasks) -> None:
        @app.task
        def bare() -> None: ...

        @app.task()
        def called() -> None: ...

        @app.task("by_position")
        def third() -> None: ...

        @app.task(name="by_keyword", retry=1)
        def fourth() -> None: ...

        assert sorted(app.tasks) == ["bare", "by_keyword", "by_position", "called"]
        assert app.tasks["by_keyword"] is fourth

    def test_a_clash_of_names_shows_both_places(self, app: QueueTasks) -> None:
        @app.task("mail")
        def first() -> None: ...

        def second() -> None: ...

        with pytest.raises(DuplicateTask) as caught:
            app.task("mail")(second)

        message = str(caught.value)
        assert f"{__file__}:{line_of(first.function)}" in message
        assert f"{__file__}:{line_of(second)}" in message
        assert app.tasks["mail"] is first

    def test_an_alias_clashes_too(self, app: QueueTasks) -> None:
        app.task(aliases=["old_mail"])(mail)

        with pytest.raises(DuplicateTask, match="'old_mail' is taken"):
            app.task("old_mail")(lambda: None)

    def test_other_keywords_are_kept(self, app: QueueTasks) -> None:
        @app.task(colour="red", weight=3)  # type: ignore[call-overload]
        def task() -> None: ...

        assert task.extra == {"colour": "red", "weight": 3}

    def test_extra_keeps_what_type_checkers_are_to_know_of(self, app: QueueTasks) -> None:
        @app.task(extra={"colour": "red", "queue": "of bees"})
        def task() -> None: ...

        assert task.extra == {"colour": "red", "queue": "of bees"}
        assert task.queue == "default"

    @pytest.mark.parametrize("extra", [None, 5, ["a"], {1: 2}])
    def test_extra_that_is_no_mapping_from_names_is_refused(self, app: QueueTasks, extra: Any) -> None:
        with pytest.raises(ConfigError, match="expected extra to be a mapping from names to values"):
            app.task(name="odd", extra=extra)(lambda: None)

    def test_a_task_that_is_declared_while_the_worker_runs_is_run(self, app: QueueTasks) -> None:
        app.task(mail)

        with app.worker():
            app.tasks["mail"].enqueue(1).result(5)

            @app.task
            async def late() -> str:
                return "late"

            assert late.enqueue().result(5) == "late"

    def test_one_function_may_be_a_task_of_two_applications(self, app: QueueTasks) -> None:
        other = QueueTasks("other", "memory://")
        again = other.task(app.task(mail))

        assert again.function is mail
        assert not again.is_async


def mail(number: int = 0) -> str:
    return f"mail {number}"


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    def sell(self) -> str:
        return self.name


async def amail(number: int = 0) -> str:
    return f"amail {number}"


class TestShared:
    def test_before_the_application_exists(self) -> None:
        @shared_task
        def shared_bare() -> str:
            return "shared"

        @shared_task(awaiting=True)
        async def shared_async() -> str:
            return "async shared"

        app = QueueTasks("late", "memory://")

        with app.worker():
            assert shared_bare.enqueue().result(5) == "shared"
            assert shared_async.enqueue().result(5) == "async shared"
            assert shared_bare() == "shared"

        assert app.tasks["shared_async"].is_async
        app.close()

    def test_after_the_application_exists(self, app: QueueTasks) -> None:
        @shared_task("shared_after", retry=2, priority=5, tags=["x"], description="shared", queue="lib")
        def after(number: int) -> int:
            return number

        with app.worker():
            job = after.enqueue(7)
            assert job.result(5) == 7

        assert (job.queue, job.priority, job.tags, job.description) == ("lib", 5, ("x",), "shared")
        assert app.tasks["shared_after"].policy.retry.max == 2

    def test_with_several_applications_each_has_its_own_and_a_job_uses_that_of_its_application(self, app: QueueTasks) -> None:
        @shared_task
        def shared_inner() -> str:
            found = ctx.host.app.name
            return str(found)

        @shared_task
        def shared_outer() -> list[str]:
            return [str(ctx.host.app.name), shared_inner.enqueue().result(5)]

        other = QueueTasks("the-other", "memory://")

        with app.worker(threads=1), other.worker(threads=1):
            assert app.tasks["shared_outer"].enqueue().result(5) == [app.name, app.name]
            assert shared_outer.enqueue().result(5) == ["the-other", "the-other"]
            assert app.add_task("shared_outer").result(5) == [app.name, app.name]

        other.close()

    def test_without_an_application_it_says_what_is_missing(self) -> None:
        script = """if True:
            from cherga import shared_task, ConfigError

            @shared_task
            def alone() -> None: ...

            for task in (alone, alone.using(priority=3)):
                try:
                    task.enqueue()
                except ConfigError as error:
                    print(error)
        """
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=20)

        assert ran.stdout.splitlines() == ["expected an application; make one first: app = QueueTasks(...)"] * 2

    def test_an_application_that_is_gone_is_not_meant(self, app: QueueTasks) -> None:
        @shared_task
        def shared_kept() -> str:
            return "kept"

        QueueTasks("gone", "memory://")
        gc.collect()

        with app.worker():
            assert shared_kept.enqueue().result(5) == "kept"

    def test_two_libraries_may_not_share_a_name(self) -> None:
        @shared_task("shared_clash")
        def first() -> None: ...

        def second() -> None: ...

        with pytest.raises(DuplicateTask, match=rf"{line_of(first.function)} and .*{line_of(second)}"):
            shared_task("shared_clash")(second)

    def test_what_one_factory_makes_of_two_values_is_two_tasks(self) -> None:
        def make(label: str) -> Callable[[], str]:
            return lambda: label

        shared_task("shared_report")(make("daily"))

        with pytest.raises(DuplicateTask, match="the task name 'shared_report' is taken"):
            shared_task("shared_report")(make("weekly"))

    def test_of_two_objects_methods_the_last_is_enqueued_and_the_first_refuses(self, app: QueueTasks) -> None:
        first, second = (shared_task("shared_sale")(Shop(name).sell) for name in ("corner", "market"))

        with app.worker():
            assert second.enqueue().result(5) == "market"

        with pytest.raises(DuplicateTask, match="was declared a second time"):
            first.enqueue()

    def test_awaiting_is_for_async_functions(self) -> None:
        with pytest.raises(ConfigError, match=r"task mail .*expected awaiting=True on an async def function"):
            shared_task(awaiting=True)(mail)


class TestRouters:
    def test_async_and_sync_routers_are_one(self) -> None:
        assert AsyncRouter is SyncRouter is Router

    @pytest.mark.parametrize("first", ["include", "declare"])
    def test_tasks_may_be_added_before_and_after_the_router_is_included(self, app: QueueTasks, first: str) -> None:
        router = AsyncRouter()

        if first == "include":
            app.include_router(router)

        @router.task()
        async def example() -> str:
            return "Router task"

        if first == "declare":
            app.include_router(router)

        with app.worker():
            assert example.enqueue().result(5) == "Router task"
            assert app.add_task("example").result(5) == "Router task"

    def test_prefix_and_default_options_and_nesting(self, app: QueueTasks) -> None:
        outer = Router("shop", queue="shop", retry=3, tags=["outer"])
        inner = Router("mail", priority=5, tags=["inner"])
        task = inner.task(retry=1)(mail)
        outer.include_router(inner)
        own = outer.task("own")(amail)
        app.include_router(outer)
        late = inner.task("late")(mail)

        assert sorted(app.tasks) == ["shop.mail.late", "shop.mail.mail", "shop.own"]

        with app.worker():
            jobs = [task.enqueue(1), own.enqueue(2), late.using(priority=-5).enqueue(3)]
            assert [job.result(5) for job in jobs] == ["mail 1", "amail 2", "mail 3"]

        assert [job.task_name for job in jobs] == ["shop.mail.mail", "shop.own", "shop.mail.late"]
        assert [(job.queue, job.priority, job.tags) for job in jobs] == [
            ("shop", 5, ("inner",)),
            ("shop", 0, ("outer",)),
            ("shop", -5, ("inner",)),
        ]
        assert [app.tasks[job.task_name].policy.retry.max for job in jobs] == [1, 3, 3]

    def test_one_router_in_two_applications_sends_where_its_job_runs(self, app: QueueTasks) -> None:
        router = Router()

        @router.task
        def inner() -> str:
            return str(ctx.host.app.name)

        @router.task
        def outer() -> list[str]:
            return [str(ctx.host.app.name), inner.enqueue().result(5)]

        other = QueueTasks("the-other", "memory://")
        app.include_router(router)
        other.include_router(router)

        with app.worker(), other.worker():
            assert app.tasks["outer"].enqueue().result(5) == [app.name, app.name]
            assert outer.enqueue().result(5) == ["the-other", "the-other"]

        other.close()

    def test_a_task_that_has_not_joined_an_application_says_how(self) -> None:
        task = Router("mail").task(mail)

        with pytest.raises(ConfigError, match=r"the router's task mail\.mail to belong to an application.*include_router"):
            task.enqueue(1)

        assert task(1) == "mail 1"

    def test_a_clash_with_the_application_shows_both_places(self, app: QueueTasks) -> None:
        router = Router()
        router.task("mail")(amail)
        app.task(mail)

        with pytest.raises(DuplicateTask, match=rf"{line_of(mail)} and .*{line_of(amail)}"):
            app.include_router(router)

    def test_a_router_may_not_stand_in_itself(self) -> None:
        outer, inner = Router(), Router()
        outer.include_router(inner)

        for router in (outer, inner):
            with pytest.raises(ConfigError, match="not to be included in itself"):
                router.include_router(outer)

    def test_something_else_is_no_router(self, app: QueueTasks) -> None:
        with pytest.raises(ConfigError, match="expected a router, got 'mail'"):
            app.include_router("mail")  # type: ignore[arg-type]


class Called:
    """An object that can be called, ``async def``."""

    __name__ = "called"

    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0)
        return number


class Yields:
    __name__ = "yields"

    def __call__(self, number: int) -> Iterator[int]:
        yield number


def test_an_object_is_what_its_call_is(app: QueueTasks) -> None:
    app.task(Called())
    app.task(Yields())

    with app.worker():
        assert app.tasks["called"].enqueue(7).result(5) == 7
        assert app.tasks["yields"].enqueue(7).result(5) == [7]
