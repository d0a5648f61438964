"""Keys that are made of a job's arguments: what makes it unique, and which limit it counts for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

import msgspec

from cherga.rules import options as check
from cherga.rules.annotations import holds_null, is_of_one_type
from cherga.rules.canonical import form_of, shown, write
from cherga.rules.kinds import Kind
from cherga.rules.options import Duration
from cherga.rules.signature import Signature
from cherga.words.errors import ConfigError, InvalidArguments
from cherga.words.later import hashlib, inspect
from cherga.words.unique import OnConflict, Unique, UniqueWhile

UniqueKey = bool | str | Sequence[str] | Callable[..., Any] | Unique
"""True: task and arguments. A text: that key. Names: those arguments. A function: what it makes of the arguments."""
LimitKey = str | Sequence[str] | Callable[..., Any]
"""A name or several: those arguments. A function: what it makes of the arguments."""

LONGEST_SHOWN = 120
"""Characters of a limit key's value that are kept as they are; a longer one is hashed."""


def check_unique_key(wish: UniqueKey) -> UniqueKey:
    """Raise ``ConfigError`` for what cannot be a unique key."""
    if isinstance(wish, bool | Unique):
        return wish

    if callable(wish):
        return _check_function(wish, "unique")

    if wish == "":
        raise ConfigError("expected unique to be True, a text, names of arguments or a function, got ''")

    return check.short_text(wish, "unique") if isinstance(wish, str) else _names(wish, "unique")


def check_limit_key(wish: LimitKey) -> LimitKey:
    """Raise ``ConfigError`` for what cannot be a limit key; a single name becomes a list."""
    if callable(wish):
        return _check_function(wish, "key")

    return (check.text(wish, "key"),) if isinstance(wish, str) else _names(wish, "key")


def unique_fields(given: Any) -> dict[str, Any]:
    """The way a unique key is held, and the action on a conflict, from the options. Raises ``ConfigError``."""
    fields: dict[str, Any] = {}

    if "unique_while" in given:
        fields["hold"] = _unique_while(given["unique_while"])

    if "unique_for" in given:
        fields["hold"], fields["period"] = UniqueWhile.PERIOD, _period(given["unique_for"])

        if "unique_while" in given:
            raise ConfigError("expected unique_while or unique_for, got both")

    if "on_conflict" in given:
        fields["conflict"] = _on_conflict(given["on_conflict"])

    return fields


