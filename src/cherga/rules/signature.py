"""A task's parameters as a packed record: arguments are bound and checked at enqueue, and unpacked by the worker.

Bound arguments are stored as a map from parameter name to value, so that parameters may be reordered or added with a default
while jobs wait. A sender that does not know the signature stores ``[args, kwargs]``; the worker then binds them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct, field

from cherga.rules.codec import ENCODE_ERRORS, decode, decoder, encode, encode_argument
from cherga.words.errors import InvalidArguments, TaskError

P = inspect.Parameter
_NAMED = (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)


class Signature:
    """Binds, checks, packs and unpacks the arguments of one function.

    ``injected`` names parameters that the worker fills in; senders cannot pass them.
    """

    def __init__(self, function: Callable[..., Any], task: str, injected: frozenset[str] = frozenset(), skip: int = 0) -> None:
        signature = inspect.signature(function)
        parameters = [p for p in list(signature.parameters.values())[skip:] if p.name not in injected]

        self.task = task
        self.signature = signature.replace(parameters=parameters)
        self.hints = _hints(function)
        self._positional = [p.name for p in parameters if p.kind in _NAMED]
        self._keywords = [p.name for p in parameters if p.kind is P.KEYWORD_ONLY]
        self._rest = next((p.name for p in parameters if p.kind is P.VAR_POSITIONAL), None)
        self._extra = next((p.name for p in parameters if p.kind is P.VAR_KEYWORD), None)
        self._record = _record(task, parameters, self.hints)
        self._decoder = decoder(self._record)
        self._sparse = any(default is UNSET for default in self._record.__struct_defaults__)
        self._simple = not (self._keywords or self._rest or self._extra or self._sparse)
        self._only_named = not (self._rest or self._extra or any(p.kind is P.POSITIONAL_ONLY for p in parameters))

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Bind and encode. Raises ``InvalidArguments`` that names the argument which does not fit."""
        try:
            record = self._record(*args, **kwargs) if self._only_named else self._bind(args, kwargs)
            payload = encode(record)
            self._decoder.decode(payload)
        except (*ENCODE_ERRORS, msgspec.ValidationError) as error:
            raise self._explain(args, kwargs, error) from error

        return payload

    def unpack(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments to call the function with.

        Raises ``InvalidArguments`` for arguments that do not fit, ``msgspec.DecodeError`` for bytes that cannot be read.
        """
        try:
            record = self._decoder.decode(payload)
        except msgspec.ValidationError as error:
            record = self._decoder.decode(self._rebind(payload, error))

        if self._simple:
            return msgspec.structs.astuple(record), {}

        return self._spread(record)

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by parameter name, defaults filled in."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Struct:
        return self._record(**self.signature.bind(*args, **kwargs).arguments)

    def _rebind(self, payload: bytes, error: msgspec.ValidationError) -> bytes:
        """Bind what a sender without the signature stored."""
        loose = decode(payload)

        if not (isinstance(loose, list) and len(loose) == 2 and isinstance(loose[0], list) and isinstance(loose[1], dict)):
            raise InvalidArguments(f"task {self.task}{self.signature}: {error}") from error

        return self.pack(tuple(loose[0]), loose[1])

    def _spread(self, record: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional = [getattr(record, name) for name in self._positional]

        if UNSET in positional:
            return self._spread_sparse(record)

        rest = getattr(record, self._rest) if self._rest else ()
        return (*positional, *rest), self._named_only(record)

    def _spread_sparse(self, record: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Leave out what the sender left out and cannot be stored: the function's own default serves."""
        given = {name: value for name in self._positional if (value := getattr(record, name)) is not UNSET}
        return (), given | self._named_only(record)

    def _named_only(self, record: Any) -> dict[str, Any]:
        named = {name: value for name in self._keywords if (value := getattr(record, name)) is not UNSET}
        return named | getattr(record, self._extra) if self._extra else named

    def _explain(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> InvalidArguments:
        """The message that a person needs: which argument, what was expected, what came."""
        where = f"task {self.task}{self.signature}"

        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as misfit:
            return InvalidArguments(f"{where}: {misfit}")

        for name, value in bound.arguments.items():
            try:
                data = encode_argument(value, f"{where}: argument {name!r}")
                decoder(_storable(self._field_type(name))).decode(data)
            except InvalidArguments as misfit:
                return misfit
            except msgspec.ValidationError as misfit:
                return InvalidArguments(f"{where}: argument {name!r}: {misfit}; got {_short(value)}")

        return InvalidArguments(f"{where}: {error}")

    def _field_type(self, name: str) -> Any:
        return get_type_hints(self._record, include_extras=True)[name]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types; what cannot be resolved (a name imported for type checkers alone) is left out."""
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {name: hint for name, hint in inspect.get_annotations(function).items() if not isinstance(hint, str)}


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
        return parameter.name, tuple[kind, ...], ()

    if parameter.kind is P.VAR_KEYWORD:
        return parameter.name, dict[str, kind], field(default_factory=dict)

    if parameter.default is P.empty:
        return parameter.name, kind

    return _defaulted(parameter, kind)


def _defaulted(parameter: P, kind: Any) -> tuple[str, Any, Any]:
    """A default goes into the job, so that a later change of the code does not change jobs that wait."""
    default = parameter.default

    try:
        data = encode(default)
    except ENCODE_ERRORS:
        return parameter.name, kind | UnsetType if kind is not Any else Any, UNSET

    try:
        decoder(kind).decode(data)
    except msgspec.ValidationError:
        kind = kind | None if default is None else Any

    return parameter.name, kind, field(default_factory=lambda: default)


def _storable(kind: Any) -> Any:
    """The type itself, or ``Any`` where no decoder can be made for it."""
    try:
        decoder(kind)
    except TypeError:
        return Any

    return kind


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
