"""``shared_task``: tasks of libraries, which know no application. Each application of the process gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cherga.client.applications import current_application, each, existing
from cherga.client.declare import Declaration, Declaring
from cherga.client.handle import Job
from cherga.client.task import Task
from cherga.rules.settings import Settings
from cherga.words.job import NewJob


class SharedTasks(Declaring):
    """The shared tasks of this process, whenever they are declared and whenever applications are made."""

    def __init__(self) -> None:
        self._declarations: list[Declaration] = []
        each(self._welcome)

    def _declared(self, declaration: Declaration) -> Task[Any, Any]:
        task = declaration.build(CurrentSender(), Settings())
        self._declarations.append(declaration)

        for application in existing():
            application._declared(declaration)

        return task

    def _welcome(self, application: Any) -> None:
        for declaration in self._declarations:
            application._declared(declaration)


class CurrentSender:
    """Sends through the application whose job runs here, else through the one made last."""

    max_payload = Settings().max_payload

    def send(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        sent: list[Job[Any]] = current_application().send(jobs)
        return sent

    async def asend(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        sent: list[Job[Any]] = await current_application().asend(jobs)
        return sent


shared_task = SharedTasks().task
"""Declare a task without an application: takes every option of ``@app.task``, and ``awaiting=True`` for ``async def``."""