class Call:
    """A call of a task, as its arguments will arrive: what keys are made of."""

    def __init__(self, task: str, signature: Signature, arrived: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self._signature = signature
        self._arrived = arrived
        self._given = args, kwargs

    def make_unique(self, wish: UniqueKey, template: Unique) -> Unique:
        """The unique key of the job; ``template`` says how it is held."""
        if isinstance(wish, Unique):
            return wish

        return Unique(self._unique_text(wish), template.hold, template.period, template.conflict)

    def make_limit_key(self, wish: LimitKey) -> str:
        """The limit that the job counts for, ``key:<task>|<value>``."""
        if callable(wish):
            return limit_of(self.task, _result_text(self._result_of(wish, "key"), self.task, "key"))

        return limit_of(self.task, value_text(self.task, self._signature, self._values(wish)))

    def _unique_text(self, wish: UniqueKey) -> str:
        if isinstance(wish, str):
            return wish

        if callable(wish):
            return f"{self.task}:{_result_text(self._result_of(wish, 'unique'), self.task, 'unique')}"

        values = self._values(() if isinstance(wish, bool | Unique) else wish)
        text = write({name: _form(value, self.task, "unique") for name, value in values.items()})
        return f"{self.task}:{hashlib.blake2b(text, digest_size=16).hexdigest()}"

    def _values(self, names: Iterable[str]) -> dict[str, Any]:
        return self._signature.values(self._arrived, names)

    def _result_of(self, function: Callable[..., Any], option: str) -> Any:
        args, kwargs = self._signature.call(self._arrived, *self._given)

        try:
            return function(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(f"task {self.task}: {option} cannot be made of these arguments: {error}") from error


def make_fed_limit_key(wish: LimitKey, task: str, signature: Signature, kwargs: Mapping[str, Any]) -> str:
    """The same for a job whose first argument is to come: of arguments that are given by name. Raises ``ConfigError``."""
    if callable(wish) or not kwargs.keys() >= set(wish):
        raise ConfigError(
            f"task {task}: expected a step that is fed a result to be given the arguments of its key by name, for the others "
            "are not known yet; name them, make the step with si(…), or lift the key with using(key=None)"
        )

    return limit_of(task, value_text(task, signature, {name: signature.arrived(name, kwargs[name]) for name in wish}))


def limit_of(task: str, value: str) -> str:
    """The name of the limit for one value of a task's key."""
    return f"key:{task}|{shown_value(value)}"


def value_text(task: str, signature: Signature, values: Mapping[str, Any]) -> str:
    """The text of a limit key's values, another one for other values: as it is where there is one, else a list in JSON."""
    texts = {name: _argument_form(_form(value, task, "key"), signature.kind(name)) for name, value in values.items()}

    if len(texts) != 1:
        return _write(list(texts.values()))

    ((name, form),) = texts.items()
    return form if isinstance(form, str) and _is_bare(form, signature.kind(name)) else _write(form)


def given_text(key: Any, task: str) -> str:
    """The text of a key's value as people name it: text as it is. Raises ``ConfigError``."""
    if isinstance(key, str):
        return check.text(str(key.value) if isinstance(key, Enum) else key, "key")

    try:
        return _result_text(key, task, "key")
    except InvalidArguments as error:
        raise ConfigError(str(error)) from error


def key_text(task: str, signature: Signature, name: str, key: Any) -> str:
    """The same for the value of one argument, in the spelling that its jobs have; as it is where it is no such value."""
    kind = signature.kind(name)

    for spelling in (key, _from_json(key)) if is_of_one_type(kind) else ():
        with suppress(InvalidArguments):
            return value_text(task, signature, {name: signature.arrived(name, spelling)})

    return given_text(key, task)


def _from_json(key: Any) -> Any:
    try:
        return msgspec.json.decode(key)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return key


def _argument_form(form: Any, kind: Kind) -> Any:
    """Without the word that says its type, where only one type comes into question."""
    return shown(form) if isinstance(form, dict) and is_of_one_type(kind) else form


def _is_bare(text: str, kind: Kind) -> bool:
    """True when a text can mean nothing else than itself."""
    if not is_of_one_type(kind):
        return not _is_json(text)

    return not (holds_null(kind) and (text == "null" or text.startswith('"')))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False

    return True


def _write(form: Any) -> str:
    return write(form).decode()


def check_names(task: str, option: str, names: Iterable[str], signature: Signature) -> None:
    """Raise ``ConfigError`` for a name that is none of the task's parameters."""
    for name in names:
        if name not in signature.names:
            expected = check.nearest(str(name), signature.names)
            raise ConfigError(f"task {task}: expected {option} to name its parameters, got {name!r}{expected}")


def check_text(task: str, unique: str, signature: Signature) -> None:
    """Raise ``ConfigError`` for a text that is one of the task's parameters: its value is meant, and not its name."""
    if unique in signature.names:
        raise ConfigError(
            f"task {task}: expected unique to be [{unique!r}] for the argument of that name, or a text that is no parameter's "
            f"name for a key that all its jobs share, got {unique!r}"
        )


def _check_function(function: Callable[..., Any], option: str) -> Callable[..., Any]:
    """Raise ``ConfigError`` for one that does not give its value at once."""
    for slow in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        if slow(function):
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigError(
                f"expected {option} to be a function that returns its value at once, got {name}, which is async or a generator"
            )

    return function


def _names(wish: Iterable[str], option: str) -> tuple[str, ...]:
    names = check.texts(wish, option)

    if not names:
        raise ConfigError(f"expected {option} to name at least one argument, got none")

    return names


def _result_text(value: Any, task: str, option: str) -> str:
    """The text of what a function made of the arguments."""
    form = _form(value, task, option)
    form = shown(form) if isinstance(form, dict) and not isinstance(shown(form), dict | list) else form

    try:
        return check.short_text(form if isinstance(form, str) and not _is_json(form) else _write(form), option)
    except ConfigError as error:
        raise InvalidArguments(f"task {task}: {error}") from None


def _form(value: Any, task: str, option: str) -> Any:
    """A key's value in its one form. Raises ``InvalidArguments`` for what has none, or another one in each process."""
    try:
        form = form_of(value)
        write(form)
        return form
    except (TypeError, RecursionError):
        return _own_text(value, task, option)
    except ValueError as error:
        raise InvalidArguments(f"task {task}: expected {option} to be text that can be encoded, got {value!r}") from error


def _own_text(value: Any, task: str, option: str) -> str:
    if not any("__str__" in vars(kind) or "__repr__" in vars(kind) for kind in type(value).__mro__[:-1]):
        raise InvalidArguments(
            f"task {task}: expected {option} to be made of what has a text of its own, such as a number, got {value!r}; name "
            "one of its attributes in a function"
        )

    return str(value)


def shown_value(value: str) -> str:
    """A limit key's value as it stands in the name of the limit."""
    return value if len(value) <= LONGEST_SHOWN else hashlib.blake2b(value.encode(), digest_size=16).hexdigest()


def _unique_while(value: str) -> UniqueWhile:
    if value not in (UniqueWhile.UNFINISHED, UniqueWhile.QUEUED):
        raise ConfigError(f"expected unique_while to be 'unfinished' or 'queued', got {value!r}")

    return UniqueWhile(value)


def _period(value: Duration) -> float:
    period = check.seconds(value, "unique_for")

    if period <= 0:
        raise ConfigError(f"expected unique_for to be longer than 0 seconds, got {value!r}")

    return period


def _on_conflict(value: str) -> OnConflict:
    try:
        return OnConflict(value)
    except ValueError:
        known = ", ".join(repr(each.value) for each in OnConflict)
        raise ConfigError(f"expected on_conflict to be one of {known}, got {value!r}") from None
