"""A small table in shared memory: what a worker process runs, readable by its supervisor after its death.

It replaces messages per job: 8 bytes written at the start of user code and 8 at its end.

    0   lease_until   float64, seconds of uptime: past it nothing new is started
    8   ticks         int64 each, one an engine thread, counted up by it: silence means that it hangs
    32  tokens        int64 each, one a slot: the claim token whose user code runs, 0 when idle
        ended         int64 each: tokens of work that must not run twice, the latest that ended, in a ring
        batched       int64 each: tokens of jobs that run many in one call
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import cached_property
from itertools import accumulate
from itertools import count as numbers
from pathlib import Path
from typing import NamedTuple, Self

NEVER = float("inf")
REMEMBERED = 1024
"""More than can have ended and not yet be written down."""
BATCHED = 32_768
"""Jobs that may stand in calls for many, at once and in one process."""

SPARE_THREADS, SPARE_LOOP = 256, 1000
"""Slots that are lent, at most, by jobs which wait for other jobs."""


class Pulse(IntEnum):
    """The threads without which an engine is worth nothing."""

    CLAIMER = 0
    SETTLER = 1
    DEADLINES = 2


_HEAD = 8 * (1 + len(Pulse))


class SlotShares(NamedTuple):
    """Who uses which slots of a table."""

    threads: range
    loop: range
    spare_threads: range
    spare_loop: range


def share_slots(threads: int, concurrency: int) -> SlotShares:
    """So many threads and coroutines, and beside them what may run for those that wait."""
    ends = list(accumulate((threads, concurrency, SPARE_THREADS, SPARE_LOOP)))
    return SlotShares(*(range(start, end) for start, end in zip([0, *ends], ends, strict=False)))


class SlotTable:
    """``count`` slots over a buffer of ``size(count)`` bytes."""

    def __init__(self, memory: mmap.mmap | bytearray, count: int) -> None:
        view = memoryview(memory)
        ring = _HEAD + 8 * count
        # In the machine's own order: each is then written at one go, never byte by byte.
        self._lease = view[:8].cast("d")
        self._ticks = view[8:_HEAD].cast("q")
        self._tokens = view[_HEAD:ring].cast("q")
        batched = ring + 8 * REMEMBERED
        self._ended = view[ring:batched].cast("q")
        self._batched = view[batched : self.size(count)].cast("q")
        self._ends = numbers()

    @staticmethod
    def size(count: int) -> int:
        return _HEAD + 8 * (count + REMEMBERED + BATCHED)

    @classmethod
    def private(cls, count: int) -> Self:
        """A table of this process alone, for embedded mode."""
        return cls(bytearray(cls.size(count)), count)

    @classmethod
    def shared(cls, fd: int, count: int) -> Self:
        """The table behind a file descriptor, made by ``shared_memory``."""
        return cls(mmap.mmap(fd, cls.size(count)), count)

    @property
    def lease_until(self) -> float:
        return self._lease[0]

    @lease_until.setter
    def lease_until(self, uptime: float) -> None:
        self._lease[0] = uptime

    @property
    def ticks(self) -> tuple[int, ...]:
        """By ``Pulse``."""
        return tuple(self._ticks)

    @cached_property
    def batches(self) -> BatchTable:
        """The places of jobs that run many in one call."""
        return BatchTable(self._batched)

    def beat(self, pulse: Pulse) -> None:
        """Show that this thread still turns; called by itself alone."""
        self._ticks[pulse] += 1

    def begin(self, slot: int, token: int) -> None:
        """User code begins under this token."""
        self._tokens[slot] = token

    def end(self, slot: int) -> None:
        """The slot is idle."""
        self._tokens[slot] = 0

    def remember(self, token: int) -> None:
        """User code ran under this token and must not run again, though its end may not be written down yet."""
        self._ended[next(self._ends) % REMEMBERED] = token

    def started(self) -> frozenset[int]:
        """The tokens under which user code runs, or ran when the process died, and those remembered."""
        return frozenset(token for token in (*self._tokens, *self._ended, *self._batched) if token)


class BatchTable:
    """Places for claim tokens, taken and given back many at once. Safe from any thread."""

    def __init__(self, tokens: memoryview[int]) -> None:
        self._tokens = tokens
        self._free = deque(range(len(tokens)))

    @property
    def left(self) -> int:
        """Places that are free."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """So many places, no more than are left; those that were given back longest ago."""
        return [self._free.popleft() for _ in range(count)]

    def begin(self, places: Sequence[int], tokens: Iterable[int]) -> None:
        """User code begins under these tokens."""
        for place, token in zip(places, tokens, strict=True):
            self._tokens[place] = token

    def end(self, places: Sequence[int], remembered: frozenset[int] = frozenset()) -> None:
        """Give the places back. Those remembered must not run again: they stay until their places are taken anew."""
        for place in places:
            if self._tokens[place] not in remembered:
                self._tokens[place] = 0

        self._free.extend(places)


def shared_memory(count: int) -> int:
    """A file descriptor of zeroed memory for ``count`` slots, to be passed to a child process."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("cherga-slots")
    else:
        fd, path = tempfile.mkstemp(prefix="cherga-slots-")
        Path(path).unlink()

    os.ftruncate(fd, SlotTable.size(count))
    return fd
