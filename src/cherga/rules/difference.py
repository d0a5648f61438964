"""Differences between a value and what became of it on its way, told in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from cherga.rules.codec import SCALARS, Named, field_names, fields_of

_RICH = (datetime, date, time, timedelta, UUID, Decimal)
_BUILT_IN = {*SCALARS, list, dict, tuple, set, frozenset, bytearray, memoryview}


def equal(one: Any, other: Any) -> bool:
    """True when two values say that they are equal; comparing may raise anything."""
    try:
        return bool(one == other)
    except Exception:
        return False


def difference(sent: Any, arrived: Any, where: str = "") -> str:
    """The change of a value on its way, in a sentence; empty where it is the same, or what its annotation makes of it."""
    kind = type(sent)

    if sent is arrived or kind is Named:
        return ""

    if kind in _BUILT_IN:
        return _difference_inside(sent, arrived, where) if type(arrived) is kind else _loss(sent, arrived, where)

    if (held := fields_of(sent)) is not None:
        return _difference_of_fields(sent, held, arrived, where)

    if (
        equal(sent, arrived)
        or _are_no_numbers(sent, arrived)
        or _same_moment(sent, arrived)
        or (isinstance(sent, _RICH) and type(arrived) is not kind)
    ):
        return ""

    return _said(sent, arrived, where)


def _are_no_numbers(sent: Any, arrived: Any) -> bool:
    """NaN is equal to nothing; one that signals cannot even be compared."""
    return isinstance(sent, Decimal) and isinstance(arrived, Decimal) and sent.is_nan() and str(sent) == str(arrived)


def _same_moment(sent: Any, arrived: Any) -> bool:
    """An hour that a zone has twice, or not at all, is equal to none of another zone."""
    try:
        return bool(sent.astimezone(UTC) == arrived) and sent.tzinfo is not None
    except (AttributeError, OverflowError, ValueError):
        return False


def _loss(sent: Any, arrived: Any, where: str) -> str:
    """The part that is missing of plain data that an annotation has made something else of; empty where nothing is."""
    if type(sent) is int and type(arrived) is float:
        return "" if sent == arrived or float(sent) != arrived else _said(sent, arrived, where)

    if type(sent) is dict:
        return _loss_of_keys(sent, arrived, where)

    if not (isinstance(sent, list | tuple) and isinstance(arrived, list | tuple) and len(sent) == len(arrived)):
        return ""

    places = enumerate(zip(sent, arrived, strict=True))
    return next(filter(None, (_loss(one, other, f"{where}[{at}]") for at, (one, other) in places)), "")


def _loss_of_keys(sent: Mapping[Any, Any], arrived: Any, where: str) -> str:
    """The keys of a dictionary that its class has no field for; pydantic's models say themselves what they take."""
    kind = type(arrived)

    if (names := field_names(kind)) is None or hasattr(kind, "__pydantic_validator__"):
        return ""

    written = dict(zip(getattr(kind, "__struct_encode_fields__", names), names, strict=True)) | {name: name for name in names}
    tag = getattr(getattr(kind, "__struct_config__", None), "tag_field", None)

    if unknown := [key for key in sent if key not in written and key != tag]:
        fields = f"the fields of a {kind.__qualname__} are {', '.join(names) or 'none'}"
        return f"{called(sent)}{_place(where)} would arrive without {unknown[0]!r}; {fields}"

    inside = ((key, each, getattr(arrived, written[key], None)) for key, each in sent.items() if key in written)
    return next(filter(None, (_loss(each, other, f"{where}[{key!r}]") for key, each, other in inside)), "")


def _difference_inside(sent: Any, arrived: Any, where: str) -> str:
    if isinstance(sent, set | frozenset):
        return _difference_in_set(sent, arrived, where)

    if isinstance(sent, list | tuple) and len(sent) == len(arrived):
        pairs: Iterable[tuple[Any, Any, Any]] = (
            (at, one, other) for at, (one, other) in enumerate(zip(sent, arrived, strict=True))
        )
    elif isinstance(sent, dict) and len(sent) == len(arrived):
        keys = filter(None, (difference(one, other, f"{where}[key]") for one, other in zip(sent, arrived, strict=True)))

        if change := next(keys, ""):
            return change

        pairs = ((key, one, other) for (key, one), other in zip(sent.items(), arrived.values(), strict=True))
    elif equal(sent, arrived) or (sent != sent and arrived != arrived):
        return ""
    else:
        return _said(sent, arrived, where)

    return next((change for key, one, other in pairs if (change := difference(one, other, f"{where}[{key!r}]"))), "")


def _difference_in_set(sent: Set[Any], arrived: Set[Any], where: str) -> str:
    """Each member has to be there, as itself."""
    there, strange = {each: each for each in arrived}, [each for each in arrived if each not in sent]

    for member in sent:
        found = [there[member]] if member in there else strange
        changes = [difference(member, each, f"{where}[member]") for each in found]

        if all(changes):
            return changes[0] if changes else _said(sent, arrived, where)

    return ""


def _difference_of_fields(sent: Any, held: Mapping[str, Any], arrived: Any, where: str) -> str:
    if type(arrived) is not type(sent):
        # A named tuple is also a tuple, and an annotation may say so.
        return (
            "" if isinstance(sent, tuple) and type(arrived) is tuple and equal(sent, arrived) else _said(sent, arrived, where)
        )

    there = fields_of(arrived) or {}
    changes = (difference(each, there.get(name), f"{where}.{name}") for name, each in held.items())
    return next(filter(None, changes), "")


def _said(sent: Any, arrived: Any, where: str) -> str:
    is_object = type(sent) not in _BUILT_IN and type(arrived) in _BUILT_IN
    hint = "; annotate it with its class, or pass plain data" if is_object else ""
    became = "plain text" if hasattr(type(sent), "get_secret_value") else called(arrived)
    return f"{called(sent)}{_place(where)} would arrive as {became}, which is not the same{hint}"


def _place(where: str) -> str:
    return f" at {where.lstrip('.')}" if where else ""


def called(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = "?"

    return f"the {type(value).__qualname__} {text if len(text) <= 60 else text[:57] + '...'}"
