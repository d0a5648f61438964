"""The codec of all that crosses the wire: MessagePack of a closed set of types.

Most values are written as MessagePack has them, dates and the like as text; the annotation makes dates of them again. What
would not come back so is written with a word that says what it is (``written_out``): a tuple, a date without an annotation, an
object with the name of its class. Such a name is looked up among the classes that an annotation allows, and never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Integral
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.msgpack import Ext

from cherga.words.errors import InvalidArguments, PayloadTooLarge
from cherga.words.later import dataclasses

CODEC_VERSION = 1

ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, BufferError)
"""The errors that the encoder raises for a value that cannot be stored (``ValueError`` covers lone surrogates)."""

SCALARS = frozenset({NoneType, bool, int, float, str, bytes})
"""Types of values that always come back as they are."""

HIDDEN = "**********"
"""The text that is shown in place of a secret."""

WORDED = 1
"""The code of a MessagePack extension whose data is a word and what belongs to it."""


class Named(Struct, frozen=True):
    """An object as it stands in the store: the name of its class, and what it holds; an Enum's member holds its value."""

    name: str
    content: Any
    given: list[str] | None = None
    """The fields of a pydantic model that were set, and not left to their defaults."""


# --- writing


def fields_of(value: object) -> dict[str, Any] | None:
    """The fields of an object with their values; None for an object whose fields are not known."""
    kind = type(value)

    if (names := field_names(kind)) is None:
        return None

    if is_model(kind):
        held: dict[str, Any] = {name: vars(value)[name] for name in names if name in vars(value)}
        return held | (getattr(value, "__pydantic_extra__", None) or {})

    return {name: getattr(value, name) for name in names}


def field_names(kind: type) -> Iterable[str] | None:
    """The names of the fields of a class; None for one that has none, or does not say them."""
    # Looked up on the type: objects that stand for others (proxies, mocks) answer for themselves, or raise, otherwise.
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]

    if hasattr(kind, "__attrs_attrs__"):
        return [attribute.name for attribute in kind.__attrs_attrs__]

    if is_model(kind):
        return list(kind.model_fields)  # type: ignore[attr-defined]

    if issubclass(kind, tuple):
        return getattr(kind, "_fields", None)

    return getattr(kind, "__struct_fields__", None)


