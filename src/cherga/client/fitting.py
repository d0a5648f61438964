"""The check that a function can be called as it is going to be, by a worker that has nothing but its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cherga.words.errors import TaskError
from cherga.words.later import inspect


def fits(function: Callable[..., Any], *arguments: Any) -> bool:
    """True when it can be called with so many arguments; what cannot be looked into is given the benefit of the doubt."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True

    try:
        signature.bind(*arguments)
    except TypeError:
        return False

    return True


def free_function(given: Any, echo: bool) -> Callable[..., Any]:
    """The function to call, of what is to be declared as a task. Raises ``TaskError`` for what a worker cannot call."""
    function = given.__func__ if isinstance(given, staticmethod) else given

    if isinstance(function, classmethod):
        raise TaskError(f"expected a function to declare as a task, got the class method {_name(function)}; {_SAY_STATIC}")

    if not callable(function) or inspect.isclass(function):
        raise TaskError(f"expected a function to declare as a task, got {function!r}")

    if not echo and _wants_an_object(function):
        raise TaskError(
            f"expected a function that is called with its arguments alone, got the method {_name(function)}; {_SAY_STATIC}"
        )

    called: Callable[..., Any] = function
    return called


_SAY_STATIC = (
    "a worker has no object to call it on: make it a function or a @staticmethod, and pass the id of what it works on, or "
    "declare the method of one object, as in app.task('name')(mailer.send)"
)


_OBJECTS = frozenset({"self", "_self", "__self", "this", "me", "cls", "_cls", "__cls", "klass", "mcs", "mcls"})
"""The names that people give to the object, or the class, that a method is called on."""


def _wants_an_object(function: Any) -> bool:
    """True when it was written in the body of a class, for its objects."""
    name = getattr(function, "__qualname__", "")
    owner = name.rpartition(".")[0]

    if not inspect.isfunction(function) or not owner or owner.endswith("<locals>"):
        return False

    return next(iter(inspect.signature(function).parameters), "") in _OBJECTS


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
