"""Two declarations under one name: one function that is declared again, or two that must not be taken for one."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cherga import Depends, DuplicateTask, QueueTasks, Router, Task

Declare = Callable[[Any], Any]


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    with (made := QueueTasks("shop", "memory://")).testing(inline=True):
        yield made


def line_of(function: Callable[..., Any]) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


class Logged:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def charge(order: int) -> str:
    return f"charged {order}"


def refund(order: int) -> str:
    return f"refunded {order}"


class Shop:
    def __init__(self, name: str = "corner") -> None:
        self.name = name

    def sell(self) -> str:
        return self.name

    @classmethod
    def close(cls) -> str:
        return cls.__name__


class Market(Shop): ...


class TestBehindOneDecorator:
    def test_two_functions_are_refused_with_both_places(self, app: QueueTasks) -> None:
        first = app.task(logged(charge))

        with pytest.raises(DuplicateTask) as caught:
            app.task(logged(refund))

        message = str(caught.value)
        assert message.startswith("the task name 'inner' is taken: ")
        assert f"charge at {line_of(charge)}" in message
        assert f"refund at {line_of(refund)}" in message
        assert "functools.wraps" in message
        assert first.enqueue(7).result() == "charged 7"

    def test_also_where_the_decorator_is_a_class(self, app: QueueTasks) -> None:
        app.task("pay")(Logged(charge))

        with pytest.raises(DuplicateTask, match=r"charge at .*refund at"):
            app.task("pay")(Logged(refund))

    def test_also_behind_several(self, app: QueueTasks) -> None:
        app.task("pay")(logged(functools.cache(logged(charge))))

        with pytest.raises(DuplicateTask, match="the task name 'pay' is taken"):
            app.task("pay")(logged(functools.cache(logged(refund))))

    def test_with_names_of_their_own_each_is_itself(self, app: QueueTasks) -> None:
        first, second = app.task("charge")(logged(charge)), app.task("refund")(logged(refund))

        assert (first.enqueue(7).result(), second.enqueue(8).result()) == ("charged 7", "refunded 8")

    def test_one_function_behind_two_decorators_is_two_tasks(self, app: QueueTasks) -> None:
        app.task("pay")(functools.wraps(charge)(logged(charge)))

        with pytest.raises(DuplicateTask, match="the task name 'pay' is taken"):
            app.task("pay")(charge)

    def test_the_same_one_declared_again_is_the_same(self, app: QueueTasks) -> None:
        first = app.task(logged(charge))
        app.task(logged(charge))

        assert first.enqueue(7).result() == "charged 7"


def made_by_closure(value: Any) -> Callable[[], Any]:
    def report() -> str:
        return repr(value)

    return report


def made_by_default(value: Any) -> Callable[[], Any]:
    def report(value: Any = value) -> str:
        return repr(value)

    return report


def made_by_keyword(value: Any) -> Callable[[], Any]:
    def report(*, value: Any = value) -> str:
        return repr(value)

    return report


def made_by_partial(value: Any) -> Callable[[], Any]:
    return functools.partial(repr, value)


def made_by_dependency(value: Any) -> Callable[[], Any]:
    def report(value: Any = Depends(value)) -> str:
        return repr(value)

    return report


MAKERS = [made_by_closure, made_by_default, made_by_keyword, made_by_partial]


class TestMadeByOneFactory:
    @pytest.mark.parametrize("make", MAKERS)
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("daily", "weekly"),
            (1, 2),
            (1, True),
            (1, None),
            (b"a", b"b"),
            ((1, "a"), (1, "b")),
            (Shop, Market),
            (charge, refund),
        ],
    )
    def test_with_other_values_two_tasks_are_refused(self, app: QueueTasks, make: Declare, one: Any, other: Any) -> None:
        app.task("report")(make(one))

        with pytest.raises(DuplicateTask, match="the task name 'report' is taken"):
            app.task("report")(make(other))

    def test_what_differs_is_told(self, app: QueueTasks) -> None:
        app.task(made_by_closure("daily"))

        with pytest.raises(DuplicateTask, match=r"\(value: 'daily'\) and .*\(value: 'weekly'\); use functools.wraps"):
            app.task(made_by_closure("weekly"))

    def test_other_dependencies_are_other_values(self, app: QueueTasks) -> None:
        app.task(made_by_dependency(Shop))
        app.task(made_by_dependency(Shop))

        with pytest.raises(DuplicateTask, match="the task name 'report' is taken"):
            app.task(made_by_dependency(Market))

    @pytest.mark.parametrize("make", MAKERS)
    @pytest.mark.parametrize("value", ["daily", 10**9, Shop, charge, 2.5])
    def test_with_the_same_values_it_is_declared_again(self, app: QueueTasks, make: Declare, value: Any) -> None:
        first = app.task("report")(make(value))
        second = app.task("report")(make(value))

        assert app.tasks["report"] is second
        assert first.enqueue().result() == repr(value)

    @pytest.mark.parametrize("make", MAKERS)
    @pytest.mark.parametrize("kind", [Shop, list, dict, object, Path])
    def test_with_objects_the_last_one_stands_and_the_first_is_enqueued_no_more(
        self, app: QueueTasks, make: Declare, kind: Callable[[], Any]
    ) -> None:
        first = app.task("report")(make(kind()))
        app.task("report")(make(kind()))

        assert app.add_task("report").is_succeeded

        with pytest.raises(DuplicateTask, match="the task report was declared a second time, made with other objects"):
            first.enqueue()

        with pytest.raises(DuplicateTask):
            first.using(priority=3).s()

    def test_methods_of_two_objects(self, app: QueueTasks) -> None:
        first = app.task(Shop("corner").sell)
        second = app.task(Shop("market").sell)

        assert second.enqueue().result() == "market"

        with pytest.raises(DuplicateTask, match="was declared a second time"):
            first.enqueue()

    def test_class_methods_of_two_classes(self, app: QueueTasks) -> None:
        app.task(Shop.close)

        with pytest.raises(DuplicateTask, match="the task name 'close' is taken"):
            app.task(Market.close)

    def test_two_lambdas_on_one_line(self, app: QueueTasks) -> None:
        one, other = (lambda: 1), (lambda: 2)
        app.task("work")(one)

        with pytest.raises(DuplicateTask, match="the task name 'work' is taken"):
            app.task("work")(other)

    def test_a_function_in_its_own_closure_is_no_trouble(self, app: QueueTasks) -> None:
        def make() -> Callable[[int], int]:
            def count(number: int) -> int:
                return count(number - 1) if number else 0

            return count

        app.task(make())
        assert app.task(make()).enqueue(3).result() == 0

    def test_one_function_with_other_options_is_enqueued_with_the_last(self, app: QueueTasks) -> None:
        first = app.task(retry=1)(charge)
        again = app.task(retry=1)(charge)
        assert first.enqueue(1).result() == again.enqueue(1).result()

        second = app.task(retry=2)(charge)
        assert second.enqueue(1).result() == "charged 1"

        with pytest.raises(DuplicateTask, match="other objects or options"):
            first.enqueue(1)


class TestElsewhere:
    def test_two_applications_have_their_own(self, app: QueueTasks) -> None:
        other = QueueTasks("other", "memory://")
        one, two = app.task(made_by_closure("daily")), other.task(made_by_closure("weekly"))

        assert (one.function(), two.function()) == ("'daily'", "'weekly'")

    def test_an_application_that_is_set_up_anew_may_have_other_values(self) -> None:
        app = QueueTasks("shop", "memory://")
        first = app.task(made_by_closure("testing"))
        app.configure("shop", "memory://")
        second = app.task(made_by_closure("production"))

        with app.testing(inline=True):
            assert first.enqueue().result() == second.enqueue().result() == "'production'"

        with pytest.raises(DuplicateTask):
            app.task(made_by_closure("development"))

    def test_routers(self, app: QueueTasks) -> None:
        router = Router()
        first = router.task("sale")(Shop("corner").sell)
        second = router.task("sale")(Shop("market").sell)
        app.include_router(router)
        assert second.enqueue().result() == "market"

        with pytest.raises(DuplicateTask, match="was declared a second time"):
            first.enqueue()

        router.task("report")(made_by_closure("daily"))

        with pytest.raises(DuplicateTask, match="the task name 'report' is taken"):
            router.task("report")(made_by_closure("weekly"))

    def test_a_router_that_is_included_twice(self, app: QueueTasks) -> None:
        router, outer = Router(), Router(queue="mail")
        task = router.task(charge)
        app.include_router(router)
        app.include_router(router)
        assert task.enqueue(1).result() == "charged 1"

        outer.include_router(router)
        app.include_router(outer)
        assert task.enqueue(2).queue == "mail"


MODULE = """
from cherga import Task


