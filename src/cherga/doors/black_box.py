"""The black box of a session: what its process has begun, noted where the note outlives the process.

A worker writes the claim tokens there, 8 bytes each, in the machine's own order, and at one go; whoever finds the session dead
reads them.

    0   once     int64: how many of the places that follow are for work that must not run twice
    8   tokens   int64 each, 0 for a free place
"""

from __future__ import annotations

import mmap

from cherga.words.session import Begun

PLACE = 8
Memory = mmap.mmap | bytearray | memoryview


def box_size(once: int, others: int) -> int:
    """Bytes of a black box with so many places."""
    return PLACE * (1 + once + others)


def places_in(memory: Memory) -> memoryview[int]:
    """The black box as numbers."""
    return memoryview(memory).cast("B").cast("q")


def read_box(memory: Memory | bytes) -> Begun | None:
    """The notes in a black box; None for one that nobody has begun to use."""
    once, *tokens = memoryview(memory).cast("B").cast("q") if memory else (0,)

    if not once:
        return None

    return Begun(frozenset(filter(None, tokens)), frozenset(filter(None, tokens[:once])))
