"""A small table in shared memory: how a worker process stands, readable by its supervisor, and what it has begun.

It replaces messages per job: 8 bytes written at the start of user code.

    0   lease_until   float64, seconds of uptime: past it nothing new is started
    8   ticks         int64 each, one an engine thread, counted up by it: silence means that it hangs
    32  places        what has begun, as in a black box (``cherga.doors.black_box``), unless the broker keeps one that outlives
                      the supervisor too

In it stand, in this order: jobs that must not run twice, until what became of them is written; one token a slot; and
the jobs that run many in one call.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Self

from cherga.doors.black_box import Memory, box_size, places_in, read_box
from cherga.words.session import Begun

NEVER = float("inf")
MOST_AHEAD = 2000
"""Jobs claimed ahead by one runner, at most."""
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
    """The users of the slots of a table."""

    threads: range
    loop: range
    spare_threads: range
    spare_loop: range


def share_slots(threads: int, concurrency: int) -> SlotShares:
    """Slots for so many threads and coroutines, and beside them for what may run for those that wait."""
    ends = list(accumulate((threads, concurrency, SPARE_THREADS, SPARE_LOOP)))
    return SlotShares(*(range(start, end) for start, end in zip([0, *ends], ends, strict=False)))


class SlotTable:
    """``count`` slots over a buffer of ``size(count)`` bytes."""

    def __init__(self, memory: mmap.mmap | bytearray, count: int) -> None:
        view = memoryview(memory)
        self._lease = view[:8].cast("d")
        self._ticks = view[8:_HEAD].cast("q")
        self._count = count
        self.once = Once(most_in_hand(count))
        """Jobs that must not run twice."""
        self.batches = Places(BATCHED)
        """The places of jobs that run many in one call."""
        self._own = self._noted = places_in(view[_HEAD : self.size(count)])
        self._lay_out(self._own)

    @staticmethod
    def size(count: int) -> int:
        return _HEAD + SlotTable.box_size(count)

    @staticmethod
    def box_size(count: int) -> int:
        """Bytes of the part that says what has begun."""
        return box_size(most_in_hand(count), count + BATCHED)

    @property
    def box_bytes(self) -> int:
        return self.box_size(self._count)

    @classmethod
    def private(cls, count: int) -> Self:
        """A table of this process alone, for embedded mode."""
        table = cls(bytearray(cls.size(count)), count)
        table.note_in(None)
        return table

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

    def beat(self, pulse: Pulse) -> None:
        """Show that this thread still turns; called by itself alone."""
        self._ticks[pulse] += 1

    def note_in(self, box: Memory | None) -> None:
        """Note here what begins from now on, for another session; in this table itself where the broker keeps no black box."""
        places = self._own if box is None else places_in(box)
        places[0] = self.once.count
        self._noted = places
        self._lay_out(places)

    def begin(self, slot: int, token: int) -> None:
        """User code begins under this token, which stands until the next begins there: what became of it may not be written."""
        self._tokens[slot] = token

    def take_back(self, slot: int) -> None:
        """It does not begin after all."""
        self._tokens[slot] = 0

    def begun(self) -> Begun | None:
        """The jobs that run, or ran when the process died, some that have ended, and those that must not run again.

        None in another process than the one that notes it, when the broker keeps the black box.
        """
        return read_box(self._noted)

    def _lay_out(self, places: memoryview[int]) -> None:
        slots = 1 + self.once.count
        batches = slots + self._count
        self.once.places = places[1:slots]
        self._tokens = places[slots:batches]
        self.batches.places = places[batches : batches + BATCHED]


class Places:
    """Places for claim tokens, taken and given back many at once. Safe from any thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.places: memoryview[int] = memoryview(bytearray()).cast("q")
        """The places where they are."""
        self._free = deque(range(count))

    @property
    def left(self) -> int:
        """Places that are free."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Places, no more than are left; those that were given back longest ago."""
        return [self._free.popleft() for _ in range(count)]

    def begin(self, places: Sequence[int], tokens: Iterable[int]) -> None:
        """User code begins under these tokens."""
        for place, token in zip(places, tokens, strict=True):
            self.places[place] = token

    def end(self, places: Sequence[int]) -> None:
        """Give the places back."""
        for place in places:
            self.places[place] = 0

        self._free.extend(places)


class Once(Places):
    """Jobs that must not run twice: their tokens stand from before they begin until what became of them is written."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._held: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, tokens: Collection[int]) -> bool:
        """Note them all; False, and none is noted, when there are not so many places: then they must not begin."""
        try:
            for token in tokens:
                place = self._free.popleft()
                self._held[token] = place
                self.places[place] = token
        except IndexError:
            self.let_go(tokens)
            return False

        return True

    def let_go(self, tokens: Iterable[int]) -> None:
        """The broker knows the ends of these, or they have not begun after all."""
        self.end([place for token in tokens if (place := self._held.pop(token, None)) is not None])


def most_in_hand(count: int) -> int:
    """Jobs that a process with so many slots has claimed and not yet written down, at most.

    Beside those in slots and in calls for many: what two runners have ahead, and what has ended meanwhile.
    """
    return count + 3 * MOST_AHEAD + BATCHED


def shared_memory(count: int) -> int:
    """A file descriptor of zeroed memory for ``count`` slots, to be passed to a child process."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("cherga-slots")
    else:
        fd, path = tempfile.mkstemp(prefix="cherga-slots-")
        Path(path).unlink()

    os.ftruncate(fd, SlotTable.size(count))
    return fd