def declare(app):
    def plain(function):
        def inner():
            return function()

        return inner

    def work():
        return {value}

    return app.task(work), app.task("plain")(plain(work)), app.task("label")((lambda label: lambda: label)({value}))
"""


class TestExecutedAgain:
    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        (tmp_path / "edited.py").write_text(MODULE.format(value=1))
        yield importlib.import_module("edited")
        del sys.modules["edited"]

    def _write(self, module: ModuleType, text: str) -> None:
        Path(str(module.__file__)).write_text(text)
        importlib.invalidate_caches()

    @pytest.mark.parametrize("above", ["", "# a line more\n\n"])
    def test_a_module_that_is_loaded_again_after_an_edit_replaces_its_tasks(
        self, app: QueueTasks, module: ModuleType, above: str
    ) -> None:
        before = module.declare(app)
        self._write(module, above + MODULE.format(value=2))
        after = importlib.reload(module).declare(app)

        assert [task.enqueue().result() for task in (*before, *after)] == [2] * 6

    def test_a_module_may_go_by_two_names(self, app: QueueTasks, module: ModuleType) -> None:
        module.declare(app)
        spec = importlib.util.spec_from_file_location("elsewhere.edited", str(module.__file__))
        assert spec is not None
        assert spec.loader is not None
        twin = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(twin)

        assert [task.enqueue().result() for task in twin.declare(app)] == [1] * 3

    def test_a_file_may_be_executed_again_without_a_module(self, app: QueueTasks, module: ModuleType) -> None:
        module.declare(app)
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(MODULE.format(value=1), str(module.__file__), "exec"), space)

        assert [task.enqueue().result() for task in space["declare"](app)] == [1] * 3


class Notebook:
    """Executes cells as ipykernel does: each text has a file name of its own, and all have one space."""

    def __init__(self, app: QueueTasks) -> None:
        self.space: dict[str, Any] = {"app": app, "logged": logged, "functools": functools}

    def run(self, text: str, file: str | None = None) -> Task[..., Any]:
        exec(compile(text, file or f"/tmp/ipykernel_1/{abs(hash(text))}.py", "exec"), self.space)
        task: Task[..., Any] = self.space["add"]
        return task


class TestNotebooks:
    @pytest.fixture
    def notebook(self, app: QueueTasks) -> Notebook:
        return Notebook(app)

    @pytest.mark.parametrize("decorators", ["@app.task", "@app.task('add')\n@logged", "@app.task\n@functools.cache"])
    def test_an_edited_cell_replaces_its_task(self, notebook: Notebook, decorators: str) -> None:
        first = notebook.run(f"{decorators}\ndef add(a: int):\n    return a + 1")
        notebook.run(f"{decorators}\ndef add(a: int):\n    return a + 1")
        edited = notebook.run(f"# edited\n\n{decorators}\ndef add(a: int):\n    return a + 100")

        assert [task.enqueue(1).result() for task in (first, edited)] == [101, 101]

    @pytest.mark.parametrize("file", ["<stdin>", "<python-input-0>", "<command-17>", "<ipython-input-3-0a1b>"])
    def test_so_does_what_is_typed_again_at_a_prompt(self, notebook: Notebook, file: str) -> None:
        notebook.run("@app.task\ndef add(a: int):\n    return a + 1", file)

        assert notebook.run("@app.task\ndef add(a: int):\n    return a + 2", file).enqueue(1).result() == 3

    def test_an_edit_of_what_a_factory_is_given_replaces_its_task(self, notebook: Notebook) -> None:
        factory = "def make(label):\n    def add(a: int):\n        return a + label\n    return add\nadd = app.task(make({}))"
        notebook.run(factory.format(1))

        assert notebook.run(factory.format(2)).enqueue(1).result() == 3

    def test_two_functions_of_one_cell_are_two_tasks(self, notebook: Notebook) -> None:
        with pytest.raises(DuplicateTask, match="the task name 'work' is taken"):
            notebook.run("@app.task('work')\ndef add(a): ...\n@app.task('work')\ndef other(a): ...")

    @pytest.mark.parametrize("where", ["apart", "together", "in two modules"])
    def test_texts_that_a_program_executes_are_two_tasks(self, app: QueueTasks, where: str) -> None:
        one, other = Notebook(app), Notebook(app)
        other = one if where == "together" else other

        if where == "in two modules":
            one.space["__spec__"], other.space["__spec__"] = ModuleSpec("one", None), ModuleSpec("other", None)

        for _ in range(2):
            one.run("@app.task\ndef add(a: int):\n    return a + 1", "<string>")

        with pytest.raises(DuplicateTask, match="the task name 'add' is taken: <string>:1 and <string>:1"):
            other.run("@app.task\ndef add(a: int):\n    return a + 2", "<string>")


class Proxy:
    """Stands for something that is not there."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("outside of its context")

    def __repr__(self) -> str:
        raise RuntimeError("outside of its context")


def test_a_proxy_of_what_is_not_there_is_not_asked(app: QueueTasks) -> None:
    proxy, other = Proxy(), Proxy()
    app.task(made_by_closure(proxy))
    app.task(made_by_closure(proxy))
    first = app.task(made_by_closure(other))
    app.task(made_by_closure(Proxy()))

    with pytest.raises(DuplicateTask, match=r"\(value: a Proxy\) and"):
        first.enqueue()
