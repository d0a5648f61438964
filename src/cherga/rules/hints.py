"""Annotations as types: names are looked for where the code that wrote them could see them.

That is the module, the function around a local function or class, and what the function has closed over.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, reduce
from operator import or_
from types import CodeType, FrameType, NoneType, SimpleNamespace
from typing import (
    Any,
    ForwardRef,
    Generic,
    LiteralString,
    Never,
    NewType,
    NoReturn,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from weakref import WeakKeyDictionary, ref

from cherga.words.later import inspect

_NAME = re.compile(r"[^\W\d]\w*")

_around: WeakKeyDictionary[Any, dict[str, Callable[[], Any]]] = WeakKeyDictionary()
"""The names that local functions and classes see of the function around them."""


def remember_place(owner: Any) -> None:
    """Keep what the annotations of a local function or class say by name; to be called while its place is at hand."""
    real = inspect.unwrap(_made_of(owner))

    if "<locals>" in getattr(real, "__qualname__", "") and (frame := _frame_around(real)) is not None:
        _remember(real, frame.f_locals)


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types; those that cannot be resolved are left out."""
    real = _made_of(function)
    names = _names_around(real)

    try:
        return get_type_hints(real, localns=names or None, include_extras=True)
    except Exception:  # an annotation is any expression, and may raise anything
        return _one_by_one(real, annotations_of(real), names)


def annotations_of(function: Any) -> Mapping[str, Any]:
    """The annotations as they are written."""
    try:
        return inspect.get_annotations(_made_of(function))
    except (TypeError, NameError):
        return {}


def raw_hint(kind: type, name: str) -> Any:
    """The annotation of a field as it is written."""
    return next(annotations_of(base)[name] for base in kind.__mro__ if name in annotations_of(base))


def class_hints(kind: type, arguments: Sequence[Any] = ()) -> dict[str, Any]:
    """The annotations of a class and of those it is made of, with what stands for their variables: ``arguments``, and those
    that a class names with its bases. Those that cannot be resolved are left out."""
    hints: dict[str, Any] = {}
    given = _variables_of(kind, arguments)

    for base in reversed(kind.__mro__):
        own = _one_by_one(base, annotations_of(base), _names_around(base))
        hints |= {name: _filled_in(hint, given.get(base, {})) for name, hint in own.items()}

    return hints


def _variables_of(kind: Any, arguments: Iterable[Any]) -> dict[Any, dict[Any, Any]]:
    """The values of type variables for a class and for each of its bases."""
    own = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    found = {kind: own}

    for base in kind.__dict__.get("__orig_bases__", getattr(kind, "__bases__", ())):
        origin = get_origin(base) or base

        if isinstance(origin, type) and origin is not Generic:
            found |= _variables_of(origin, [_filled_in(each, own) for each in get_args(base)])

    if is_typeddict(kind):  # it has the annotations of its bases as its own
        found[kind] = {name: value for each in found.values() for name, value in each.items()} | own

    return found


def _filled_in(hint: Any, given: Mapping[Any, Any]) -> Any:
    """The hint with what stands for its variables."""
    if isinstance(hint, TypeVar) and hint in given:
        return given[hint]

    inside = () if isinstance(hint, type) and not get_args(hint) else getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(each, each) for each in inside)] if given and inside else hint


