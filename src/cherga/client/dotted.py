"""Tasks by dotted name, as in ``"app.tasks.example"``: the public functions of modules that the application listed.

A name is looked up, never imported: only ``load`` imports, and only modules that were listed in code. What stands in the store
cannot add to them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from cherga.client.declare import Declaration
from cherga.client.origin import origin_of
from cherga.client.task import Task
from cherga.rules.options import nearest
from cherga.words.errors import ConfigError, LoadError, UnknownTask
from cherga.words.later import inspect

logger = logging.getLogger("cherga.client")

Target = str | Callable[..., Any]
"""A task as people name it: its function, the task itself, or a name."""


class DottedTasks:
    """The listed modules of one application, whose tasks and aliases are given."""

    def __init__(
        self, tasks: Mapping[str, Task[Any, Any]], aliases: dict[str, str], declare: Callable[[Declaration], Task[Any, Any]]
    ) -> None:
        self.modules: list[str] = []
        self._loaded: set[str] = set()
        self._found: dict[Callable[..., Any], str] = {}
        """The functions that were found in listed modules, and no declaration of theirs is known."""
        self.keyless: set[str] = set()
        """Tasks of which the log was told that their jobs are stored without keys."""
        self._tasks = tasks
        self._aliases = aliases
        self._declare = declare

    def add(self, module: str) -> None:
        """List a module. Nothing is imported yet."""
        if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
            raise ConfigError(f'expected the dotted name of a module, as in tasks_from("app.tasks"), got {module!r}')

        if module not in self.modules:
            self.modules.append(module)

    def load(self) -> None:
        """Import the listed modules and declare their public functions; each task is known by the place where it stands, too.

        Raises ``LoadError``, or what a declaration raises.
        """
        for name in self.modules:
            self._load(name)

        for task in list(self._tasks.values()):
            if _can_be_named(place := _dotted(task.function)) and place not in self._tasks:
                self._aliases.setdefault(place, task.name)

    def fetch(self, name: str) -> str | None:
        """The name of the task that stands there, once its listed module is imported; None where it is not, or cannot be."""
        module, _, function = name.rpartition(".")

        if module in self.modules and module not in self._loaded and _is_public(function):
            try:
                self._load(module)
            except LoadError as error:
                logger.warning("%s", error, extra={"action": "task.keyless"})

        return self.declared(name)

    def _load(self, name: str) -> None:
        if name not in self._loaded:
            self._take_in(_import(name))
            self._loaded.add(name)

    def give_up(self, function: Callable[..., Any], name: str) -> str | None:
        """The name under which this function was found, to be given up: it is declared now, under a name and with options."""
        found = self._found.get(function)

        if found is None or found == name:
            return None

        del self._found[function]
        self._aliases[found] = name
        return found

    def find(self, target: Target) -> str | None:
        """The name that the target's jobs are stored under; None when nothing here says that it is a task.

        A name in a listed module that was not loaded here is taken at its word: a worker, which loads it, will know.
        """
        name = target if isinstance(target, str) else self._name_of(target)

        if (known := self.declared(name)) is not None:
            return known

        module, _, function = name.rpartition(".")
        promised = module in self.modules and module not in self._loaded and _is_public(function)
        return name if promised and isinstance(target, str) else None

    def declared(self, name: str) -> str | None:
        """The name of the task that is called so, or that a module of this process has there; None where there is none."""
        known = self._aliases.get(name, name)
        return known if known in self._tasks else self._standing_at(name)

    def _standing_at(self, dotted: str) -> str | None:
        module, _, attribute = dotted.rpartition(".")
        standing = getattr(sys.modules.get(module), "__dict__", {})  # a module that may not be imported is None there
        return self._made_of(standing[attribute]) if attribute in standing else None

    def _made_of(self, value: Any) -> str | None:
        """The name of the task that this is, or that was made of this function."""
        function = value.function if isinstance(value, Task) else value
        same = [task.name for task in self._tasks.values() if task.function is function]
        return value.name if isinstance(value, Task) and value.name in same else next(iter(same), None)

    def refuse(self, target: Target) -> UnknownTask:
        """The error for what is no task."""
        name = target if isinstance(target, str) else _dotted(target)
        listed = ", ".join(self.modules) or "none"
        return UnknownTask(
            f"unknown task {name!r}: expected a declared task, or a public function of a module listed with app.tasks_from "
            f"(listed: {listed}){nearest(name, [*self._tasks, *self._aliases])}{self._forgotten(name)}"
        )

    def _forgotten(self, name: str) -> str:
        """The line of code that is missing, where it seems to be that."""
        module, _, function = name.rpartition(".")
        is_forgotten = module and module not in self.modules and _is_public(function)
        return f"; call app.tasks_from({module!r}) where the application is made" if is_forgotten else ""

    def _name_of(self, target: Any) -> str:
        """The name of a declared task, else where the function stands; in a listed module it is declared then and there."""
        if isinstance(target, Task):
            return target.name

        if not inspect.isroutine(target):
            raise ConfigError(f"expected a function, a task or the name of one, got {target!r}")

        dotted = _dotted(target)

        if dotted in self._tasks or dotted in self._aliases:
            return dotted

        if declared := next((task.name for task in self._tasks.values() if task.function is target), None):
            return declared

        if target.__module__ in self.modules and _is_public(target.__qualname__):
            self._declare_found(target, dotted)

        return dotted

    def _take_in(self, module: ModuleType) -> None:
        for name, value in _public(module):
            dotted = f"{module.__name__}.{name}"

            if (known := self._made_of(value)) is not None:
                self._aliases.setdefault(dotted, known)
            elif not isinstance(value, Task):
                self._declare_found(value, dotted)

    def _declare_found(self, function: Callable[..., Any], dotted: str) -> None:
        self._declare(Declaration(function, dotted, origin_of(function)))
        self._found[function] = dotted


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        raise LoadError(f"tasks_from({name!r}): importing it failed: {type(error).__name__}: {error}") from error


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Tasks and functions that the module itself defines."""
    for name, value in list(vars(module).items()):
        own = inspect.isfunction(value) and value.__module__ == module.__name__

        if _is_public(name) and (own or isinstance(value, Task)):
            yield name, value


def _is_public(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def _can_be_named(dotted: str) -> bool:
    return not dotted.startswith("__main__.") and all(part.isidentifier() for part in dotted.split("."))


def _dotted(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
