"""Things that all processes share through a broker, beside jobs."""

from __future__ import annotations

from msgspec import Struct


class PauseScope(Struct, frozen=True, order=True):
    """The scope of a pause: a queue, a task, or a task in a queue. Nothing set means everything."""

    queue: str | None = None
    task: str | None = None
    arguments: str | None = None
    """Only jobs of that task with these arguments, as ``cherga.rules.pausing`` writes them."""


TASK, ALIAS = "task", "alias"
"""Kinds of definitions. An alias is one more name of a task, or the dotted name of where it stands."""


class Definition(Struct, frozen=True):
    """A declaration. ``kind`` is ``task``, ``alias``, ``schedule``, ``limit``, ``override``, ``keeping``; ``data`` is packed,
    empty takes it back.

    A lower ``version`` never replaces a higher one, so that old workers in a rolling deploy change nothing back; what was
    taken back keeps its version. ``stamp`` is for schedules: when it changes, or the schedule is taken back, its next due
    time is forgotten.
    """

    kind: str
    name: str
    data: bytes
    version: int = 0
    stamp: str = ""


class Shared(Struct, frozen=True):
    """A shared value and the version that a ``swap`` must name. Version 0 means that the key holds nothing."""

    value: bytes | None
    version: int
