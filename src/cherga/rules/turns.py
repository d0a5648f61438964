"""Turns: the choice of a claim, best first, within every limit, and in turns where jobs differ in limit keys alone. Pure."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Hashable, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate

from msgspec import Struct

from cherga.rules.limits import Allowances

Head = tuple[int, int, int]
"""A ready job: rank (minus priority), place among those of its rank, and its sequence."""


class Offer(Struct):
    """The first ready jobs of one lane, best first."""

    lane: int
    family: Hashable
    """Lanes of one family take turns: those of the same queue and task."""
    names: tuple[str, ...]
    """The limits its jobs count for."""
    heads: Sequence[Head]
    turn: int = 0
    """The time when it was last served: the lowest is next."""
    taken: int = 0


def take_turns(offers: Sequence[Offer], limit: int, allowances: Allowances, turn: int = 0) -> list[int]:
    """Sequences of at most ``limit`` jobs, in the order in which they are to run.

    Each offer then says how many of its heads were ``taken``; one that was served has a new ``turn``, above the one given.
    """
    families = _families(offers)
    chosen: list[int] = []

    while families and len(chosen) < limit:
        _, _, _, lanes = families[0]
        offer = lanes[0][-1]

        if allowances.room(offer.names) > 0:
            turn += 1
            allowances.take(offer.names)
            chosen.append(offer.heads[offer.taken][2])
            offer.taken, offer.turn = offer.taken + 1, turn
            _next_lane(lanes)
        else:
            allowances.hinder(offer.names)
            heappop(lanes)

        _next_family(families)

    return chosen


def share_out(limit: int, weights: Sequence[int], chance: Callable[[int], int]) -> list[int]:
    """The limit split by weight. What does not divide goes to queues by chance, so that over time each gets its share.

    ``chance`` gives a number below the one it is called with, such as ``random.randrange``.
    """
    total = sum(weights)
    shares = [limit * weight // total for weight in weights]
    tickets = list(accumulate(limit * weight % total for weight in weights))

    for _ in range(limit - sum(shares)):
        shares[bisect(tickets, chance(tickets[-1]))] += 1

    return shares


Lanes = list[tuple[int, int, int, int, Offer]]
"""A heap of one family's lanes: rank, turn, place, number."""
Families = list[tuple[int, int, int, Lanes]]


def _families(offers: Sequence[Offer]) -> Families:
    by_family: dict[Hashable, Lanes] = {}

    for offer in offers:
        if offer.heads:
            by_family.setdefault(offer.family, []).append(_entry(offer))

    for lanes in by_family.values():
        heapify(lanes)

    families = [_key(lanes) for lanes in by_family.values()]
    heapify(families)
    return families


def _next_lane(lanes: Lanes) -> None:
    offer = lanes[0][-1]

    if offer.taken < len(offer.heads):
        heapreplace(lanes, _entry(offer))
    else:
        heappop(lanes)


def _next_family(families: Families) -> None:
    *_, lanes = heappop(families)

    if lanes:
        heappush(families, _key(lanes))


def _entry(offer: Offer) -> tuple[int, int, int, int, Offer]:
    rank, place, _ = offer.heads[offer.taken]
    return rank, offer.turn, place, offer.lane, offer


def _key(lanes: Lanes) -> tuple[int, int, int, Lanes]:
    rank, _, place, lane, _ = lanes[0]
    return rank, place, lane, lanes
