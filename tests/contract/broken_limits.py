"""Memory brokers with one fault each in limits, rates, turns, pauses and queue caps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from msgspec.structs import replace

from cherga.brokers.memory import MemoryBroker
from cherga.brokers.memory.lanes import LaneKey
from cherga.brokers.memory.limiting import LimitBook
from cherga.brokers.memory.listening import MemoryListener
from cherga.rules import rates
from cherga.rules.limits import Allowances
from cherga.rules.settings import BrokerSettings
from cherga.words.claim import ClaimAnswer, ClaimWish
from cherga.words.job import JobRow
from cherga.words.limits import OVERRIDE
from cherga.words.push import NewJob, PushAnswer
from cherga.words.shared import Definition, PauseScope


class _WithBook(MemoryBroker):
    """Keeps another kind of book on its limits."""

    kind: type[LimitBook] = LimitBook

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        super().__init__(url, settings)

        if type(self._store.book) is not self.kind:
            self._store.book = self.kind()


class Limitless(MemoryBroker):
    """Knows no limits."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        self._store.book.rules = {}
        return super().claim(wish)


class _Keeping(LimitBook):
    def vacate(self, id: UUID) -> list[LaneKey]:
        return []


class KeepingSlots(_WithBook):
    """Gives no slot back."""

    kind = _Keeping


class _PerClaim(LimitBook):
    def allowances(self, now: float) -> Allowances:
        return Allowances(self.rules, lambda _: 0, self._log, now)


class CountingEachClaim(_WithBook):
    """Lets every claim take as many as the limit allows."""

    kind = _PerClaim


class _Lumping(LimitBook):
    def allowances(self, now: float) -> Allowances:
        return Allowances(self.rules, self._of_all_values, self._log, now)

    def _of_all_values(self, name: str) -> int:
        key = name.partition("|")[0]
        return sum(count for each, count in self._running.items() if each.partition("|")[0] == key)


class LumpingValues(_WithBook):
    """Counts all values of a key as one."""

    kind = _Lumping


class PreferringCode(MemoryBroker):
    """Ignores what people set."""

    def define(self, definitions: Sequence[Definition]) -> None:
        super().define([each for each in definitions if each.kind != OVERRIDE])


class StoppingAtTheFirstClosed(MemoryBroker):
    """Gives nothing while the best job of all is at its limit."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        book, lanes = self._store.book, list(self._store.lanes)
        tops = [(place, key) for key in lanes if (place := self._store.best(key))]
        best = min(tops, default=None)
        closed = best is not None and book.allowances(self._now()).room(book.ruled(best[1])) <= 0
        return ClaimAnswer([]) if closed else super().claim(wish)


class _Selfish(LimitBook):
    def note_turns(self, turns: Mapping[LaneKey, int], count: int) -> None:
        pass


class ForgettingTurns(_WithBook):
    """Begins every claim with the first key again."""

    kind = _Selfish


class LettingNewcomersAhead(MemoryBroker):
    """Forgets the turn of a key that has no ready job."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        answer = super().claim(wish)
        book = self._store.book
        book.turns = {key: turn for key, turn in book.turns.items() if self._store.best(key)}
        return answer


class _Impatient(MemoryListener):
    def wait(self, timeout: float | None) -> bool:
        return super().wait(0)


class _Silent(LimitBook):
    def vacate(self, id: UUID) -> list[LaneKey]:
        super().vacate(id)
        return []


class SilentAboutSlots(_WithBook):
    """Wakes nobody when a slot frees."""

    kind = _Silent

    def listen(self, topics: Iterable[str]) -> MemoryListener:
        listener = _Impatient(frozenset(topics), self._leave)

        with self._held() as store:
            store.bells.add(listener)

        return listener


class _Short(LimitBook):
    def tidy(self, now: float) -> None:
        self._starts = {}


class PruningStarts(_WithBook):
    """Forgets the starts at every prune."""

    kind = _Short


class _Stubborn(LimitBook):
    def take_start_back(self, row: JobRow) -> None:
        pass


class CountingWhatNeverBegan(_WithBook):
    """Takes no start back."""

    kind = _Stubborn


class _Confused(LimitBook):
    def take_start_back(self, row: JobRow) -> None:
        for name in self._slots[row.id]:
            if starts := self._starts.get(name):
                self._starts[name] = rates.taken_back(starts, 1, starts[-1][0])


class TakingTheLastStartBack(_WithBook):
    """Takes back the last start, whoever is given back."""

    kind = _Confused


class IgnoringArguments(MemoryBroker):
    """Pauses the whole task."""

    def pause(self, scope: PauseScope, paused: bool) -> None:
        super().pause(replace(scope, arguments=None), paused)


class HoldingForEver(MemoryBroker):
    """Does not let go what a pause held."""

    def pause(self, scope: PauseScope, paused: bool) -> None:
        held = {key: self._store.lanes.pop(key) for key in list(self._store.lanes) if key.held}
        super().pause(scope, paused)
        self._store.lanes.update(held)


class WithoutCaps(MemoryBroker):
    """Takes what comes into a full queue."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        rules, self._store.book.rules = self._store.book.rules, {}
        answers = super().push(groups)
        self._store.book.rules = rules
        return answers


class DroppingTheNewest(MemoryBroker):
    """Makes room where the last came."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        return [self._push_backwards(group) for group in groups]

    def _push_backwards(self, group: Sequence[NewJob]) -> PushAnswer:
        rows = sorted(self._store.rows.values(), key=lambda row: -row.sequence)
        self._store.rows.clear()
        self._store.rows.update((row.id, row) for row in rows)
        (answer,) = super().push([group])
        return answer
