"""Job ids: UUIDs, version 7 (RFC 9562, 5.7), made by the client so that repeating an enqueue is safe."""

from __future__ import annotations

import os
import time
from uuid import UUID

_VARIANT = 0x8000_0000_0000_0000


def new_id() -> UUID:
    """48 bits of milliseconds, then 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    high = (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | random >> 68 & 0x0FFF
    return UUID(int=high << 64 | _VARIANT | random & 0x3FFF_FFFF_FFFF_FFFF)


def as_id(value: UUID | str) -> UUID:
    """A UUID from itself or its text. Raises ``ValueError`` for anything else."""
    if isinstance(value, UUID):
        return value

    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"expected a job's id to be a UUID or its text, got {value!r}") from None
