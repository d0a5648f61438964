"""One function is one task, whatever it is called by: declared or found, here or in another process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cherga import QueueTasks, UnknownTask

Make = Callable[[], QueueTasks]

DECLARED = """
from dotted_base import app

@app.task(unique=True, queue="slow", priority=5)
def export(user: int) -> int:
    return user

def plain(user):
    return user
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes applications on one queue file, as several processes would; the module of tasks is in no application's way."""
    (tmp_path / "dotted_shop.py").write_text(DECLARED, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    base: Any = ModuleType("dotted_base")
    monkeypatch.setitem(sys.modules, "dotted_base", base)
    made: list[QueueTasks] = []

    def make() -> QueueTasks:
        base.app = QueueTasks("shop", f"sqlite:///{tmp_path}/queue.db")
        made.append(base.app)
        return made[-1]

    yield make

    for app in made:
        app.close()

    sys.modules.pop("dotted_shop", None)


def declare(app: QueueTasks) -> QueueTasks:
    """A worker's application, with the tasks as their code declares them, once it has told of them."""

    @app.task(unique=True, queue="slow", priority=5)
    def export(user: int) -> int:
        return user

    @app.task(unique="tidying", unique_for=60)
    def tidy() -> None: ...

    @app.task(key="user", max_running=1)
    def count(user: int) -> None: ...

    for task in app.tasks.values():
        task.function.__module__, task.function.__qualname__ = "dotted_shop", task.name

    app.dotted.load()
    app.publish()
    return app


@pytest.mark.parametrize("name", ["export", "dotted_shop.export"])
def test_a_worker_tells_senders_of_its_tasks_by_the_place_where_they_stand_too(make: Make, name: str) -> None:
    declare(make())
    sender = make()

    assert [(job.task_name, job.queue, job.priority) for job in (sender.add_task(name, 7),)] == [("export", "slow", 5)]
    assert sender.queue("mail").enqueue(name, 7).task_name == "export"


def test_a_job_that_was_enqueued_by_its_place_before_any_worker_was_there_is_run(make: Make) -> None:
    job = make().add_task("dotted_shop.export", 7)

    with declare(make()).worker():
        assert job.result(10) == 7


def test_a_unique_key_that_is_a_text_holds_for_senders_without_the_code(make: Make) -> None:
    declare(make())
    sender = make()
    first = sender.add_task("tidy")

    assert [sender.add_task("tidy").id, sender.queue().enqueue("dotted_shop.tidy").id] == [first.id] * 2


def test_a_listed_module_is_imported_where_its_task_makes_keys_of_arguments(make: Make) -> None:
    declare(make())
    sender = make()
    sender.tasks_from("dotted_shop")
    queue = sender.queue("mail")
    first = queue.enqueue("dotted_shop.export", 7)

    assert "dotted_shop" in sys.modules
    assert queue.enqueue("dotted_shop.export", 7).id == sender.add_task("dotted_shop.export", 7).id == first.id
    assert queue.enqueue("dotted_shop.export", 8).id != first.id


def test_a_listed_module_is_not_imported_where_nothing_needs_it(make: Make) -> None:
    sender = make()
    sender.tasks_from("dotted_shop")
    sender.queue().enqueue("dotted_shop.plain", 7)

    assert "dotted_shop" not in sys.modules


def test_a_sender_that_cannot_make_the_keys_of_a_task_is_told_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    declare(make())
    sender = make()
    sender.tasks_from("nowhere_to_be_found")

    for _ in range(2):
        sender.add_task("export", 7)
        sender.queue().enqueue("count", 7)

    told = [record.getMessage() for record in caplog.records if record.name == "cherga.client"]
    assert [line.split(", which")[0] for line in told] == [
        f"task {name} makes unique or limit keys of its arguments" for name in ("export", "count")
    ]


def test_a_listed_module_that_cannot_be_imported_is_told_and_harms_no_enqueue(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    declare(make())
    sender = make()
    sender.tasks_from("dotted_shop")
    (tmp_path / "dotted_shop.py").write_text("import not_installed_here", encoding="utf-8")

    assert sender.queue().enqueue("dotted_shop.export", 7).task_name == "export"
    assert "tasks_from('dotted_shop'): importing it failed: ModuleNotFoundError" in caplog.text


def test_a_function_that_is_declared_after_it_was_found_is_the_declared_task(make: Make) -> None:
    app = make()
    app.tasks_from("dotted_shop")
    app.dotted.load()
    assert app.queue().enqueue("dotted_shop.plain", 7).task_name == "dotted_shop.plain"

    app.task(name="plain", priority=9)(sys.modules["dotted_shop"].plain)

    assert "dotted_shop.plain" not in app.tasks
    job = app.queue().enqueue("dotted_shop.plain", 7)
    assert (job.task_name, job.priority) == ("plain", 9)


def test_a_tasks_from_that_was_forgotten_is_named(make: Make) -> None:
    with pytest.raises(UnknownTask, match=r"; call app\.tasks_from\('dotted_shop'\) where the application is made$"):
        make().queue().enqueue("dotted_shop.export", 7)


def test_functions_without_a_place_have_no_further_name(make: Make) -> None:
    app = make()
    task: Any = app.task(name="inner")(lambda: None)
    app.dotted.load()

    assert app.tasks == {"inner": task}
    assert app.aliases == {}
