"""Proving: an application shows that its jobs can work, before a worker claims the first one.

An integration adds what it can look at to ``app.proofs``. Nothing is created or changed by looking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from cherga.doors.broker import FullBroker
from cherga.rules.tracebacks import name_of, text_of
from cherga.words.job import WAITING_STATES
from cherga.words.proof import Finding, Plan
from cherga.words.push import GROUP_TASK

Proof = Callable[[Plan], Iterable[Finding]]

MOST_NAMED = 3
"""Tasks that are named; of more only their number is told."""


class Provable(Protocol):
    """The parts of an application that proofs need."""

    proofs: list[Proof]

    @property
    def broker(self) -> FullBroker: ...
    @property
    def tasks(self) -> Mapping[str, Any]: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...


def prove(app: Provable, plan: Plan) -> Iterator[Finding]:
    """The findings of all proofs; a proof that fails by itself is one, too."""
    for proof in (lambda _: _unserved(app), *app.proofs):
        try:
            yield from proof(plan)
        except Exception as error:
            yield Finding("proof", f"something could not be looked at: {name_of(error)}: {text_of(error)}", proven=False)


def _unserved(app: Provable) -> Iterator[Finding]:
    """Jobs that wait for tasks which neither this worker nor another one knows."""
    waiting: Counter[str] = Counter()

    for row in app.broker.counts():
        if row.state in WAITING_STATES and row.task != GROUP_TASK and not _is_known(app, row.task):
            waiting[row.task] += row.count

    if waiting:
        elsewhere = {task for worker in app.broker.workers() for task in worker.session.tasks}
        yield from _told({task: count for task, count in waiting.items() if task not in elsewhere})


def _is_known(app: Provable, task: str) -> bool:
    return task in app.tasks or task in app.aliases


def _told(waiting: Mapping[str, int]) -> Iterator[Finding]:
    for task, count in sorted(waiting.items())[:MOST_NAMED]:
        jobs = f"{count:,} job waits" if count == 1 else f"{count:,} jobs wait"
        text = f"{jobs} for the task {task!r}, which no worker knows; {remedy(task)}"
        yield Finding("tasks", text, proven=False, unknown_task=task)

    if (more := len(waiting) - MOST_NAMED) > 0:
        yield Finding("tasks", f"jobs of {more} more tasks wait that no worker knows; see cherga jobs list", proven=False)


def remedy(task: str) -> str:
    """The remedy for a task that nobody declared."""
    module, _, function = task.rpartition(".")

    if module and function:
        return f"where the application is made, call tasks_from({module!r}), or import the module that declares it"

    return "import the module that declares it where the application is made, or list it there with tasks_from(…)"