def _one_by_one(owner: Any, annotations: Mapping[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    hints: dict[str, Any] = {}

    for name, hint in annotations.items():
        with suppress(Exception):
            hints |= get_type_hints(_alone(owner, name, hint), localns=names or None, include_extras=True)

    return hints


def _alone(owner: Any, name: str, hint: Any) -> Any:
    """Something with this one annotation, resolved as the owner's own would be."""
    if isinstance(owner, type):
        return type(owner.__name__, (), {"__annotations__": {name: hint}, "__module__": owner.__module__})

    alone = SimpleNamespace(__annotations__={name: hint})
    alone.__wrapped__ = inspect.unwrap(owner)
    return alone


def _made_of(function: Any) -> Any:
    """The object with the annotations: of a partial its function, of an object that can be called its ``__call__``."""
    while isinstance(function, partial) or (hasattr(function, "__wrapped__") and not _says(function)):
        function = function.func if isinstance(function, partial) else function.__wrapped__

    if inspect.isroutine(function) or isinstance(function, type) or hasattr(function, "__wrapped__"):
        return function

    return type(function).__call__ if callable(function) else function


def _says(function: Any) -> bool:
    """True when it has annotations of its own, or a copy."""
    return bool(getattr(function, "__annotations__", None))


def _names_around(owner: Any) -> dict[str, Any]:
    real = inspect.unwrap(owner) if callable(owner) else owner
    found = {name: keep() for name, keep in _kept(real).items()}
    variables = {each.__name__: each for each in getattr(real, "__type_params__", ())}
    return {name: value for name, value in found.items() if value is not None} | _closed_over(real) | variables


def _kept(real: Any) -> Mapping[str, Callable[[], Any]]:
    try:
        return _around.get(getattr(real, "__func__", real)) or {}
    except TypeError:  # what cannot be looked up has not been remembered
        return {}


def _closed_over(real: Any) -> dict[str, Any]:
    code, cells = getattr(real, "__code__", None), getattr(real, "__closure__", None)
    found: dict[str, Any] = {}

    for name, cell in zip(code.co_freevars if code else (), cells or (), strict=False):
        with suppress(ValueError):  # it is not filled yet
            found[name] = cell.cell_contents

    return found


def _frame_around(real: Any) -> FrameType | None:
    """The call that has made the function or the class, when it still goes on."""
    frame: FrameType | None = sys._getframe(1)

    while frame is not None and not _makes(frame.f_code, real):
        frame = frame.f_back

    return frame


def _makes(code: CodeType, real: Any) -> bool:
    if isinstance(real, type):
        return any(isinstance(each, CodeType) and each.co_qualname == real.__qualname__ for each in code.co_consts)

    return getattr(real, "__code__", None) in code.co_consts


def _remember(real: Any, local: Mapping[str, Any]) -> None:
    known = {name: _keeper(value) for name, value in local.items() if _NAME.fullmatch(name) and _may_be_a_type(value)}

    for owner in (getattr(real, "__func__", real), *_local_classes(local.values())):
        _around[owner] = known


def _local_classes(values: Iterable[Any]) -> list[type]:
    return [value for value in values if isinstance(value, type) and "<locals>" in value.__qualname__]


def _may_be_a_type(value: Any) -> bool:
    """A class, a module, or an alias."""
    return isinstance(value, type) or type(value).__module__ in ("typing", "types") or inspect.ismodule(value)


def _keeper(value: Any) -> Callable[[], Any]:
    """Weak where it can be: what is remembered for a class must not keep that class."""
    try:
        return ref(value)
    except TypeError:
        return lambda: value


# --- what stands for another annotation


def unwrapped(kind: Any) -> Any:
    """The types that aliases, new types and variables stand for."""
    while True:
        if type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif type(get_origin(kind)).__name__ == "TypeAliasType":
            kind = get_origin(kind).__value__[get_args(kind)]
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        elif isinstance(kind, TypeVar):
            kind = reduce(or_, kind.__constraints__) if kind.__constraints__ else _bound_of(kind)
        elif getattr(get_origin(kind), "_name", "") in ("Required", "NotRequired", "ReadOnly", "Final"):
            (kind,) = get_args(kind)
        else:
            return _STAND_FOR.get(kind, kind) if is_hashable(kind) else kind


_STAND_FOR: dict[Any, Any] = {None: NoneType, LiteralString: str, Never: Any, NoReturn: Any, object: Any}


def is_hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False

    return True


def _bound_of(variable: TypeVar) -> Any:
    """The bound of a type variable, ``Any`` where it has none."""
    bound = variable.__bound__

    if isinstance(bound, ForwardRef):
        place = type("Place", (), {"__annotations__": {"bound": bound}, "__module__": variable.__module__})
        return get_type_hints(place, include_extras=True)["bound"]

    return Any if bound is None else bound
