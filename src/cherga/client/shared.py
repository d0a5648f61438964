"""``shared_task``: tasks of libraries, which know no application. Each application of the process gets them."""

from __future__ import annotations

from typing import Any

from cherga.client.applications import current_application, each, existing
from cherga.client.declare import Declaration, Declaring
from cherga.client.late import NOBODY
from cherga.client.standing import Standing
from cherga.client.task import Task
from cherga.rules.settings import Settings


class SharedTasks(Declaring):
    """The shared tasks of this process, whenever they are declared and whenever applications are made."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}
        each(self._welcome)

    def _declared(self, declaration: Declaration) -> Task[Any, Any]:
        name = declaration.name
        task = declaration.build(NOBODY, Settings())
        task.find_home = lambda: _home_of(name)
        former = self._standings.get(name)

        if former is not None:
            former.admits(name, declaration)

        for application in existing():
            application._declared(declaration)

        self._standings[name] = former.replaced_by(declaration, task) if former else Standing(declaration, task)
        return task

    def _welcome(self, application: Any) -> None:
        for standing in self._standings.values():
            application._declared(standing.declaration)


def _home_of(name: str) -> Task[Any, Any]:
    """The task of the application whose job runs here, else of the one made last."""
    task: Task[Any, Any] = current_application().tasks[name]
    return task


shared_task = SharedTasks().task
"""Declare a task without an application: takes every option of ``@app.task``, and ``awaiting=True`` for ``async def``."""
