"""Objects: kinds of classes with fields, restored from what was written of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, get_args, get_origin, is_typeddict

from cherga.rules.codec import Named, came_from_store, encode, field_names, plain
from cherga.rules.difference import called
from cherga.rules.hints import class_hints, unwrapped
from cherga.rules.kinds import Kind, class_called
from cherga.words.later import dataclasses, inspect


class Fields(Kind):
    """A dataclass, an attrs class, a Struct, a named tuple or a typed dictionary."""

    def restore(self, data: Any) -> Any:
        if isinstance(data, Named):
            return self._named(data)

        if self.read is not None and not came_from_store(data):
            return self.read(encode(data))

        if isinstance(data, list) and issubclass(self._class, tuple):
            return self._made(dict(zip(self._fields, data, strict=True)))

        if not isinstance(data, dict):
            raise TypeError(f"expected a {self._class.__qualname__}, got {called(data)}")

        return self._made(data)

    def takes(self, data: Mapping[Any, Any]) -> bool:
        return data.keys() <= self._fields.keys()

    def is_all_in(self, data: Mapping[Any, Any]) -> bool:
        return data.keys() == self._fields.keys()

    def check(self) -> None:
        """Raise ``TypeError`` for a field that nothing can be checked against."""
        if self.read is None:
            len(self._fields)

    def _named(self, data: Named) -> Any:
        kind = class_called(data.name, [self._class])

        if kind is None:
            raise TypeError(f"expected a {self._class.__qualname__}, got a {data.name}")

        of = self if kind is self._class else self.kinds.kind_of(kind)
        return of._made(data.content) if isinstance(of, Fields) else of.restore(data)

    def _made(self, content: Mapping[str, Any]) -> Any:
        values = {name: self._fields[name].restore(each) for name, each in content.items() if name in self._fields}

        if len(values) < len(content):
            raise TypeError(f"expected the fields {', '.join(self._fields)}, got {', '.join(map(str, content))}")

        if is_typeddict(self._class):
            return self._complete(values)

        return _object_of(self._class, values)

    def _complete(self, values: dict[str, Any]) -> dict[str, Any]:
        if missing := sorted(self._class.__required_keys__ - values.keys()):
            raise ValueError(f"expected the key {missing[0]!r}")

        return values

    @property
    def _class(self) -> Any:
        return get_origin(self.annotation) or self.annotation

    @cached_property
    def _fields(self) -> dict[str, Kind]:
        hints = class_hints(self._class, get_args(self.annotation))
        names = hints if is_typeddict(self._class) else field_names(self._class) or ()
        return {name: self.kinds.kind_of(hints.get(name, Any)) for name in names}


def _object_of(kind: Any, values: dict[str, Any]) -> Any:
    """An object with these fields, also those that its constructor does not take."""
    taken, set_later = _constructor_names(kind)
    made = kind(**{taken.get(name, name): value for name, value in values.items() if name not in set_later})

    for name in set_later & values.keys():
        object.__setattr__(made, name, values[name])

    return made


def _constructor_names(kind: type) -> tuple[dict[str, str], set[str]]:
    """The fields under the names of the constructor, and those that it does not take."""
    if dataclasses.is_dataclass(kind):
        return {}, {field.name for field in dataclasses.fields(kind) if not field.init}

    attributes = getattr(kind, "__attrs_attrs__", ())
    return {each.name: each.alias for each in attributes}, {each.name for each in attributes if not each.init}


class Model(Kind):
    """A pydantic model: it is validated again, by the names of its fields, from values that are what they were."""

    def restore(self, data: Any) -> Any:
        if not isinstance(data, Named):
            return data if isinstance(data, self.annotation) else self.annotation.model_validate(data)

        kind = class_called(data.name, [self.annotation])

        if kind is None or not isinstance(data.content, dict):
            raise TypeError(f"expected a {self.annotation.__qualname__}, got a {data.name}")

        fields = {name: self._field_value(kind, name, each) for name, each in data.content.items()}
        model = _validated(kind, fields["root"] if getattr(kind, "__pydantic_root_model__", False) else fields)
        _set_given(model, data.given)
        return model

    def _field_value(self, kind: Any, name: str, data: Any) -> Any:
        """The value of a model's field with its objects restored; all else is left to pydantic."""
        field = kind.model_fields.get(name)
        return self._restored(data, list(_classes_in(field.annotation)) if field is not None else [])

    def _restored(self, data: Any, classes: list[type]) -> Any:
        if isinstance(data, Named):
            kind = class_called(data.name, classes)
            return plain(data) if kind is None else self.kinds.kind_of(kind).restore(data)

        if type(data) is dict:
            return {self._restored(key, classes): self._restored(each, classes) for key, each in data.items()}

        if type(data) in (list, tuple, set, frozenset):
            return type(data)(self._restored(each, classes) for each in data)

        return data


def _classes_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation

    for part in get_args(annotation):
        yield from _classes_in(unwrapped(part))


def _validated(kind: Any, values: Any) -> Any:
    """Data that were checked once are not asked to be JSON, or to be called by their aliases."""
    if "by_name" in inspect.signature(kind.model_validate).parameters:
        return kind.model_validate(values, strict=False, by_name=True, by_alias=False)

    return kind.model_validate(values, strict=False)


def _set_given(model: Any, given: list[str] | None) -> None:
    fields = model.model_fields_set
    fields.clear()
    fields.update(given or ())
