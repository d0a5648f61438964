"""The choice of a claim among ready lanes: by queue as the wish says, and plainly the best where nothing hinders."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from cherga.brokers.sqlite.lanes import Lane
from cherga.brokers.sqlite.write import Write
from cherga.rules.turns import share_out
from cherga.words.claim import ClaimWish

_HEADS_OF_ONE = """
select json_group_array(sequence) from (
    select sequence from jobs indexed by jobs_ready
    where state = 2 and lane = ?1 and (expires_at is null or expires_at > ?2) order by rank, place limit ?3
)
"""

_HEADS_OF_MANY = """
select json_group_array(sequence) from (
    select j.sequence from json_each(?1) as l cross join jobs as j on j.sequence in (
        select sequence from jobs indexed by jobs_ready
        where state = 2 and lane = l.value and (expires_at is null or expires_at > ?2) order by rank, place limit ?3
    ) order by j.rank, j.place limit ?3
)
"""

_SORTED = """
select json_group_array(sequence) from (
    select sequence from jobs where sequence in (select value from json_each(?)) order by rank, place
)
"""

_read_numbers = msgspec.json.Decoder(list[int]).decode
_write_numbers = msgspec.json.Encoder().encode


class Choice(Protocol):
    """A chooser gives a claim the jobs to take, best first."""

    def pick(self, limit: int, queue: str | None = None, suspect: int = 0) -> list[int]:
        """Sequences of at most ``limit`` jobs that were not picked before."""
        ...

    def pick_suspects(self, limit: int) -> list[int]:
        """Suspects that may run together, as many as may: those first that are suspected least."""
        ...

    def suspect_waits(self) -> bool:
        """True when a suspect is left that could run."""
        ...

    def finish(self) -> float | None:
        """Write down what else is to be kept; seconds until a rate lets another job go, if one is held up by that."""
        ...


def choose(write: Write, wish: ClaimWish, choice: Choice) -> list[int]:
    """Sequences of the jobs to take, best first."""
    if wish.limit <= 0:
        return []

    if not wish.queues:
        return choice.pick(wish.limit)

    if any(wish.weights):
        return _choose_by_weight(write, wish, choice)

    return _choose_in_order(wish, choice)


def _choose_in_order(wish: ClaimWish, choice: Choice) -> list[int]:
    chosen: list[int] = []

    for queue in wish.queues:
        if len(chosen) < wish.limit:
            chosen += choice.pick(wish.limit - len(chosen), queue)

    return chosen


def _choose_by_weight(write: Write, wish: ClaimWish, choice: Choice) -> list[int]:
    """Each queue gets its share of the limit, and the others what it cannot use; best first among all that are chosen."""
    chosen: list[int] = []

    for queue, share in zip(wish.queues, share_out(wish.limit, wish.weights, random.randrange), strict=True):
        chosen += choice.pick(share, queue)

    if len(chosen) < wish.limit:
        chosen += choice.pick(wish.limit - len(chosen))

    return _in_order(write, chosen)


class Pick(Protocol):
    """A choice of jobs that are suspected alike."""

    def __call__(self, limit: int, *, suspect: int) -> list[int]: ...


def pick_suspects(pick: Pick, lanes: Iterable[Lane], limit: int) -> list[int]:
    """The suspects of one size of company, the largest in which one can run."""
    for most in sorted({lane.suspect for lane in lanes if lane.suspect}, reverse=True):
        if picked := pick(min(most, limit), suspect=most):
            return picked

    return []


class PlainChoice:
    """A choice of the best jobs among these lanes."""

    def __init__(self, write: Write, lanes: dict[int, Lane]) -> None:
        self._write = write
        self._lanes = lanes
        self._picked: set[int] = set()

    def pick(self, limit: int, queue: str | None = None, suspect: int = 0) -> list[int]:
        """Sequences of at most ``limit`` jobs that were not picked before."""
        numbers = [number for number, lane in self._lanes.items() if lane.suspect == suspect and queue in {None, lane.queue}]
        found = _heads(self._write, numbers, limit + len(self._picked))
        fresh = [sequence for sequence in found if sequence not in self._picked][:limit] if self._picked else found
        self._picked.update(fresh)
        return fresh

    def pick_suspects(self, limit: int) -> list[int]:
        """Suspects that may run together."""
        return pick_suspects(self.pick, self._lanes.values(), limit)

    def suspect_waits(self) -> bool:
        """True when a suspect is left."""
        return _still_waiting(self._write, [number for number, lane in self._lanes.items() if lane.suspect])

    def finish(self) -> None:
        """The choice is over: nothing else is to be kept."""


def _in_order(write: Write, sequences: Sequence[int]) -> list[int]:
    chosen = _write_numbers(sequences).decode()
    return _read_numbers(write.value(_SORTED, (chosen,)))


def _heads(write: Write, numbers: Iterable[int], limit: int) -> list[int]:
    lanes = list(numbers)

    if not lanes:
        return []

    if len(lanes) == 1:
        found = write.value(_HEADS_OF_ONE, (lanes[0], write.now, limit))
    else:
        found = write.value(_HEADS_OF_MANY, (_write_numbers(lanes).decode(), write.now, limit))

    return _read_numbers(found)


def _still_waiting(write: Write, suspects: Iterable[int]) -> bool:
    """True when one of these lanes still holds ready jobs."""
    return any(
        write.value("select exists (select 1 from jobs indexed by jobs_ready where state = 2 and lane = ?)", (number,))
        for number in suspects
    )
