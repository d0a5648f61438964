"""Kinds: what an annotation says of a value, and how the value comes back from the store as what it was.

Most kinds are left to the encoder and the decoder alone. Where these would change a value, or cannot tell what it was, it is
written out in words (``cherga.rules.codec``) and restored by its annotation. What would not come back is refused. Which kind an
annotation says is told by ``cherga.rules.annotations``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import cached_property
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    get_args,
    get_origin,
)

import msgspec

from cherga.rules.codec import (
    Named,
    ObjectFound,
    came_from_store,
    decode_whole,
    encode,
    plain,
    revive,
    revive_values,
    written_out,
)
from cherga.rules.difference import called, difference, equal
from cherga.rules.hints import unwrapped

MISFITS = (TypeError, ValueError, msgspec.DecodeError, RecursionError, OverflowError)
"""The errors that restoring raises for data that do not fit."""


Extensions = Callable[[int, memoryview], Any]
"""Gives the value of an extension."""


class Changed(TypeError):
    """A value that would not come back as it is; the message says how."""


class Kinds(Protocol):
    """Tells which kind an annotation says."""

    def kind_of(self, annotation: Any) -> Kind: ...
    def decoder(self, annotation: Any, extensions: Extensions = revive) -> msgspec.msgpack.Decoder[Any]: ...


class Kind(ABC):
    """The kind of value that one annotation describes."""

    exact = False
    """The decoder gives back every value that it takes, or what the annotation makes of it."""
    sure = False
    """True when the value need not be compared with what was sent."""

    def __init__(self, annotation: Any, kinds: Kinds) -> None:
        self.annotation = annotation
        self.kinds = kinds
        self.whole = annotation
        """With what ``Annotated`` says about it."""

    @abstractmethod
    def restore(self, data: Any) -> Any:
        """The value, of what ``decode_whole`` gives for it. Raises one of ``MISFITS``."""

    def takes(self, data: Mapping[Any, Any]) -> bool:
        """True when a dictionary has no field too many; what is missing shows when it is restored."""
        return True

    def is_all_in(self, data: Mapping[Any, Any]) -> bool:
        """True when a dictionary has every field."""
        return False

    @cached_property
    def read(self) -> Callable[[bytes], Any] | None:
        """Decodes a value that is not written out; None where only restoring tells what it is."""
        try:
            return self.kinds.decoder(self.whole).decode
        except Exception:  # a class may say anything about its fields
            return None

    @cached_property
    def _read_stored(self) -> Callable[[bytes], Any] | None:
        """The same, for what may hold objects where none are expected."""
        return None if self.read is None else self.kinds.decoder(self.whole, revive_values).decode

    def keep(self, value: Any) -> Any:
        """The data to encode, so that the value comes back. Raises ``Changed``, or one of ``MISFITS`` when it does not fit."""
        return self.kept(value)[0]

    def kept(self, value: Any) -> tuple[Any, Any]:
        """The data to encode, and the value as it comes back."""
        if self.read is not None and not came_from_store(value):
            arrived = self.read(encode(value))

            if self.sure or equal(arrived, value):
                return value, arrived

        wire = written_out(value)
        arrived = self.restore(decode_whole(encode(wire)))

        if change := difference(value, arrived):
            raise Changed(change)

        return wire if equal(arrived, value) else self._filled_out(arrived, wire), arrived

    def _filled_out(self, arrived: Any, wire: Any) -> Any:
        """The data to encode for an object that was sent as plain data: all of it, unless it changes when it is made again."""
        for whole in (arrived, written_out(arrived)):
            with suppress(Exception):  # the decoder may not know it
                if equal(arrived, self.unpack(encode(whole))):
                    return whole

        return wire

    def pack(self, value: Any) -> bytes:
        """The bytes of a value that comes back. Raises as ``keep`` does."""
        if self.read is None:
            return encode(self.keep(value))

        data = encode(value)

        try:
            arrived = self.read(data)
        except Exception:  # of what its class does when it is made
            return encode(self.keep(value))

        return data if self.sure or equal(arrived, value) else encode(self.keep(value))

    def unpack(self, data: bytes) -> Any:
        """The value of what ``pack`` gave. Raises one of ``MISFITS``."""
        try:
            return self.restore(decode_whole(data)) if self._read_stored is None else self._read_stored(data)
        except (msgspec.ValidationError, ObjectFound):  # it may be written out
            return self.restore(decode_whole(data))


class Exact(Kind):
    """Values that the decoder knows and keeps: numbers, texts, dates, enums, and collections of these."""

    exact = True

    @cached_property
    def sure(self) -> bool:  # type: ignore[override]
        """False where a whole number may be rounded to a float."""
        return not _holds_floats(self.annotation)

    def restore(self, data: Any) -> Any:
        if isinstance(data, Named) and not data.name:
            raise TypeError(f"expected {_name_of(self.annotation)}, got a value that is to come back as plain data")

        return self._read(encode(plain(data)))

    @cached_property
    def _read(self) -> Callable[[bytes], Any]:
        return self.kinds.decoder(self.whole).decode


class Open(Kind):
    """No annotation, or one that allows everything. Objects come back as plain data, and so are refused."""

    def restore(self, data: Any) -> Any:
        return plain(data)


class Foreign(Kind):
    """A class that the decoder does not know: a kind of text or number, or one that values are only tested against."""

    def restore(self, data: Any) -> Any:
        kind = get_origin(self.annotation) or self.annotation

        if isinstance(kind, type) and not isinstance(data, Named):
            if isinstance(data, kind):
                return data

            if isinstance(data, str | int | float | bytes) and (_is_secret(kind) or issubclass(kind, type(data))):
                return kind(data)

        validate = getattr(kind, "model_validate", None)

        if validate is not None:
            return validate(plain(data))

        raise TypeError(f"expected a {getattr(kind, '__qualname__', kind)}, which cannot be stored in a job")


class Lazy(Kind):
    """A kind that contains itself."""

    @cached_property
    def _inner(self) -> Kind:
        return self.kinds.kind_of(self.annotation)

    def restore(self, data: Any) -> Any:
        return self._inner.restore(data)


class Members(Kind):
    """An Enum whose values the decoder does not know."""

    def restore(self, data: Any) -> Any:
        wanted = data.content if isinstance(data, Named) and data.name == self.annotation.__name__ else data

        try:
            return self.annotation(wanted)
        except ValueError:
            if isinstance(wanted, str) and wanted in self.annotation.__members__:
                return self.annotation[wanted]

            raise


class Words(Kind):
    """A ``Literal`` with values that the decoder does not know."""

    def restore(self, data: Any) -> Any:
        value = data.content if isinstance(data, Named) else data

        for word in get_args(self.annotation):
            bare = word.value if isinstance(word, Enum) else word

            if type(bare) is type(value) and bare == value:
                return word

        raise ValueError(f"expected one of {', '.join(map(repr, get_args(self.annotation)))}, got {value!r}")


class Items(Kind):
    """A collection of values of one kind, or a tuple with a kind for each place."""

    def __init__(
        self, annotation: Any, kinds: Kinds, make: Callable[[Iterable[Any]], Any], items: tuple[Kind, ...], fixed: bool = False
    ) -> None:
        super().__init__(annotation, kinds)
        self._make = make
        self._items = items
        self._fixed = fixed

    def restore(self, data: Any) -> Any:
        if not isinstance(data, list | tuple | set | frozenset):
            raise TypeError(f"expected a collection, got {called(data)}")

        if self._fixed and len(data) != len(self._items):
            raise ValueError(f"expected {len(self._items)} values, got {len(data)}")

        kinds = self._items if self._fixed else self._items * len(data)
        return self._make(kind.restore(each) for kind, each in zip(kinds, data, strict=True))


class Pairs(Kind):
    """A mapping of keys of one kind to values of another."""

    def __init__(self, annotation: Any, kinds: Kinds, keys: Kind, values: Kind) -> None:
        super().__init__(annotation, kinds)
        self._keys = keys
        self._values = values

    def restore(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise TypeError(f"expected a mapping, got {called(data)}")

        return {self._keys.restore(key): self._values.restore(each) for key, each in data.items()}


class Maybe(Kind):
    """A kind, or None."""

    def __init__(self, annotation: Any, kinds: Kinds, kind: Kind) -> None:
        super().__init__(annotation, kinds)
        self._kind = kind

    def restore(self, data: Any) -> Any:
        return None if data is None else self._kind.restore(data)


class Choice(Kind):
    """A union: what was written out says what it is; plain data is told by its shape."""

    def __init__(self, annotation: Any, kinds: Kinds, members: list[Kind]) -> None:
        super().__init__(annotation, kinds)
        self._members = members

    @property
    def read(self) -> None:
        """None: a decoder takes the first that fits, or cannot choose."""
        return None

    def restore(self, data: Any) -> Any:
        likely = [member for member in self._members if _is_meant(member, data)]

        if found := list(_fitting(likely, data)):
            return found[0][1]

        if isinstance(data, Named):
            raise TypeError(f"expected {self}, got a {data.name}{_misfit(likely, data)}")

        found = list(_fitting(self._members, data))

        if not found:
            raise TypeError(f"expected {self}, got {called(data)}")

        return self._by_shape(found, data)

    def _by_shape(self, found: list[tuple[Kind, Any]], data: Any) -> Any:
        """The one class, of several that a dictionary fits, that has no other field."""
        if not isinstance(data, dict) or len(found) == 1:
            return found[0][1]

        whole = [value for kind, value in found if kind.is_all_in(data)]

        if len(whole) == 1:
            return whole[0]

        raise TypeError(f"expected one of {self}, got {called(data)} that could be several of them; pass the object itself")

    def __str__(self) -> str:
        return " | ".join(_name_of(member.annotation) for member in self._members)


class Defaulted(Kind):
    """A kind, or the default of its parameter, which does not fit it."""

    def __init__(self, kind: Kind, default: Any) -> None:
        super().__init__(kind.annotation, kind.kinds)
        self._kind = kind
        self._default = default

    @property
    def read(self) -> None:
        """None: the decoder would not take the default."""
        return None

    def restore(self, data: Any) -> Any:
        if type(data) is type(self._default) and equal(data, self._default):
            return self._default

        return self._kind.restore(data)


# --- telling what data is


def _fitting(kinds: Iterable[Kind], data: Any) -> Iterator[tuple[Kind, Any]]:
    for kind in kinds:
        if isinstance(data, dict) and not kind.takes(data):
            continue

        try:
            yield kind, kind.restore(data)
        except Exception:  # of what the class itself does, too
            continue


def _misfit(kinds: Iterable[Kind], data: Any) -> str:
    """The reason why data that say what they are do not fit their own class."""
    for kind in kinds:
        try:
            kind.restore(data)
        except Exception as error:
            return f": {error}"

    return ""


def _is_meant(kind: Kind, data: Any) -> bool:
    """True when the data says of itself that it is of this kind."""
    annotation = unwrapped(get_args(kind.annotation)[0] if get_origin(kind.annotation) is Annotated else kind.annotation)

    if isinstance(data, Named):
        return class_called(data.name, [get_origin(annotation) or annotation]) is not None

    origin = get_origin(annotation)
    return annotation is type(data) or origin is type(data) or (origin is Literal and data in get_args(annotation))


def class_called(name: str, classes: Iterable[Any]) -> Any:
    """The class of this name among these and the classes that are made of them: the newest, where there are several."""
    for kind in classes:
        if not isinstance(kind, type):
            continue

        if kind.__name__ == name:
            return kind

        if kind is not object and (found := class_called(name, reversed(type.__subclasses__(kind)))) is not None:
            return found

    return None


def _holds_floats(annotation: Any) -> bool:
    bare = unwrapped(annotation)
    return bare is float or any(map(_holds_floats, get_args(bare) if get_origin(bare) is not Literal else ()))


def _is_secret(kind: type) -> bool:
    return hasattr(kind, "get_secret_value")


def _name_of(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
