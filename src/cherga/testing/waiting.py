"""Waiting for what another thread or process does, without a guess at how long it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from cherga.words.clock import SystemClock

T = TypeVar("T")

_LOOK_AGAIN = 0.005
_pause = threading.Event().wait


def wait_until(condition: Callable[[], T | None], description: str, timeout: float = 10.0) -> T:
    """Return the first true value of ``condition()``.

    Raises ``AssertionError`` with the description and the last value when ``timeout`` seconds have passed.
    """
    deadline = SystemClock.monotonic() + timeout

    while not (value := condition()):
        if SystemClock.monotonic() >= deadline:
            raise AssertionError(f"expected within {timeout} seconds: {description}; the last value was {value!r}")

        _pause(_LOOK_AGAIN)

    return value
