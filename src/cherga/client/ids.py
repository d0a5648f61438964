"""Job ids: UUIDs, version 7 (RFC 9562, 5.7), made by the client so that repeating an enqueue is safe."""

from __future__ import annotations

import os
import time
from uuid import UUID

_VARIANT = 0x8000_0000_0000_0000
_SIZE, _AHEAD = 10, 64
"""Random bytes for an id, and for how many ids they are fetched at once: each fetch lets other threads go first."""


def new_id() -> UUID:
    """48 bits of milliseconds, then 74 random bits."""
    try:
        random = int.from_bytes(_fetched.pop(), "big")
    except IndexError:
        _fetch()
        return new_id()

    high = (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | random >> 68 & 0x0FFF
    return UUID(int=high << 64 | _VARIANT | random & 0x3FFF_FFFF_FFFF_FFFF)


def _fetch() -> None:
    random = os.urandom(_SIZE * _AHEAD)
    _fetched.extend(random[at : at + _SIZE] for at in range(0, len(random), _SIZE))


_fetched: list[bytes] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fetched.clear)  # a child with the same random bytes could make the same ids


def as_id(value: UUID | str) -> UUID:
    """A UUID from itself or its text. Raises ``ValueError`` for anything else."""
    if isinstance(value, UUID):
        return value

    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        hint = "; a job's own id is job.id" if isinstance(getattr(value, "id", None), UUID) else ""
        raise ValueError(f"expected a job's id to be a UUID or its text, got {value!r}{hint}") from None
