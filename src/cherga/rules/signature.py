"""A task's parameters as a packed record: arguments are bound and checked at enqueue, and unpacked by the worker.

Bound arguments are stored as a map from parameter name to value, so that parameters may be reordered or added with a default
while jobs wait. A sender that does not know the signature stores ``[args, kwargs]``; the worker then binds them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct, field

from cherga.rules.annotations import decoder, extra_kind, kind_of, rest_kind
from cherga.rules.codec import ENCODE_ERRORS, ObjectFound, decode_whole, encode, encode_argument, revive_values, written_out
from cherga.rules.difference import equal
from cherga.rules.hints import hints_of
from cherga.rules.kinds import MISFITS, Changed, Defaulted, Kind
from cherga.words.errors import InvalidArguments, TaskError
from cherga.words.later import inspect

_NOTHING: Mapping[str, Any] = {}
_REQUIRED: Any = object()

_QUOTED = re.compile(r"(: |-> )'([^']*)'")


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
        self._injected = injected
        self._positional = [p.name for p in everything if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._keywords = [p.name for p in everything if p.kind is p.KEYWORD_ONLY]
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._extra = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        hints = hints_of(function)
        self._fields = {p.name: _field(task, p, hints) for p in parameters}
        self._record = _record(task, parameters, self._fields)
        self._decoder = decoder(self._record)
        self._reader = decoder(self._record, revive_values)
        self._restored = [name for name, each in self._fields.items() if each.kind.read is None]
        self._sure = all(each.kind.sure for each in self._fields.values())
        self._sparse = any(default is UNSET for default in self._record.__struct_defaults__)
        self._simple = not (injected or self._keywords or self._rest or self._extra or self._sparse)
        self._only_named = not (self._rest or self._extra or any(p.kind is p.POSITIONAL_ONLY for p in parameters))

    @property
    def shown(self) -> str:
        """The signature as its author wrote it: annotations that are kept as text stand without quotes."""
        return _QUOTED.sub(r"\1\2", str(self.signature))

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Bind and encode. Raises ``InvalidArguments`` that names the argument which does not fit, or would not come back."""
        return self.packed(args, kwargs)[0]

    def packed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, Any]:
        """The same, and the arguments as they arrive, defaults filled in."""
        if self._restored:
            return self._pack_each(args, kwargs)

        try:
            record = self._bind(args, kwargs)
            payload = encode(record)
            arrived = self._decoder.decode(payload)

            if self._sure or arrived == record:
                return payload, arrived
        except Exception:  # of the encoder, or of what the arguments' own classes do
            pass

        return self._pack_each(args, kwargs)

    def unpack(self, payload: bytes, filled: Mapping[str, Any] = _NOTHING) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments to call the function with; ``filled`` holds the injected ones by name.

        Raises ``InvalidArguments`` for arguments that do not fit, ``msgspec.DecodeError`` for bytes that cannot be read.
        """
        record = self._read(payload)

        if self._simple:
            return msgspec.structs.astuple(record), {}

        return self._spread(record, filled)

    def values(self, arrived: Any, names: Iterable[str] = ()) -> dict[str, Any]:
        """The values of these arguments, or of all that have arrived; a default that is not stored is left out."""
        values = {name: getattr(arrived, name) for name in names or arrived.__struct_fields__}
        return {name: value for name, value in values.items() if value is not UNSET}

    def call(self, arrived: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, each as it has arrived."""
        placed = [name for name in self._positional if name not in self._injected]
        named = [self._value(arrived, name) for name in placed[: len(args)]]
        rest = getattr(arrived, self._rest) if self._rest else ()
        extra = getattr(arrived, self._extra) if self._extra else {}
        return (*named, *rest), {name: extra[name] if name in extra else self._value(arrived, name) for name in kwargs}

    def kind(self, name: str) -> Kind:
        """The kind that the annotation of a parameter describes."""
        return self._fields[name].kind

    def arrived(self, name: str, value: Any) -> Any:
        """A value of one parameter as it arrives. Raises ``InvalidArguments``."""
        return self._keep(f"task {self.task}{self.shown}", name, value)[1]

    def as_arrived(self, name: str, *spellings: Any) -> Any:
        """The first of these that fits a parameter, as it arrives; where none does, the first."""
        for value in spellings if name in self._fields else ():
            with suppress(InvalidArguments):
                return self.arrived(name, value)

        return spellings[0]

    def pack_fed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Encode all arguments but the first, which is to come. Raises ``InvalidArguments`` when it would not fit."""
        where = f"task {self.task}{self.shown}, fed with a result first"

        try:
            first, *given = self.signature.bind(None, *args, **kwargs).arguments.items()
        except TypeError as misfit:
            raise InvalidArguments(f"{where}: {misfit}") from misfit

        rest = [(self._rest, first[1][1:])] if first[0] == self._rest else []

        for name, value in (*rest, *given):
            self._keep(where, name, value)

        return pack_unbound(self.task, args, kwargs)

    def feed(self, payload: bytes, first: Any) -> bytes:
        """The payload of ``pack_fed`` with its first argument. Raises ``InvalidArguments``."""
        loose = decode_whole(payload)

        if not (isinstance(loose, list) and len(loose) == 2):
            raise InvalidArguments(f"task {self.task}{self.shown}: expected arguments that wait for a result")

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
                record = self._reader.decode(payload)
            except (msgspec.ValidationError, ObjectFound) as error:
                return self._read_each(payload, error)

            for name in self._restored:
                if (data := getattr(record, name)) is not UNSET:
                    setattr(record, name, self._restore(name, data))

            return record
        except (InvalidArguments, msgspec.DecodeError):
            raise
        except Exception as error:  # of what a class does when it is made
            raise InvalidArguments(f"task {self.task}{self.shown}: {type(error).__name__}: {error}") from error

    def _read_each(self, payload: bytes, error: Exception) -> Any:
        """Restore what was written out; bind what a sender without the signature stored."""
        loose = decode_whole(payload)

        if isinstance(loose, dict) and loose.keys() <= self._fields.keys():
            return self._record(**{name: self._restore(name, data) for name, data in loose.items()})

        if not (isinstance(loose, list) and len(loose) == 2 and isinstance(loose[0], list) and isinstance(loose[1], dict)):
            raise InvalidArguments(f"task {self.task}{self.shown}: {str(error) or 'expected its arguments by name'}")

        return self.packed(tuple(loose[0]), loose[1])[1]

    def _restore(self, name: str, data: Any) -> Any:
        try:
            return self._fields[name].kind.restore(data)
        except MISFITS as error:
            raise InvalidArguments(f"task {self.task}{self.shown}: argument {name!r}: {error}") from error

    def _spread(self, record: Any, filled: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional = self._values(self._positional, record, filled).values()
        rest = getattr(record, self._rest) if self._rest else ()
        named = self._values(self._keywords, record, filled)
        return (*positional, *rest), named | getattr(record, self._extra) if self._extra else named

    def _values(self, names: list[str], record: Any, filled: Mapping[str, Any]) -> dict[str, Any]:
        sent = {name: self._value(record, name) for name in names if name not in self._injected}
        return {name: filled[name] if name in filled else sent[name] for name in names if name in filled or name in sent}

    def _value(self, record: Any, name: str) -> Any:
        """A value that the sender left out and that cannot be stored is the function's own default."""
        value = getattr(record, name)
        return self.signature.parameters[name].default if value is UNSET else value

    def _pack_each(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, Any]:
        """Pack argument by argument, each as it comes back. Raises ``InvalidArguments`` that tells a person which does not."""
        where = f"task {self.task}{self.shown}"

        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as misfit:
            raise InvalidArguments(f"{where}: {misfit}") from misfit

        for name, value in bound.arguments.items():
            if value is UNSET:
                raise InvalidArguments(
                    f"{where}: argument {name!r}: expected a value, got UNSET; leave the argument out instead"
                )

        record = self._bind(args, kwargs)
        kept = {name: self._keep(where, name, value) for name, value in self.values(record).items()}
        payload = encode({name: wire for name, (wire, _) in kept.items()})
        return payload, self._record(**{name: value for name, (_, value) in kept.items()})

    def _keep(self, where: str, name: str, value: Any) -> tuple[Any, Any]:
        """The data to encode for an argument, and the argument as it arrives."""
        what = f"{where}: argument {name!r}"
        encode_argument(value, what)

        try:
            return self._fields[name].kind.kept(value)
        except Changed as change:
            raise InvalidArguments(f"{what}: {change}") from change
        except Exception as misfit:
            raise InvalidArguments(f"{what}: {misfit}; got {_short(value)}") from misfit