def is_model(kind: Any) -> bool:
    """True when this is a class of pydantic's models."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_fields")


def written_out(value: Any) -> Any:
    """The value as the encoder takes it, with a word wherever it would not come back as itself. Raises ``TypeError``."""
    kind = type(value)

    if kind in SCALARS:
        return value

    if (write := _WRITERS.get(kind)) is not None:
        return write(value)

    if kind is Named:
        return _write_named(value)

    if issubclass(kind, Enum):
        return _worded("enum", kind.__name__, value.value if type(value.value) in SCALARS else value.name)

    if is_model(kind):
        return _write_model(value)

    if (held := fields_of(value)) is not None:
        return _worded("object", kind.__name__, {name: written_out(each) for name, each in held.items()})

    base = next((base for base in _WRITERS if issubclass(kind, base)), None)
    return _encode_foreign(value) if base is None else _WRITERS[base](value)


def _worded(word: str, *content: Any) -> Ext:
    return Ext(WORDED, encode([word, *content]))


def _write_all(values: Iterable[Any]) -> list[Any]:
    return [written_out(each) for each in values]


def _write_dict(value: Mapping[Any, Any]) -> Any:
    """Keys that are no plain values stand in pairs."""
    if all(type(key) in SCALARS for key in value):
        return {key: written_out(each) for key, each in value.items()}

    return _worded("pairs", [[written_out(key), written_out(each)] for key, each in value.items()])


def _write_moment(value: datetime) -> Any:
    return _worded("datetime", _moment(value)) if value.tzinfo is None else _moment(value)


def _moment(value: datetime) -> datetime:
    """The same of the plain class, which the encoder asks for."""
    clock = (value.hour, value.minute, value.second, value.microsecond)
    return datetime(value.year, value.month, value.day, *clock, tzinfo=value.tzinfo, fold=value.fold)


_WRITERS: dict[type, Callable[[Any], Any]] = {
    list: _write_all,
    dict: _write_dict,
    tuple: lambda value: _worded("tuple", _write_all(value)),
    set: lambda value: _worded("set", _write_all(value)),
    frozenset: lambda value: _worded("frozenset", _write_all(value)),
    datetime: _write_moment,
    date: lambda value: _worded("date", date(value.year, value.month, value.day)),
    time: lambda value: _worded("time", value),
    timedelta: lambda value: _worded("timedelta", timedelta(value.days, value.seconds, value.microseconds)),
    UUID: lambda value: _worded("uuid", str(value)),
    Decimal: lambda value: _worded("decimal", Decimal.__str__(value)),
    bytearray: bytes,
    memoryview: bytes,
}


def _write_model(value: Any) -> Ext:
    fields = {name: _write_field(value, name, each) for name, each in (fields_of(value) or {}).items()}
    return _worded("model", type(value).__name__, fields, sorted(value.model_fields_set))


def _write_field(model: Any, name: str, value: Any) -> Any:
    """The value itself, else what pydantic makes of it, which knows many a type that we do not."""
    try:
        return written_out(value)
    except TypeError:
        dumped = model.model_dump(mode="json", include={name})

        if name not in dumped:
            raise

        return dumped[name]


_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, bytes.__bytes__),
    (Integral, int),
    (datetime, _moment),
    (date, lambda value: date(value.year, value.month, value.day)),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    (time, lambda value: time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo)),
    (Decimal, lambda value: Decimal(value.as_tuple())),
)
"""Subclasses of these are written as what they are beside all else."""


def _encode_foreign(value: Any) -> Any:
    """The encoding of types that the encoder does not know; every other type is named."""
    kind = type(value)

    if kind is Named:
        return _write_named(value)

    if hasattr(kind, "model_dump"):
        return _write_model(value) if is_model(kind) else value.model_dump(mode="json")

    if hasattr(kind, "get_secret_value"):
        return _worded("secret", value.get_secret_value())

    for base, plain in _BASES:
        if issubclass(kind, base):
            return plain(value)

    raise TypeError(f"a {kind.__qualname__} cannot be stored in a job; pass its id or plain data instead")


def _write_named(value: Named) -> Ext:
    if value.given is not None:
        return _worded("model", value.name, value.content, value.given)

    return _worded("object" if isinstance(value.content, dict) else "enum", value.name, value.content)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_foreign)

encode = _encoder.encode
"""A value as MessagePack bytes. Raises one of ``ENCODE_ERRORS``."""


# --- reading


class _Secret(Struct):
    """A secret that was read, and is not to be shown."""

    value: Any


def revive(code: int, data: memoryview) -> Any:
    """The value that a worded extension stands for; objects as ``Named``. Raises ``msgspec.ValidationError``."""
    value = _revived(code, data, _whole)
    return value.value if type(value) is _Secret else value


class ObjectFound(Exception):
    """Data that is read holds something that has to be made an object again."""


def revive_values(code: int, data: memoryview) -> Any:
    """The value as ``revive`` gives it, for who expects no objects. Raises ``ObjectFound``."""
    value = revive(code, data)

    if type(value) is Named or (type(value) not in SCALARS and came_from_store(value)):
        raise ObjectFound

    return value


def _revive_to_show(code: int, data: memoryview) -> Any:
    value = _revived(code, data, _shown)

    if type(value) is Named:
        return value.content

    return HIDDEN if type(value) is _Secret else value


def _revived(code: int, data: memoryview, read: msgspec.msgpack.Decoder[Any]) -> Any:
    if code != WORDED:
        return Ext(code, bytes(data))

    try:
        word, *content = read.decode(data)
        return _READERS[word](*content)
    except msgspec.ValidationError:
        raise
    except Exception as error:  # it may be anything, as all that comes from the store
        raise msgspec.ValidationError(f"an extension that cannot be read: {error or type(error).__name__}") from error


_NAMELESS = "an object in a set, or as a key, needs an annotation that names its class"


def _hashed(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(items: Any) -> Any:
        try:
            return make(items)
        except TypeError:
            raise msgspec.ValidationError(_NAMELESS) from None

    return read


def _reader(kind: type) -> Callable[[Any], Any]:
    return lambda value: msgspec.convert(value, kind)


_READERS: dict[str, Callable[..., Any]] = {
    "tuple": tuple,
    "set": _hashed(set),
    "frozenset": _hashed(frozenset),
    "pairs": _hashed(dict),
    "datetime": _reader(datetime),
    "date": _reader(date),
    "time": _reader(time),
    "timedelta": _reader(timedelta),
    "uuid": UUID,
    "decimal": Decimal,
    "enum": Named,
    "object": Named,
    "model": Named,
    "secret": _Secret,
}

_whole = msgspec.msgpack.Decoder(ext_hook=revive)
_shown = msgspec.msgpack.Decoder(ext_hook=_revive_to_show)

decode = _shown.decode
"""Bytes as plain values to look at: objects as dictionaries, secrets hidden."""

decode_whole = _whole.decode
"""Bytes as values that can be made objects again: see ``Named``."""


def came_from_store(data: Any) -> bool:
    """True when there is something in it that only restoring makes whole."""
    if isinstance(data, Named):
        return True

    if isinstance(data, dict):
        return any(map(came_from_store, data.values())) or any(map(came_from_store, data))

    return isinstance(data, list | tuple | set | frozenset) and any(map(came_from_store, data))


def plain(data: Any) -> Any:
    """The same with objects as plain data."""
    if isinstance(data, Named):
        return plain(data.content)

    if type(data) is dict:
        return {plain(key): plain(each) for key, each in data.items()}

    return type(data)(map(plain, data)) if type(data) in (list, tuple, set, frozenset) else data


def kept_plain(data: bytes) -> bytes:
    """The same value encoded so that it comes back as plain data, whatever its annotation would make of that."""
    return encode(written_out(Named("", written_out(plain(decode_whole(data))))))


def encode_to_show(value: Any) -> bytes:
    """Bytes of a value that people look at, which ``decode`` makes the same again; of objects only what they hold.

    A set of such objects becomes a list. Raises one of ``ENCODE_ERRORS``.
    """
    if type(value) in SCALARS:
        return encode(value)

    return _readable(encode(written_out(value))) or _readable(encode(value)) or _refuse_keys()


def _readable(data: bytes) -> bytes | None:
    """The data, where they can be read again."""
    try:
        decode(data)
    except msgspec.DecodeError:
        return None

    return data


def _refuse_keys() -> NoReturn:
    raise TypeError("expected keys that can be read again, such as texts, numbers and tuples, got an object as a key")


def check_size(data: bytes, limit: int, what: str) -> bytes:
    """Return ``data``, or raise ``PayloadTooLarge`` when it is over ``limit`` bytes."""
    if len(data) > limit:
        raise PayloadTooLarge(
            f"{what}: expected at most {limit:,} bytes encoded, got {len(data):,}; store large data elsewhere and pass its name"
        )

    return data


def encode_argument(value: Any, what: str, write: Callable[[Any], bytes] = encode) -> bytes:
    """Encode one value or raise ``InvalidArguments`` that says which."""
    try:
        return write(value)
    except ENCODE_ERRORS as error:
        raise InvalidArguments(f"{what} cannot be encoded: {error or type(error).__name__}") from error
