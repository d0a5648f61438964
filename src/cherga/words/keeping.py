"""For how long ended jobs are kept, as a declaration says it."""

from __future__ import annotations

from msgspec import Struct

KEEPING = "keeping"
"""The kind of definition that holds a packed ``Keeping``: under a task's name its own, under an empty one the application's."""


class Keeping(Struct, frozen=True, omit_defaults=True):
    """Seconds; None where nothing of its own is said."""

    result_ttl: float | None = None
    failure_ttl: float | None = None