class _Field(Struct, frozen=True):
    """A parameter as it is stored: its kind, and its default."""

    kind: Kind
    is_sparse: bool = False
    default: Any = _REQUIRED


def _readable(function: Callable[..., Any], task: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise TaskError(f"task {task}: expected a function whose parameters can be read, got {function!r}") from error


def pack_unbound(task: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Encode for a task whose signature is not known here. Raises ``InvalidArguments`` that names the argument."""
    loose = [list(args), kwargs]

    try:
        payload = encode(loose)
        return payload if equal(decode_whole(payload), loose) else encode([[*map(written_out, args)], _written(kwargs)])
    except ENCODE_ERRORS as error:
        for place, value in (*enumerate(args, 1), *kwargs.items()):
            encode_argument(value, f"task {task}: argument {place!r}")

        raise InvalidArguments(f"task {task}: its arguments cannot be encoded: {error}") from error


def _written(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: written_out(value) for name, value in kwargs.items()}


def _record(task: str, parameters: list[inspect.Parameter], fields: Mapping[str, _Field]) -> type[Struct]:
    """The Struct whose fields are the parameters; keyword-only ones stand in a second Struct on top of the first."""
    plain = [_struct_field(p.name, fields[p.name]) for p in parameters if p.kind is not p.KEYWORD_ONLY]
    keywords = [_struct_field(p.name, fields[p.name]) for p in parameters if p.kind is p.KEYWORD_ONLY]
    name = "".join(c if c.isalnum() else "_" for c in task)

    try:
        record = defstruct(name, plain, forbid_unknown_fields=True)
        return defstruct(name, keywords, bases=(record,), kw_only=True, forbid_unknown_fields=True) if keywords else record
    except (TypeError, ValueError) as error:
        raise TaskError(f"task {task}: its parameters cannot be stored: {error}") from error


def _struct_field(name: str, of: _Field) -> Any:
    """The field as ``defstruct`` takes it. A value that has to be restored is first taken as it comes."""
    kind = Any if of.kind.read is None else of.kind.whole

    if of.is_sparse:
        return name, Any if kind is Any else kind | UnsetType, UNSET

    return (name, kind) if of.default is _REQUIRED else (name, kind, field(default_factory=lambda: of.default))


def _field(task: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> _Field:
    """The stored form of a parameter. Raises ``TaskError`` for an annotation that cannot be honoured."""
    what = f"task {task}: parameter {parameter.name!r}"

    if parameter.name.startswith("__") and not parameter.name.endswith("__"):
        name = parameter.name.lstrip("_")
        raise TaskError(
            f"{what}: expected a name with one underscore at most in front; write {name}, / for what has no keyword"
        )

    if parameter.name not in hints and parameter.annotation is not parameter.empty:
        raise TaskError(f"{what}: {unresolved(parameter.annotation)}")

    try:
        return _field_of(parameter, hints.get(parameter.name, Any))
    except Exception as error:  # of msgspec, or of an annotation that is no type
        raise TaskError(f"{what}: {unusable(hints.get(parameter.name), error)}") from error


def _field_of(parameter: inspect.Parameter, hint: Any) -> _Field:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return _Field(rest_kind(hint), default=())

    if parameter.kind is parameter.VAR_KEYWORD:
        return _Field(extra_kind(hint), default={})

    return _Field(kind_of(hint)) if parameter.default is parameter.empty else _defaulted(parameter.default, kind_of(hint))


def unresolved(annotation: Any) -> str:
    """The sentence for an annotation whose names are not there."""
    shown = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return (
        f"expected an annotation that can be looked up where the task is declared, got {shown!r}; import what it names at run "
        "time too (not under TYPE_CHECKING alone), above the task, or leave the annotation out"
    )


def unusable(annotation: Any, error: Exception) -> str:
    """The sentence for an annotation that nothing can be checked against."""
    return (
        f"expected an annotation that stored values can be checked against, got {_short(annotation)}: {error}; write a type "
        "that can, or Any"
    )


def _defaulted(default: Any, kind: Kind) -> _Field:
    """A default goes into the job, so that a later change of the code does not change jobs that wait."""
    for wider in (kind, kind_of(kind.whole | None) if default is None else Defaulted(kind, default)):
        try:
            wider.keep(default)
        except Exception:  # it does not fit, or cannot be stored
            continue

        return _Field(wider, default=default)

    return _Field(kind, is_sparse=True)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__qualname__}"

    return text if len(text) <= 80 else f"{text[:77]}..."
