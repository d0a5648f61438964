"""The standing of a task's name: the task under it, and the change when another is declared under that name."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from cherga.client.declare import Declaration
from cherga.client.origin import Likeness, differences, likeness, traced, values_likeness
from cherga.client.task import Task
from cherga.words.errors import DuplicateTask


class Standing(Struct):
    """A task under its name. Those that it has replaced, because they mean the same, are enqueued as this one."""

    declaration: Declaration
    task: Task[Any, Any]
    refusal: str = ""
    """The reason why it is enqueued no more: what has replaced it may mean something else."""
    renewed: bool = False
    """The application was set up anew since: the same code may well be made with other values."""

    def admits(self, name: str, newer: Declaration) -> bool:
        """True when the next declaration under this name means the same. Raises ``DuplicateTask`` for a second task."""
        former = self.declaration
        like = Likeness.SAME if newer.function is former.function else likeness(former.origin, newer.origin)
        is_forgiven = self.renewed and like < Likeness.OTHER

        if like in (Likeness.MADE_OTHERWISE, Likeness.OTHER) and not is_forgiven:
            raise DuplicateTask(f"the task name {name!r} is taken: {_both(former, newer)}")

        if is_forgiven or like is Likeness.AGAIN:
            return True

        return like is Likeness.SAME and _like_options(former, newer) is Likeness.SAME

    def replaced_by(self, declaration: Declaration, task: Task[Any, Any]) -> Standing:
        """The standing from now on. Raises ``DuplicateTask``."""
        is_same = self.admits(declaration.name, declaration)
        self.task.find_home = self.home

        if not is_same:
            self.refusal = (
                f"the task {declaration.name} was declared a second time, made with other objects or options, and this is the "
                f"first: {_both(self.declaration, declaration)}; give each a name= of its own, or enqueue the last one"
            )
            return Standing(declaration, task)

        self.declaration, self.task, self.renewed = declaration, task, False
        return self

    def home(self) -> Task[Any, Any]:
        """The task that is enqueued. Raises ``DuplicateTask``."""
        if self.refusal:
            raise DuplicateTask(self.refusal)

        return self.task.home()


def _both(former: Declaration, newer: Declaration) -> str:
    """The two places, and how to tell the functions apart where the places are the same."""
    one, other = differences(former.origin, newer.origin)
    hint = "; use functools.wraps in a decorator, or give each a name= of its own" if one else ""
    return f"{former.place}{one} and {newer.place}{other}{hint}"


def _like_options(former: Declaration, newer: Declaration) -> Likeness:
    one, other = ({key: traced(value) for key, value in each.options.items()} for each in (former, newer))
    return values_likeness(one, other)
