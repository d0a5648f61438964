"""Stands: the ready lanes of one queue and task.

Of those with limit keys there may be very many, so they are read in pages: best rank and longest wait first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from cherga.brokers.sqlite.heads import Heads
from cherga.brokers.sqlite.lanes import KEYED, Lane
from cherga.brokers.sqlite.write import Write
from cherga.rules.turns import Offer

PAGE = 16
"""Lanes read at first, at least; each further page is larger."""

_STANDS = """
with recursive
    stands (suspect, queue, task) as (
        select * from (
            select suspect, queue, task from lanes indexed by lanes_ready where head is not null
            order by suspect, queue, task limit 1
        )
        union all
        select l.suspect, l.queue, l.task from stands as s cross join lanes as l on l.number = coalesce(
            (
                select number from lanes indexed by lanes_ready
                where head is not null and suspect = s.suspect and queue = s.queue and task > s.task order by task limit 1
            ),
            (
                select number from lanes indexed by lanes_ready
                where head is not null and suspect = s.suspect and queue > s.queue order by queue, task limit 1
            ),
            (
                select number from lanes indexed by lanes_ready
                where head is not null and suspect > s.suspect order by suspect, queue, task limit 1
            )
        )
    )
select json_group_array(json_array(suspect, queue, task)) from stands
"""

_LANES = f"""
select json_group_array(json_array(head, turn, number)) from (
    select head, turn, number from lanes indexed by lanes_ready
    where head is not null and suspect = ?1 and queue = ?2 and task = ?3 and (head, turn, number) > (?4, ?5, ?6)
    and number >= {KEYED}
    order by head, turn, number limit ?7
)
"""

_TURNS = "select json_group_array(json_array(number, turn)) from lanes where number in (select value from json_each(?))"

_write_numbers = msgspec.json.Encoder().encode
_read_stands = msgspec.json.Decoder(list[tuple[int, str, str]]).decode
_read_lanes = msgspec.json.Decoder(list[tuple[int, int, int]]).decode
_read_turns = msgspec.json.Decoder(list[tuple[int, int]]).decode

_BEFORE_ALL = (-(1 << 31), -1, 0)


class Stand:
    """The ready lanes of one queue and task, all suspect alike."""

    def __init__(self, lane: Lane, plain: Sequence[int] = (), keyed: bool = False) -> None:
        self.lane = lane
        self.plain = list(plain)
        """Lanes that the look has found."""
        self.after: tuple[int, int, int] | None = _BEFORE_ALL if keyed else None
        """The last of those with limit keys that was read; None when there is no other."""
        self.offers: list[Offer] = []

    def leave(self) -> list[Offer]:
        """The offers that still hold jobs, ready for another round."""
        for offer in self.offers:
            assert isinstance(offer.heads, Heads)
            offer.heads.drop(offer.taken)
            offer.taken = 0

        return [offer for offer in self.offers if offer.heads]

    def pages(self, write: Write, limit: int, in_turn: bool) -> Iterator[list[tuple[int, int]]]:
        """Number and turn of lanes that were not read before; the turn is 0 where nothing is served ``in_turn``."""
        if self.plain:
            plain, self.plain = self.plain, []
            yield _turns_of(write, plain) if in_turn else [(number, 0) for number in plain]

        size = max(PAGE, limit)

        while self.after is not None:
            place = (self.lane.suspect, self.lane.queue, self.lane.task)
            rows = _read_lanes(write.value(_LANES, (*place, *self.after, size)))
            self.after = rows[-1] if len(rows) == size else None
            size *= 4
            yield [(number, turn) for _, turn, number in rows]


def find_stands(write: Write) -> list[Lane]:
    """The queues and tasks with ready jobs that have limit keys."""
    return [Lane(queue, task, (), suspect) for suspect, queue, task in _read_stands(write.value(_STANDS))]


def _turns_of(write: Write, numbers: Sequence[int]) -> list[tuple[int, int]]:
    return _read_turns(write.value(_TURNS, (_write_numbers(numbers).decode(),)))
