"""Annotations: which kind of value each of them says."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpecArgs, ParamSpecKwargs, Union, Unpack, get_args, get_origin, is_typeddict
from uuid import UUID

import msgspec

from cherga.rules.codec import SCALARS, field_names, is_model, revive
from cherga.rules.hints import is_hashable, unwrapped
from cherga.rules.kinds import (
    Choice,
    Exact,
    Extensions,
    Foreign,
    Items,
    Kind,
    Lazy,
    Maybe,
    Members,
    Open,
    Pairs,
    Words,
)
from cherga.rules.objects import Fields, Model

_LEAVES = {*SCALARS, datetime, date, time, timedelta, UUID, Decimal, bytearray}

_COLLECTIONS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    abc.Set: set,
    abc.MutableSet: set,
}
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


class Annotations:
    """The kinds of annotations, and the decoders that know them."""

    def kind_of(self, annotation: Any) -> Kind:
        """See ``kind_of``."""
        return _kind_of(annotation) if is_hashable(annotation) else _make(annotation, ())

    def decoder(self, annotation: Any, extensions: Extensions = revive) -> msgspec.msgpack.Decoder[Any]:
        """See ``decoder``."""
        return msgspec.msgpack.Decoder(annotation, dec_hook=self._restore, ext_hook=extensions)

    def _restore(self, annotation: Any, value: Any) -> Any:
        return self.kind_of(annotation).restore(value)


_KINDS = Annotations()

OPEN = Open(Any, _KINDS)


def kind_of(annotation: Any) -> Kind:
    """The kind that an annotation says. Raises ``TypeError`` for one that no value can be checked against."""
    return _KINDS.kind_of(annotation)


def decoder(annotation: Any, extensions: Extensions = revive) -> msgspec.msgpack.Decoder[Any]:
    """A decoder that checks against a type. Raises ``TypeError`` for a type whose values have to be restored."""
    return _KINDS.decoder(annotation, extensions)


def checked_kind(annotation: Any) -> Kind:
    """The same, with the annotations of its fields looked at. Raises ``TypeError`` too for one that is no type."""
    kind = kind_of(annotation)

    if isinstance(kind, Fields):
        kind.check()

    return kind


@lru_cache(maxsize=2048)
def _kind_of(annotation: Any) -> Kind:
    return _make(annotation, ())


def _make(annotation: Any, inside: tuple[Any, ...]) -> Kind:
    kind = unwrapped(annotation)

    if kind is Any or isinstance(kind, ParamSpecArgs | ParamSpecKwargs):
        return OPEN

    if any(kind is outer for outer in inside):
        return Lazy(kind, _KINDS)

    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    made = _make_bare(unwrapped(bare), (*inside, kind))

    if kind is not bare and made is not OPEN:
        made.whole = kind

    return made


def _make_bare(kind: Any, inside: tuple[Any, ...]) -> Kind:
    origin = get_origin(kind)

    if origin is Union or origin is UnionType:
        return _union(kind, inside)

    if origin is Literal:
        return Exact(kind, _KINDS) if _is_known(kind) else Words(kind, _KINDS)

    if (shape := _COLLECTIONS.get(origin or kind)) is not None:
        return _collection(kind, shape, inside)

    if (origin or kind) in _MAPPINGS:
        return _mapping(kind, inside)

    if isinstance(origin or kind, type):
        return _class_kind(kind, origin or kind)

    decoder(kind)  # raises what is wrong with it
    return Foreign(kind, _KINDS)


def _class_kind(kind: Any, origin: type) -> Kind:
    if kind in _LEAVES:
        return Exact(kind, _KINDS)

    if issubclass(origin, Enum):
        return Exact(kind, _KINDS) if _is_known(kind) else Members(kind, _KINDS)

    if is_model(origin):
        return Model(kind, _KINDS)

    if is_typeddict(origin) or field_names(origin) is not None:
        return Fields(kind, _KINDS)

    if getattr(origin, "_is_protocol", False) and not getattr(origin, "_is_runtime_protocol", False):
        raise TypeError(f"values cannot be checked against the protocol {origin.__qualname__}; name the class that is meant")

    return Foreign(kind, _KINDS)


def _union(kind: Any, inside: tuple[Any, ...]) -> Kind:
    members = [_make(member, inside) for member in get_args(kind)]

    if all(member.exact for member in members) and _is_known(kind):
        return Exact(kind, _KINDS)

    if any(member is OPEN for member in members):
        return OPEN

    _check_names(kind, members)
    optional = [member for member in members if member.annotation is not NoneType]
    return Maybe(kind, _KINDS, optional[0]) if len(optional) == 1 and _is_known(kind) else Choice(kind, _KINDS, members)


def _check_names(kind: Any, members: list[Kind]) -> None:
    """Objects go by the names of their classes."""
    names = [member.annotation.__name__ for member in members if isinstance(member, Fields | Model | Members)]

    for name in names:
        if names.count(name) > 1:
            raise TypeError(f"the classes of {kind} cannot be told apart: both are called {name}; rename one of them")


def _collection(kind: Any, make: Callable[[Iterable[Any]], Any], inside: tuple[Any, ...]) -> Kind:
    of = get_args(kind)
    fixed = make is tuple and bool(of) and of[-1] is not ...
    items = tuple(_make(each, inside) for each in (of if fixed else of[:1] or (Any,)))

    if all(item.exact for item in items) and _is_known(kind) and get_origin(kind) is not abc.Iterable:
        return Exact(kind, _KINDS)

    return Items(kind, _KINDS, make, items, fixed)


def _mapping(kind: Any, inside: tuple[Any, ...]) -> Kind:
    keys, values = (_make(each, inside) for each in get_args(kind) or (Any, Any))
    return Exact(kind, _KINDS) if keys.exact and values.exact and _is_known(kind) else Pairs(kind, _KINDS, keys, values)


def is_of_one_type(kind: Kind) -> bool:
    """True when all its values, beside None, are of one simple type: their texts then mean the same thing each."""
    if not kind.exact:
        return False

    parts = _parts(kind.annotation)
    return len(parts) == 1 and isinstance(parts[0], type) and (parts[0] in _LEAVES or issubclass(parts[0], Enum))


def holds_null(kind: Kind) -> bool:
    """True when None is one of its values."""
    return get_origin(unwrapped(kind.annotation)) in (Union, UnionType)


def _parts(annotation: Any) -> list[Any]:
    bare = unwrapped(annotation)

    if get_origin(bare) is Annotated:
        return _parts(get_args(bare)[0])

    if get_origin(bare) in (Union, UnionType):
        return [part for member in get_args(bare) for part in _parts(member) if part is not NoneType]

    return [bare]


def rest_kind(annotation: Any) -> Kind:
    """The kind of ``*args`` with this annotation."""
    if get_origin(annotation) is Unpack:
        return kind_of(get_args(annotation)[0])

    if getattr(annotation, "__unpacked__", False):
        return kind_of(GenericAlias(tuple, get_args(annotation)))

    kind = kind_of(annotation)
    whole = GenericAlias(tuple, (kind.whole, ...))
    return Exact(whole, _KINDS) if kind.exact else Items(whole, _KINDS, tuple, (kind,))


def extra_kind(annotation: Any) -> Kind:
    """The kind of ``**kwargs`` with this annotation."""
    if get_origin(annotation) is Unpack:
        return kind_of(get_args(annotation)[0])

    kind = kind_of(annotation)
    whole = GenericAlias(dict, (str, kind.whole))
    return Exact(whole, _KINDS) if kind.exact else Pairs(whole, _KINDS, kind_of(str), kind)


def _is_known(kind: Any) -> bool:
    """True when the decoder can be made for it."""
    try:
        decoder(kind)
    except Exception:  # it evaluates annotations, which may raise anything
        return False

    return True
