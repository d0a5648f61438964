"""Whether a function can be called as it is going to be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def fits(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether it can be called with so many arguments; what cannot be looked into is given the benefit of the doubt."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True

    try:
        signature.bind(*arguments)
    except TypeError:
        return False

    return True
