"""Canonical forms: one for all equal values, for the keys and pauses that are made of arguments. Pure.

It is JSON: numbers, texts, truth values and None as they are, lists as lists, and everything else as an object with one word
that says what it is. Two values have one form when they are equal, whatever order sets and dictionaries have, in whatever zone
a moment is told, and however many zeros a number shows; True is not 1, and a list is no tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from cherga.rules.codec import Named, decode_whole, fields_of, plain
from cherga.words.later import hashlib

write = msgspec.json.Encoder(order="sorted").encode
"""The text of a form, which is the same for the same form."""


def form_of(value: Any) -> Any:
    """The value's form. Raises ``TypeError`` for what has none."""
    kind = type(value)

    if (form := _FORMS.get(kind)) is not None:
        return form(value)

    if issubclass(kind, str | int | float):
        return form_of(next(base for base in (str, int, float) if issubclass(kind, base))(value))

    if issubclass(kind, Enum):
        return {"enum": [kind.__name__, form_of(value.value)]}

    if kind is Named and not isinstance(value.content, dict):
        return {"enum": [value.name, form_of(value.content)]}

    if (held := value.content if kind is Named else fields_of(value)) is not None:
        name = value.name if kind is Named else kind.__name__
        return {"object": [name, {field: form_of(each) for field, each in held.items()}]}

    return _form_of_kin(value)


def _form_of_kin(value: Any) -> Any:
    kind = type(value)

    if hasattr(kind, "get_secret_value"):
        return {"secret": _hashed(str(value.get_secret_value()))}

    for base in _FORMS:
        if base is not type(None) and issubclass(kind, base):
            return _FORMS[base](value)

    raise TypeError(f"a {kind.__qualname__} has no form of its own")


def _form_of_float(value: float) -> Any:
    if value.is_integer() and -(2**63) <= value < 2**64:
        return int(value)

    return value if value - value == 0 else {"float": repr(value)}


def _form_of_decimal(value: Decimal) -> Any:
    """The digits, without the zeros at the end."""
    sign, digits, exponent = value.as_tuple()

    if not isinstance(exponent, int):
        return {"decimal": str(value)}

    while digits[:1] and len(digits) > 1 and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1

    return {"decimal": "0" if digits in ((), (0,)) else str(Decimal((sign, digits, exponent)))}


def _form_of_moment(value: datetime) -> Any:
    return {"datetime": value.isoformat()} if value.tzinfo is None else {"moment": _utc(value).isoformat()}


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # at either end of time
        return value


def _form_of_time(value: time) -> Any:
    return {"time": value.isoformat()}


def _form_of_dict(value: Mapping[Any, Any]) -> Any:
    return {"map": sorted(([form_of(key), form_of(each)] for key, each in value.items()), key=write)}


def _form_of_set(value: Any) -> Any:
    return {"set": sorted(map(form_of, value), key=write)}


_FORMS: dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    int: lambda value: value,
    str: lambda value: value,
    float: _form_of_float,
    Decimal: _form_of_decimal,
    bytes: lambda value: {"bytes": value.hex()},
    bytearray: lambda value: {"bytes": value.hex()},
    UUID: lambda value: {"uuid": str(value)},
    datetime: _form_of_moment,
    date: lambda value: {"date": value.isoformat()},
    time: _form_of_time,
    timedelta: lambda value: {"timedelta": str(msgspec.to_builtins(value))},
    list: lambda value: list(map(form_of, value)),
    tuple: lambda value: {"tuple": list(map(form_of, value))},
    set: _form_of_set,
    frozenset: _form_of_set,
    dict: _form_of_dict,
}


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# --- forms shown


def shown(form: Any) -> Any:
    """The form as plain data without its words, to look at."""
    if isinstance(form, list):
        return list(map(shown, form))

    if not isinstance(form, dict):
        return form

    ((word, content),) = form.items()

    if word == "map":
        return {_key(shown(key)): shown(each) for key, each in content}

    if word == "object":
        return {name: shown(each) for name, each in content[1].items()} if isinstance(content[1], dict) else shown(content[1])

    return shown(content[1] if word == "enum" else content)


def _key(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else write(value).decode()


# --- forms compared with what is stored


def fits(form: Any, stored: Any) -> bool:
    """True when a stored value has this form; it is what the store gives, text where the annotation says a date."""
    if isinstance(form, dict):
        ((word, content),) = form.items()
        return word in _FITS and _FITS[word](content, stored)

    if isinstance(form, list):
        return isinstance(stored, list | tuple) and len(form) == len(stored) and all(map(fits, form, stored))

    if isinstance(form, str):
        return form == (stored if isinstance(stored, str) else _text_of(stored))

    return isinstance(stored, bool) == isinstance(form, bool) and bool(form == stored)


def _text_of(stored: Any) -> Any:
    """A date as the text that people give for it."""
    return msgspec.to_builtins(stored) if isinstance(stored, date | time | timedelta | UUID | Decimal) else None


def _as(word: str, kind: Any) -> Callable[[Any, Any], bool]:
    def same(content: Any, stored: Any) -> bool:
        try:
            return bool(form_of(msgspec.convert(stored, kind)) == {word: content})
        except (msgspec.ValidationError, ValueError):
            return False

    return same


def _fits_any(content: list[Any], stored: Any) -> bool:
    return (
        isinstance(stored, list | tuple | set | frozenset)
        and len(content) == len(stored)
        and all(any(fits(form, each) for each in stored) for form in content)
    )


def _fits_map(content: list[Any], stored: Any) -> bool:
    return (
        isinstance(stored, dict)
        and len(content) == len(stored)
        and all(any(fits(key, name) and fits(form, each) for name, each in stored.items()) for key, form in content)
    )


def _fits_object(content: list[Any], stored: Any) -> bool:
    fields = content[1]

    if isinstance(stored, list):  # a named tuple
        return fits(list(fields.values()), stored)

    return (
        isinstance(stored, dict) and fields.keys() == stored.keys() and all(fits(fields[name], stored[name]) for name in fields)
    )


_FITS: dict[str, Callable[[Any, Any], bool]] = {
    "uuid": _as("uuid", UUID),
    "date": _as("date", date),
    "moment": _as("moment", datetime),
    "datetime": _as("datetime", datetime),
    "time": _as("time", time),
    "timedelta": _as("timedelta", timedelta),
    "decimal": _as("decimal", Decimal),
    "float": lambda content, stored: isinstance(stored, float) and repr(stored) == content,
    "bytes": lambda content, stored: isinstance(stored, bytes) and stored.hex() == content,
    "secret": lambda content, stored: isinstance(stored, str) and _hashed(stored) == content,
    "enum": lambda content, stored: fits(content[1], stored),
    "tuple": lambda content, stored: fits(content, stored),
    "set": _fits_any,
    "map": _fits_map,
    "object": _fits_object,
}


def stored_values(payload: bytes) -> Any:
    """Stored arguments as ``fits`` takes them. Raises what reading them raises."""
    return plain(decode_whole(payload))
