"""Taking turns, in tables and against a model that is slow and plain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import partial
from random import Random

import pytest

from cherga.rules.limits import Allowances
from cherga.rules.rates import Starts
from cherga.rules.turns import Head, Offer, share_out, take_turns
from cherga.words.limits import LimitRule, Rate

NOW = 1_700_000_000.0


def _allowances(**max_running: int) -> Allowances:
    rules = {f"key:{name}": LimitRule(number) for name, number in max_running.items()}
    return Allowances(rules, lambda _: 0, lambda _: (), NOW)


def _offer(lane: int, *places: int, family: str = "export", rank: int = 0, turn: int = 0, names: tuple[str, ...] = ()) -> Offer:
    return Offer(lane, family, names, [(rank, place, 100 * lane + place) for place in places], turn)


def test_one_lane_gives_its_jobs_in_order() -> None:
    assert take_turns([_offer(1, 3, 5, 9)], 2, _allowances()) == [103, 105]


def test_lanes_of_a_family_take_turns() -> None:
    offers = [_offer(1, 1, 2, 3), _offer(2, 7, 8, 9)]
    assert take_turns(offers, 4, _allowances()) == [101, 207, 102, 208]
    assert [offer.taken for offer in offers] == [2, 2]


def test_lanes_of_different_families_keep_to_their_places() -> None:
    assert take_turns([_offer(1, 1, 4, 5), _offer(2, 2, 3, 6, family="mail")], 6, _allowances()) == [
        101,
        202,
        203,
        104,
        105,
        206,
    ]


def test_the_lane_that_was_served_longest_ago_is_next() -> None:
    offers = [_offer(1, 1, turn=9), _offer(2, 2, turn=7), _offer(3, 3, turn=8)]
    assert take_turns(offers, 2, _allowances(), 9) == [202, 303]
    assert [offer.turn for offer in offers] == [9, 10, 11]


def test_a_lane_without_a_turn_goes_before_all_that_had_one() -> None:
    assert take_turns([_offer(1, 1, turn=5), _offer(2, 2)], 1, _allowances(), 5) == [202]


def test_priority_goes_before_turns() -> None:
    assert take_turns([_offer(1, 1, rank=-5, turn=9), _offer(2, 2)], 2, _allowances(), 9) == [101, 202]


def test_a_lane_without_room_is_passed_over() -> None:
    offers = [_offer(1, 1, 2, 3, names=("key:a",)), _offer(2, 7, 8, names=("key:b",))]
    assert take_turns(offers, 9, _allowances(a=1)) == [101, 207, 208]


def test_a_lane_that_runs_out_of_room_ends_no_other_family() -> None:
    offers = [_offer(1, 1, 2, names=("key:a",)), _offer(2, 3, family="mail")]
    assert take_turns(offers, 9, _allowances(a=1)) == [101, 203]


def test_lanes_share_the_room_of_a_limit_that_both_count_for() -> None:
    offers = [_offer(1, 1, 2, names=("key:a", "key:x")), _offer(2, 7, 8, names=("key:b", "key:x"))]
    assert take_turns(offers, 9, _allowances(x=3)) == [101, 207, 102]


def test_nothing_gives_nothing() -> None:
    assert take_turns([], 5, _allowances()) == []
    assert take_turns([_offer(1)], 5, _allowances()) == []
    assert take_turns([_offer(1, 1)], 0, _allowances()) == []


def test_a_rare_lane_is_second_at_the_latest_over_many_claims() -> None:
    turns = Counter[int]()
    order: list[int] = []
    places = {1: list(range(100)), 2: [100]}

    for turn in range(2):
        offers = [_offer(lane, *left, turn=turns[lane]) for lane, left in places.items()]
        (sequence,) = take_turns(offers, 1, _allowances(), turn)
        order.append(sequence)
        turns.update({offer.lane: offer.turn - turns[offer.lane] for offer in offers if offer.taken})
        places = {offer.lane: places[offer.lane][offer.taken :] for offer in offers}

    assert 300 in order


@pytest.mark.parametrize("seed", range(150))
def test_turns_go_as_the_model_says(seed: int) -> None:
    random = Random(seed)
    rules = {f"key:{name}": _rule(random) for name in "abc" if random.random() < 0.6}
    running, limit, turn = random.randrange(3), random.randrange(1, 20), 50
    offers = [_random_offer(random, lane) for lane in range(random.randrange(1, 9))]
    expected = _slowly(offers, limit, Allowances(rules, lambda _: running, _no_starts, NOW))
    allowances = Allowances(rules, lambda _: running, _no_starts, NOW)
    assert take_turns(offers, limit, allowances, turn) == expected
    assert {head[2] for offer in offers for head in offer.heads[: offer.taken]} == set(expected)
    assert all((offer.turn > turn) == (offer.taken > 0) for offer in offers)


def _slowly(offers: Sequence[Offer], limit: int, allowances: Allowances) -> list[int]:
    """The same, looking at everything again for each job."""
    left = {offer.lane: list(offer.heads) for offer in offers}
    turns = {offer.lane: offer.turn for offer in offers}
    names = {offer.lane: offer.names for offer in offers}
    families = {offer.lane: offer.family for offer in offers}
    chosen: list[int] = []

    while len(chosen) < limit and any(left.values()):
        fronts: dict[Hashable, int] = {}

        for _, _, _, lane in sorted((heads[0][0], turns[lane], heads[0][1], lane) for lane, heads in left.items() if heads):
            fronts.setdefault(families[lane], lane)

        best = min(fronts.values(), key=lambda lane: left[lane][0])

        if allowances.room(names[best]) > 0:
            allowances.take(names[best])
            chosen.append(left[best].pop(0)[2])
            turns[best] = 1000 + len(chosen)
        else:
            left[best] = []

    return chosen


def _random_offer(random: Random, lane: int) -> Offer:
    heads: list[Head] = sorted(
        (random.choice([-1, 0, 0, 0]), place, 1000 * lane + place)
        for place in {10 * random.randrange(100) + lane for _ in range(random.randrange(8))}
    )
    names = tuple(f"key:{name}" for name in "abc" if random.random() < 0.3)
    return Offer(lane, random.choice(["export", "mail"]), names, heads, random.randrange(50))


def _rule(random: Random) -> LimitRule:
    return LimitRule(random.choice([None, 0, 2, 5]), random.choice([None, Rate(3, 60)]))


def _no_starts(_: str) -> Starts:
    return ()


def test_shares_add_up_and_favour_nobody() -> None:
    splits = [share_out(10, (3, 2, 2), partial(_draw, drawn)) for drawn in range(14)]
    assert {sum(split) for split in splits} == {10}
    assert [sum(column) for column in zip(*splits, strict=True)] == [60, 40, 40]


def _draw(drawn: int, tickets: int) -> int:
    assert drawn < tickets
    return drawn
