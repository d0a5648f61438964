"""The first ready jobs of lanes, read a few at a time: most lanes give a claim few jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from cherga.brokers.sqlite.write import Write
from cherga.rules.turns import Head

_FIRST = """
select json_group_array(json_array(lane, rank, place, sequence)) from (
    select j.lane, j.rank, j.place, j.sequence from json_each(?1) as l cross join jobs as j on j.sequence in (
        select sequence from jobs indexed by jobs_ready
        where state = 2 and lane = l.value and (expires_at is null or expires_at > ?2) order by rank, place limit ?3
    ) order by j.rank, j.place
)
"""

_FURTHER = """
select json_group_array(json_array(rank, place, sequence)) from (
    select rank, place, sequence from jobs indexed by jobs_ready
    where state = 2 and lane = ?1 and (rank, place) > (?2, ?3) and (expires_at is null or expires_at > ?4)
    order by rank, place limit ?5
)
"""

_write_numbers = msgspec.json.Encoder().encode
_read_heads = msgspec.json.Decoder(list[tuple[int, int, int, int]]).decode
_read_further = msgspec.json.Decoder(list[Head]).decode

Load = Callable[[Head, int], list[Head]]
"""Jobs of a lane that stand after this one, a number of them."""


class Heads(Sequence[Head]):
    """The ready jobs of one lane, best first. Who looks at the last one read finds more behind, at most ``left`` of them."""

    def __init__(self, first: list[Head], left: int, load: Load) -> None:
        self._heads = first
        self._size = max(1, len(first))
        self._left = left
        self._load = load

    def __len__(self) -> int:
        return len(self._heads)

    def __getitem__(self, place: Any) -> Any:
        if self._left > 0 and place == len(self._heads) - 1:
            self._read_on()

        return self._heads[place]

    def drop(self, taken: int) -> None:
        """Forget the first ones: they have been taken."""
        del self._heads[:taken]

    def _read_on(self) -> None:
        self._size = min(4 * self._size, self._left)
        found = self._load(self._heads[-1], self._size)
        self._heads += found
        self._left = self._left - len(found) if len(found) == self._size else 0


def read_first(write: Write, lanes: Collection[int], size: int) -> dict[int, list[Head]]:
    """The first jobs of each of these lanes, at most ``size`` a lane."""
    found: dict[int, list[Head]] = {lane: [] for lane in lanes}
    rows = _read_heads(write.value(_FIRST, (_write_numbers(list(lanes)).decode(), write.now, size)))

    for lane, rank, place, sequence in rows:
        found[lane].append((rank, place, sequence))

    return found


def read_further(write: Write, lane: int, after: Head, size: int) -> list[Head]:
    """The jobs of the lane that stand after this one."""
    rank, place, _ = after
    return _read_further(write.value(_FURTHER, (lane, rank, place, write.now, size)))
