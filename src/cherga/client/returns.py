"""Return annotations: the results of a task's jobs, as far as these tell."""

from __future__ import annotations

from collections.abc import Callable
from types import GenericAlias, NoneType
from typing import Any, get_args

from cherga.client.batches import element_result
from cherga.client.features import Features
from cherga.rules.hints import annotations_of, hints_of
from cherga.rules.results import Results
from cherga.rules.signature import unresolved, unusable
from cherga.words.errors import ConfigError


def results_of(features: Features, function: Callable[..., Any]) -> Results:
    """The type that is stored, as far as annotations tell. Raises ``ConfigError`` for one that cannot be honoured."""
    kind = _result_type(features, function)

    try:
        return Results(kind)
    except Exception as error:  # of msgspec, or of an annotation that is no type
        raise ConfigError(f"its return: {unusable(kind, error)}") from error


def _result_type(features: Features, function: Callable[..., Any]) -> Any:
    if features.decode is not None:
        return _return_hint(features.decode)

    hint = _return_hint(function)

    if features.batch is not None:
        return element_result(hint)

    if not features.is_generator:
        return hint

    of = get_args(hint)
    returned = of[2] if len(of) == 3 else None

    if returned not in (None, NoneType, Any):
        return returned

    handler = features.generate_handler
    return GenericAlias(list, (_return_hint(handler) if handler else of[0] if of else Any,))


def _return_hint(function: Callable[..., Any]) -> Any:
    """The return annotation of a function. Raises ``ConfigError`` when it cannot be looked up."""
    hints = hints_of(function)

    if "return" not in hints and (said := annotations_of(function).get("return")) is not None:
        raise ConfigError(f"its return: {unresolved(said)}")

    return hints.get("return", Any)
