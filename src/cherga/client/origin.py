"""The origin of a task's function, and the comparison of two declarations under one name.

The line in a file does not tell: what a decorator or a factory returns stands at the same line each time. What it was made with
tells: its closure and its defaults. A module or a notebook's cell that is executed again makes the same functions anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, IntEnum
from functools import partial
from importlib.machinery import ModuleSpec
from types import CodeType, FunctionType, MethodType, NoneType
from typing import Any

from msgspec import Struct

from cherga.client.depends import Dependency
from cherga.words.later import inspect

_PLAIN = (NoneType, bool, int, float, complex, str, bytes, Enum)
"""Values that mean the same when they are equal, and something else when they are not."""
_DEEPEST = 8
"""Functions in the closure of a function in the closure of a function …; what lies deeper is not looked at."""


NAMELESS = "<string>"
"""The file of code that ``exec`` and ``python -c`` are given as a text."""


class Likeness(IntEnum):
    """The likeness of two functions. Of all that they were made with, the highest counts."""

    SAME = 0
    UNSURE = 1
    """A piece of code, made with objects that may or may not mean the same."""
    MADE_OTHERWISE = 2
    """A piece of code, made with other values."""
    OTHER = 3
    AGAIN = 4
    """The file or the cell that it stands in was executed again."""


class Origin(Struct, frozen=True):
    """A function as it stood when it was declared: its code, and what it was made with."""

    name: str
    place: str
    code: CodeType | None = None
    space: Mapping[str, Any] = {}
    """The variables of its module."""
    module: ModuleSpec | None = None
    """Another one each time the module is executed."""
    made_with: Mapping[str, Any] = {}

    @property
    def file(self) -> str:
        """The place where its code stands; nothing where it has none of its own."""
        return self.code.co_filename if self.code else ""

    @property
    def is_composed(self) -> bool:
        """True for a function and something more, as a method or a partial: the function is among what it was made with."""
        return self.code is None and bool(self.made_with)

    def __str__(self) -> str:
        return f"{self.name.rpartition('.')[2]} at {self.place}"


def place_of(function: Callable[..., Any]) -> str:
    """File and line of a function."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def origin_of(function: Callable[..., Any], inside: tuple[Any, ...] = ()) -> Origin:
    """The origin of whatever can be called."""
    match function:
        case FunctionType():
            return _of_code(function, inside)
        case MethodType():
            return _made_of(function.__func__, {"self": function.__self__}, inside)
        case partial():
            return _made_of(function.func, {**dict(_numbered(function.args)), **function.keywords}, inside)
        case _ if (inner := _wrapped(function)) is not None:
            return _made_of(inner, {}, inside)
        case _ if inspect.isroutine(function) or inspect.isclass(function):
            return Origin(function.__qualname__, repr(function))
        case _:
            return _of_object(function, inside)


def likeness(one: Origin, other: Origin) -> Likeness:
    """The likeness of two functions."""
    if one.name != other.name:
        return Likeness.OTHER

    if _executed_again(one, other):
        return Likeness.AGAIN

    if not one.is_composed and (one.place, one.code) != (other.place, other.code):
        return Likeness.OTHER

    return values_likeness(one.made_with, other.made_with)


def values_likeness(some: Mapping[str, Any], others: Mapping[str, Any]) -> Likeness:
    """The likeness of the values of one mapping to those of another."""
    if some.keys() != others.keys():
        return Likeness.MADE_OTHERWISE

    return max((_like(some[name], others[name]) for name in some), default=Likeness.SAME)


def differences(one: Origin, other: Origin) -> tuple[str, str]:
    """The differences between the values that two functions of one place were made with, in words."""
    names = [name for name in one.made_with if name in other.made_with] if one.place == other.place else []
    unlike = next((n for n in names if _like(one.made_with[n], other.made_with[n]) is not Likeness.SAME), None)
    return ("", "") if unlike is None else (_shown(unlike, one.made_with[unlike]), _shown(unlike, other.made_with[unlike]))


