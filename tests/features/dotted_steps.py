"""A module whose functions are tasks by their dotted names."""

from __future__ import annotations


def increase(number: int, by: int = 1) -> int:
    return number + by
