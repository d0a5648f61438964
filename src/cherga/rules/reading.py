"""Reading what was stored: one packed value that cannot be read is passed over, and harms nothing beside it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

S = TypeVar("S")
V = TypeVar("V")
D = TypeVar("D")

UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""The errors that a decoder raises for bytes that were cut, changed, nested too deep, or are no bytes at all."""


def read_or(read: Callable[[S], V], stored: S | None, default: D) -> V | D:
    """The value, or the default where nothing is stored or what is stored cannot be read."""
    if stored is None:
        return default

    try:
        return read(stored)
    except UNREADABLE:
        return default
