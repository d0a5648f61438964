"""A task's parameters as a packed record: arguments are bound and checked at enqueue, and unpacked by the worker.

Bound arguments are stored as a map from parameter name to value, so that parameters may be reordered or added with a default
while jobs wait. A sender that does not know the signature stores ``[args, kwargs]``; the worker then binds them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from operator import or_
from types import GenericAlias, SimpleNamespace
from typing import Any, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct, field

from cherga.rules.codec import ENCODE_ERRORS, decode, decoder, encode, encode_argument, encode_sorted
from cherga.words.errors import InvalidArguments, TaskError

P = inspect.Parameter
_NOTHING: Mapping[str, Any] = {}
_NAMED = (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)


class Signature:
    """Binds, checks, packs and unpacks the arguments of one function.

    ``injected`` names parameters that the worker fills in; senders cannot pass them.
    """

    def __init__(self, function: Callable[..., Any], task: str, injected: frozenset[str] = frozenset(), skip: int = 0) -> None:
        signature = _readable(function, task)
        everything = list(signature.parameters.values())[skip:]
        parameters = [p for p in everything if p.name not in injected]

        self.task = task
        self.signature = signature.replace(parameters=parameters)
        self.hints = hints_of(function)
        self._injected = injected
        self._positional = [p.name for p in everything if p.kind in _NAMED]
        self._keywords = [p.name for p in everything if p.kind is P.KEYWORD_ONLY]
        self._rest = next((p.name for p in parameters if p.kind is P.VAR_POSITIONAL), None)
        self._extra = next((p.name for p in parameters if p.kind is P.VAR_KEYWORD), None)
        self._record = _record(task, parameters, self.hints)
        self._decoder = decoder(self._record)
        self._sparse = any(default is UNSET for default in self._record.__struct_defaults__)
        self._simple = not (injected or self._keywords or self._rest or self._extra or self._sparse)
        self._only_named = not (self._rest or self._extra or any(p.kind is P.POSITIONAL_ONLY for p in parameters))

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Bind and encode. Raises ``InvalidArguments`` that names the argument which does not fit."""
        try:
            payload = encode(self._bind(args, kwargs))
            self._decoder.decode(payload)
        except Exception as error:  # of the encoder, or of what the arguments' own classes do
            raise self._explain(args, kwargs, error) from error

        return payload

    def unpack(self, payload: bytes, filled: Mapping[str, Any] = _NOTHING) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments to call the function with; ``filled`` holds the injected ones by name.

        Raises ``InvalidArguments`` for arguments that do not fit, ``msgspec.DecodeError`` for bytes that cannot be read.
        """
        record = self._read(payload)

        if self._simple:
            return msgspec.structs.astuple(record), {}

        return self._spread(record, filled)

    def fingerprint(self, args: tuple[Any, ...], kwargs: dict[str, Any], names: Iterable[str] = ()) -> bytes:
        """The same bytes for equal arguments, whatever order sets and dictionaries have; ``names`` picks some of them."""
        record = self._bind(args, kwargs)
        values = {name: getattr(record, name) for name in names or record.__struct_fields__}
        return encode_sorted({name: value for name, value in values.items() if value is not UNSET})

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], names: Iterable[str]) -> list[Any]:
        """The values of these parameters, with defaults filled in."""
        record = self._bind(args, kwargs)
        return [self._value(record, name) for name in names]

    def pack_fed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Encode all arguments but the first, which is to come. Raises ``InvalidArguments`` when it would not fit."""
        where = f"task {self.task}{self.signature}, fed with a result first"

        try:
            first, *given = self.signature.bind(None, *args, **kwargs).arguments.items()
        except TypeError as misfit:
            raise InvalidArguments(f"{where}: {misfit}") from misfit

        rest = [(self._rest, first[1][1:])] if first[0] == self._rest else []
        self._check_types(where, [*rest, *given])
        return pack_unbound(self.task, args, kwargs)

    def feed(self, payload: bytes, first: Any) -> bytes:
        """The payload of ``pack_fed`` with its first argument. Raises ``InvalidArguments``."""
        loose = decode(payload)

        if not (isinstance(loose, list) and len(loose) == 2):
            raise InvalidArguments(f"task {self.task}{self.signature}: expected arguments that wait for a result")

        return self.pack((first, *loose[0]), loose[1])

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that a sender may pass."""
        return self._record.__struct_fields__

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Struct:
        if self._only_named:
            return self._record(*args, **kwargs)

        return self._record(**self.signature.bind(*args, **kwargs).arguments)

    def _read(self, payload: bytes) -> Any:
        try:
            try:
                return self._decoder.decode(payload)
            except msgspec.ValidationError as error:
                return self._decoder.decode(self._rebind(payload, error))
        except (InvalidArguments, msgspec.DecodeError):
            raise
        except Exception as error:  # of what a class does when it is made
            raise InvalidArguments(f"task {self.task}{self.signature}: {type(error).__name__}: {error}") from error

    def _rebind(self, payload: bytes, error: msgspec.ValidationError) -> bytes:
        """Bind what a sender without the signature stored."""
        loose = decode(payload)

        if not (isinstance(loose, list) and len(loose) == 2 and isinstance(loose[0], list) and isinstance(loose[1], dict)):
            raise InvalidArguments(f"task {self.task}{self.signature}: {error}") from error

        return self.pack(tuple(loose[0]), loose[1])

    def _spread(self, record: Any, filled: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional = self._values(self._positional, record, filled).values()
        rest = getattr(record, self._rest) if self._rest else ()
        named = self._values(self._keywords, record, filled)
        return (*positional, *rest), named | getattr(record, self._extra) if self._extra else named

    def _values(self, names: list[str], record: Any, filled: Mapping[str, Any]) -> dict[str, Any]:
        sent = {name: self._value(record, name) for name in names if name not in self._injected}
        return {name: filled[name] if name in filled else sent[name] for name in names if name in filled or name in sent}

    def _value(self, record: Any, name: str) -> Any:
        """What the sender left out and cannot be stored is the function's own default."""
        value = getattr(record, name)
        return self.signature.parameters[name].default if value is UNSET else value

    def _explain(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> InvalidArguments:
        """The message that a person needs: which argument, what was expected, what came."""
        where = f"task {self.task}{self.signature}"

        try:
            self._check_types(where, self.signature.bind(*args, **kwargs).arguments.items())
        except InvalidArguments as misfit:
            return misfit
        except TypeError as misfit:
            return InvalidArguments(f"{where}: {misfit}")

        return InvalidArguments(f"{where}: {error}")

    def _check_types(self, where: str, arguments: Iterable[tuple[str, Any]]) -> None:
        """Raise ``InvalidArguments`` for the first that does not fit its parameter."""
        for name, value in arguments:
            data = encode_argument(value, f"{where}: argument {name!r}")

            try:
                decoder(_storable(self._kinds[name])).decode(data)
            except Exception as misfit:
                raise InvalidArguments(f"{where}: argument {name!r}: {misfit}; got {_short(value)}") from misfit

    @cached_property
    def _kinds(self) -> dict[str, Any]:
        return get_type_hints(self._record, include_extras=True)


def _readable(function: Callable[..., Any], task: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise TaskError(f"task {task}: expected a function whose parameters can be read, got {function!r}") from error


def pack_unbound(task: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Encode for a task whose signature is not known here. Raises ``InvalidArguments`` that names the argument."""
    try:
        return encode([args, kwargs])
    except ENCODE_ERRORS as error:
        for place, value in (*enumerate(args, 1), *kwargs.items()):
            encode_argument(value, f"task {task}: argument {place!r}")

        raise InvalidArguments(f"task {task}: its arguments cannot be encoded: {error}") from error


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types; what cannot be resolved (a name imported for type checkers alone) is left out."""
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # an annotation is any expression, and may raise anything
        annotations = inspect.get_annotations(function)

    hints: dict[str, Any] = {}

    for name, hint in annotations.items():
        with suppress(Exception):
            hints |= get_type_hints(_annotated(function, name, hint), include_extras=True)

    return hints


def _annotated(function: Callable[..., Any], name: str, hint: Any) -> Any:
    """Something with this one annotation, resolved as the function's own would be."""
    alone = SimpleNamespace(__annotations__={name: hint})
    alone.__wrapped__ = inspect.unwrap(function)
    return alone


def _record(task: str, parameters: list[P], hints: dict[str, Any]) -> type[Struct]:
    """The Struct whose fields are the parameters; keyword-only ones stand in a second Struct on top of the first."""
    plain = [_field(p, hints) for p in parameters if p.kind is not P.KEYWORD_ONLY]
    keywords = [_field(p, hints) for p in parameters if p.kind is P.KEYWORD_ONLY]
    name = "".join(c if c.isalnum() else "_" for c in task)

    try:
        record = defstruct(name, plain, forbid_unknown_fields=True)
        return defstruct(name, keywords, bases=(record,), kw_only=True, forbid_unknown_fields=True) if keywords else record
    except (TypeError, ValueError) as error:
        raise TaskError(f"task {task}: its parameters cannot be stored: {error}") from error


def _field(parameter: P, hints: dict[str, Any]) -> tuple[str, Any, Any] | tuple[str, Any]:
    kind = _storable(hints.get(parameter.name, Any))

    if parameter.kind is P.VAR_POSITIONAL:
        return parameter.name, GenericAlias(tuple, (kind, ...)), ()

    if parameter.kind is P.VAR_KEYWORD:
        return parameter.name, GenericAlias(dict, (str, kind)), field(default_factory=dict)

    if parameter.default is P.empty:
        return parameter.name, kind

    return _defaulted(parameter, kind)


def _defaulted(parameter: P, kind: Any) -> tuple[str, Any, Any]:
    """A default goes into the job, so that a later change of the code does not change jobs that wait."""
    default = parameter.default

    try:
        data = encode(default)
    except ENCODE_ERRORS:
        return parameter.name, _storable(_or(kind, UnsetType)), UNSET

    try:
        decoder(kind).decode(data)
    except msgspec.ValidationError:
        kind = _storable(_or(kind, None)) if default is None else Any

    return parameter.name, kind, field(default_factory=lambda: default)


def _or(kind: Any, other: Any) -> Any:
    return Any if kind is Any else or_(kind, other)


def _storable(kind: Any) -> Any:
    """The type itself, or ``Any`` where no decoder can be made for it."""
    try:
        decoder(kind)
    except Exception:  # a type that msgspec does not know, or with a name inside that is none
        return Any

    return kind


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__qualname__}"

    return text if len(text) <= 80 else f"{text[:77]}..."