def traced(value: Any, inside: tuple[Any, ...] = ()) -> Any:
    """The origin of a function; any other value as it is."""
    kind = type(value)  # isinstance() would also ask the value, which may be a proxy of something that is not there

    if issubclass(kind, Dependency):
        return _made_of(value.function, {"scope": value.scope}, inside)

    if not issubclass(kind, FunctionType | MethodType | partial) and _wrapped(value) is None:
        return value

    is_known = len(inside) == _DEEPEST or any(value is each for each in inside)
    return type(value) if is_known else origin_of(value, (*inside, value))


# --- origins


def _of_code(function: FunctionType, inside: tuple[Any, ...]) -> Origin:
    code, space = function.__code__, function.__globals__
    made_with = {name: traced(value, inside) for name, value in _closed_over(function)}
    return Origin(code.co_qualname, f"{code.co_filename}:{code.co_firstlineno}", code, space, space.get("__spec__"), made_with)


def _made_of(function: Callable[..., Any], parts: Mapping[str, Any], inside: tuple[Any, ...]) -> Origin:
    """The parts of an object that is a function and something more."""
    inner = origin_of(function, inside)
    return Origin(
        inner.name, inner.place, made_with={"": inner, **{name: traced(part, inside) for name, part in parts.items()}}
    )


def _of_object(thing: Any, inside: tuple[Any, ...]) -> Origin:
    """The parts of an object that can be called, such as a decorator that is a class makes."""
    return _made_of(type(thing).__call__, _attributes(thing) or {"self": thing}, inside)


def _wrapped(thing: Any) -> Any:
    """The function inside what ``functools.cache`` makes, and inside a task; None where there is none."""
    return None if issubclass(type(thing), FunctionType | type) else _attributes(thing).get("__wrapped__")


def _attributes(thing: Any) -> Mapping[str, Any]:
    """Its own attributes, without asking it; none where it keeps them elsewhere."""
    try:
        return dict(object.__getattribute__(thing, "__dict__"))
    except Exception:
        return {}


def _closed_over(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The values of the closure and the defaults, by name."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # it is given a value later, as a function that calls itself is
            continue

    yield from _numbered(function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).items()


def _numbered(values: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    return ((f"value {number}", value) for number, value in enumerate(values, 1))


# --- comparing


def _executed_again(one: Origin, other: Origin) -> bool:
    """True when the code that made the one has been executed again, and made the other."""
    if one.code is None or other.code is None or one.code is other.code:
        return False

    if one.module is not other.module:
        is_one_file = one.place == other.place and (_is_in_a_file(one) or _is_in_a_file(other))
        return is_one_file or (one.module and one.module.name) == (other.module and other.module.name)

    return one.space is other.space and _is_typed_in(one) and _is_typed_in(other)


def _is_in_a_file(origin: Origin) -> bool:
    return bool(origin.module and origin.module.origin == origin.file) or os.path.exists(origin.file)


def _is_typed_in(origin: Origin) -> bool:
    """True when it stands in a cell of a notebook, or at a prompt; what a program executes has no name of its own."""
    return origin.file not in ("", NAMELESS) and not _is_in_a_file(origin)


def _like(one: Any, other: Any) -> Likeness:
    kind = type(one)

    if one is other:
        return Likeness.SAME

    if kind is Origin and type(other) is Origin:
        return likeness(one, other)

    if issubclass(kind, type) and issubclass(type(other), type):
        return Likeness.SAME if _of_class(one) == _of_class(other) else Likeness.MADE_OTHERWISE

    if kind is not type(other):
        return Likeness.MADE_OTHERWISE

    if issubclass(kind, tuple) and len(one) == len(other):
        return max((_like(mine, yours) for mine, yours in zip(one, other, strict=True)), default=Likeness.SAME)

    if issubclass(kind, (*_PLAIN, tuple)):
        return Likeness.SAME if one == other else Likeness.MADE_OTHERWISE

    return Likeness.UNSURE


def _of_class(kind: type) -> tuple[str, str]:
    """File and name: a module may go by two names."""
    module = sys.modules.get(kind.__module__)
    return getattr(module, "__file__", None) or kind.__module__, kind.__qualname__


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__qualname__}"


def _shown(name: str, value: Any) -> str:
    text = str(value) if type(value) is Origin else _repr(value)
    return f" ({name}: {text if len(text) <= 80 else text[:79] + '…'})"
