"""Choosing where limits, turns or pauses with arguments have a say.

Lanes are read only until enough of them are open. One that is closed costs a look at its name, never at its jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.choosing import pick_suspects
from cherga.brokers.sqlite.declared import Rules
from cherga.brokers.sqlite.heads import Heads, read_first, read_further
from cherga.brokers.sqlite.holds import hold
from cherga.brokers.sqlite.lanes import Lane
from cherga.brokers.sqlite.limits import Standing
from cherga.brokers.sqlite.rates import store_logs
from cherga.brokers.sqlite.stands import Stand
from cherga.brokers.sqlite.write import Write
from cherga.rules.limits import Allowances
from cherga.rules.turns import Head, Offer, take_turns
from cherga.words.shared import PauseScope

HINDRANCES = 256
"""Closed lanes of which a claim finds out when they will open. They are met in the order in which they were last served, so
that those after them will hardly open sooner."""

HELD_BACK = 2000
"""Jobs that one claim moves out of the way at most, because a pause with arguments means them."""

_SERVE = """
update lanes set turn = new.value ->> 1 from json_each(?) as new where lanes.number = new.value ->> 0
"""

_encode = msgspec.json.Encoder().encode

_NOT_YET = 1 << 60
"""Turns of this claim count from here; which numbers they get is seen when it is known how many it took."""


class Candidate(Struct):
    """A lane that is open."""

    number: int
    lane: Lane
    turn: int
    names: tuple[str, ...]
    room: int


class Picker:
    """A claim's choice among these stands."""

    def __init__(self, write: Write, rules: Rules, scopes: Iterable[PauseScope], stands: Sequence[Stand], limit: int) -> None:
        self._write = write
        self._limit = limit
        self._rules = rules
        self._scopes = list(scopes)
        self._stands = stands
        self._standing = Standing(write.db, write.lanes, rules)
        self._allowances = Allowances(rules.resolved, self._standing.running, self._standing.starts, write.now)
        self._in_turn = any(stand.after for stand in stands)
        self._turn = _NOT_YET
        self._served: dict[int, int] = {}
        self._held_back = 0
        self._hindered = 0

    def pick(self, limit: int, queue: str | None = None, suspect: int = 0) -> list[int]:
        """Sequences of at most ``limit`` jobs that were not picked before."""
        stands = [one for one in self._stands if one.lane.suspect == suspect and queue in {None, one.lane.queue}]
        picked: list[int] = []

        while len(picked) < limit and (offers := self._make_offers(stands, limit - len(picked))):
            picked += take_turns(offers, limit - len(picked), self._allowances, self._turn)
            self._note(offers)

        return picked

    def pick_suspects(self, limit: int) -> list[int]:
        """Suspects that may run together."""
        return pick_suspects(self.pick, [stand.lane for stand in self._stands], limit)

    def suspect_waits(self) -> bool:
        """True when a suspect could run if a worker had nothing else to do."""
        return bool(self._make_offers([stand for stand in self._stands if stand.lane.suspect], 1))

    def finish(self) -> float | None:
        """Write down turns and starts; seconds until a rate lets another job go, if one is held up by that alone."""
        write, logs = self._write, self._allowances.logs()

        if self._served:
            first = write.take_numbers(self._turn - _NOT_YET)
            served = [(lane, first + turn - _NOT_YET - 1) for lane, turn in self._served.items()]
            write.run(_SERVE, (_encode(served).decode(),))

        if logs:
            store_logs(write, logs, {name: self._period(name) for name in logs})

        if self._rules.rates:
            self._hinder_rest()

        return 0.0 if self._held_back >= HELD_BACK else self._allowances.again_in

    def _hinder_rest(self) -> None:
        """Note when those lanes will open that this claim itself has filled."""
        for offer in (offer for stand in self._stands for offer in stand.leave()):
            self._room(offer.names)

    def _period(self, name: str) -> float:
        rule = self._rules.rule(name)
        return 0.0 if rule is None or rule.rate is None else rule.rate.period

    def _note(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            if offer.taken and self._in_turn:
                self._served[offer.lane] = offer.turn
                self._turn = max(self._turn, offer.turn)

    # --- offers

    def _make_offers(self, stands: Sequence[Stand], limit: int) -> list[Offer]:
        """Open lanes of each stand, as many as could be needed, those that were offered before first."""
        found: list[tuple[Stand, Candidate]] = []

        for stand in stands:
            stand.offers = [offer for offer in stand.leave() if self._room(offer.names) > 0]
            missing = limit - len(stand.offers)
            found += [(stand, one) for one in self._find_open(stand, missing)] if missing > 0 else []

        for (stand, _), offer in zip(found, self._read_heads([one for _, one in found], limit), strict=True):
            if offer.heads:
                stand.offers.append(offer)

        return [offer for stand in stands for offer in stand.offers]

    def _find_open(self, stand: Stand, limit: int) -> list[Candidate]:
        """The next open lanes of the stand; at least ``limit``, unless there are not so many."""
        found: list[Candidate] = []

        for page in stand.pages(self._write, limit, self._in_turn):
            numbers = [number for number, _ in page]
            self._write.lanes.meet(self._write.db, numbers)
            lanes = [self._write.lanes.at(number) for number in numbers]
            named = [self._rules.names(lane) for lane in lanes]

            if self._rules.rates:
                self._standing.expect(name for names in named for name in names)

            for (number, turn), lane, names in zip(page, lanes, named, strict=True):
                if (room := self._room(names)) > 0:
                    found.append(Candidate(number, lane, turn, names, room))

            if len(found) >= limit:
                break

        return found

    def _room(self, names: Sequence[str]) -> int:
        """The number of jobs that may start under these limits; where none may, it is noted when one will."""
        room = self._allowances.room(names)

        if room <= 0 and self._rules.rates and self._hindered < HINDRANCES:
            self._hindered += 1
            self._allowances.hinder(names)

        return room

    # --- their jobs

    def _read_heads(self, candidates: Sequence[Candidate], limit: int) -> list[Offer]:
        if not candidates:
            return []

        most = max(self._most(one) for one in candidates)
        size = min(most, limit // len(candidates) + 2)
        first = read_first(self._write, [one.number for one in candidates], size)
        return [self._make_offer(one, first[one.number], size) for one in candidates]

    def _most(self, one: Candidate) -> int:
        """The number of its jobs that this claim could look at: under a rate it matters whether another one waits behind."""
        return min(self._limit, one.room) + self._rules.limits_rate(one.names)

    def _make_offer(self, one: Candidate, first: list[Head], size: int) -> Offer:
        more = len(first) >= size
        free = self._without_held(one, first)

        if more and not free:
            free = self._load(one, first[-1], size)

        heads = Heads(free, self._most(one) - len(free) if more else 0, partial(self._load, one))
        return Offer(one.number, (one.lane.queue, one.lane.task, one.lane.suspect), one.names, heads, one.turn)

    def _load(self, one: Candidate, after: Head, size: int) -> list[Head]:
        """The next jobs of a lane that no pause means; fewer than ``size`` only when there are no others."""
        free: list[Head] = []

        while len(free) < size and self._held_back < HELD_BACK:
            found = read_further(self._write, one.number, after, size)
            free += self._without_held(one, found)

            if len(found) < size:
                break

            after = found[-1]

        return free[:size]

    def _without_held(self, one: Candidate, heads: list[Head]) -> list[Head]:
        if not self._scopes:
            return heads

        held = hold(self._write, one.number, one.lane, [sequence for _, _, sequence in heads], self._scopes)
        self._held_back += len(held)
        return [head for head in heads if head[2] not in held] if held else heads
