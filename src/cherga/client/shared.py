"""``shared_task``: tasks of libraries, which know no application. Each application of the process gets them."""

from __future__ import annotations

from typing import Any

from cherga.client.applications import current_application, each, existing
from cherga.client.declare import Declaration, Declaring
from cherga.client.late import NOBODY
from cherga.client.task import Task
from cherga.rules.settings import Settings
from cherga.words.errors import DuplicateTask


class SharedTasks(Declaring):
    """The shared tasks of this process, whenever they are declared and whenever applications are made."""

    def __init__(self) -> None:
        self._declarations: dict[str, Declaration] = {}
        each(self._welcome)

    def _declared(self, declaration: Declaration) -> Task[Any, Any]:
        other = self._declarations.get(declaration.name)

        if other is not None and other.place != declaration.place:
            raise DuplicateTask(f"the shared task name {declaration.name!r} is taken: {other.place} and {declaration.place}")

        task = declaration.build(NOBODY, Settings())
        task.find_home = lambda: _home_of(declaration.name)

        for application in existing():
            application._declared(declaration)

        self._declarations[declaration.name] = declaration
        return task

    def _welcome(self, application: Any) -> None:
        for declaration in self._declarations.values():
            application._declared(declaration)


def _home_of(name: str) -> Task[Any, Any]:
    """The task of the application whose job runs here, else of the one made last."""
    task: Task[Any, Any] = current_application().tasks[name]
    return task


shared_task = SharedTasks().task
"""Declare a task without an application: takes every option of ``@app.task``, and ``awaiting=True`` for ``async def``."""
