"""Differences between a value and what became of it on its way, told in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from cherga.rules.codec import SCALARS, Named, fields_of

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
        return _difference_inside(sent, arrived, where) if type(arrived) is kind else ""

    if (held := fields_of(sent)) is not None:
        return _difference_of_fields(sent, held, arrived, where)

    if equal(sent, arrived) or (isinstance(sent, _RICH) and type(arrived) is not kind):
        return ""

    return _said(sent, arrived, where)


def _difference_inside(sent: Any, arrived: Any, where: str) -> str:
    if isinstance(sent, list | tuple) and len(sent) == len(arrived):
        pairs: Iterable[tuple[Any, Any, Any]] = (
            (at, one, other) for at, (one, other) in enumerate(zip(sent, arrived, strict=True))
        )
    elif isinstance(sent, dict) and len(sent) == len(arrived):
        pairs = ((key, one, other) for (key, one), other in zip(sent.items(), arrived.values(), strict=True))
    elif equal(sent, arrived) or (sent != sent and arrived != arrived) or isinstance(sent, set | frozenset):
        return ""
    else:
        return _said(sent, arrived, where)

    return next((change for key, one, other in pairs if (change := difference(one, other, f"{where}[{key!r}]"))), "")


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
    place = f" at {where.lstrip('.')}" if where else ""
    hint = "; annotate it with its class, or pass plain data" if type(arrived) in _BUILT_IN else ""
    became = "plain text" if hasattr(type(sent), "get_secret_value") else called(arrived)
    return f"{called(sent)}{place} would arrive as {became}, which is not the same{hint}"


def called(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = "?"

    return f"the {type(value).__qualname__} {text if len(text) <= 60 else text[:57] + '...'}"
