"""The facts that limits need: rules that hold, jobs that run under them, and when jobs started. Nothing without rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from cherga.brokers.memory.lanes import LaneKey, lane_of, names_of
from cherga.rules import rates
from cherga.rules.limits import Allowances, Rules, effective_rules, rule_for, task_limit
from cherga.rules.rates import Starts
from cherga.words.job import JobRow
from cherga.words.limits import LIMIT, OVERRIDE, LimitUse
from cherga.words.shared import Definition


class LimitBook:
    """Rules, slots and starts. Its methods are called with the lock of the store held."""

    def __init__(self) -> None:
        self.rules: Rules = {}
        self.turn = 0
        """Counts the jobs that were handed out, so that lanes can say when their last turn was."""
        self.turns: dict[LaneKey, int] = {}
        """The last turn of each lane."""
        self._slots: dict[UUID, tuple[str, ...]] = {}
        """Running job → the limits that it counts for."""
        self._running: Counter[str] = Counter()
        self._starts: dict[str, Starts] = {}
        self._lanes: dict[str, set[LaneKey]] = {}
        """Limit → the lanes that count for it and have had ready jobs."""

    def read(self, definitions: Iterable[Definition], lanes: Iterable[LaneKey], running: Iterable[JobRow]) -> None:
        """Go by these definitions from now on; these lanes and running jobs are there already."""
        self.rules = effective_rules(each for each in definitions if each.kind in (LIMIT, OVERRIDE))
        self._slots, self._running, self._lanes = {}, Counter(), {}

        for key in lanes:
            self.open_lane(key)

        for row in running:
            self.occupy(row)

    def allowances(self, now: float) -> Allowances:
        """The jobs that a claim may take now."""
        return Allowances(self.rules, self._running.__getitem__, self._log, now)

    def ruled(self, key: LaneKey) -> tuple[str, ...]:
        """The limits that jobs of this lane count for and that have a rule."""
        if not self.rules:
            return ()

        return tuple(name for name in names_of(key) if rule_for(self.rules, name))

    def uses(self, names: Sequence[str], now: float) -> list[LimitUse]:
        """The state of these limits."""
        return [use for name in names if (use := self._use(name, now))]

    def note_turns(self, turns: Mapping[LaneKey, int], count: int) -> None:
        """Jobs were handed out, this many; these lanes had a turn."""
        self.turns.update(turns)
        self.turn += count

    # --- slots

    def occupy(self, row: JobRow) -> None:
        """A job runs."""
        if self.rules and row.id not in self._slots:
            self._slots[row.id] = names_of(lane_of(row))
            self._running.update(self._slots[row.id])

    def vacate(self, id: UUID) -> list[LaneKey]:
        """The job runs no more; return the lanes that may have waited for its slot."""
        names = self._slots.pop(id, ())

        for name in names:
            self._running[name] -= 1

            if not self._running[name]:
                del self._running[name]

        return [key for name in names if self._has_slots(name) for key in self._lanes.get(name, ())]

    def open_lane(self, key: LaneKey) -> None:
        """A lane is there."""
        for name in names_of(key) if self.rules else ():
            self._lanes.setdefault(name, set()).add(key)

    def close_lane(self, key: LaneKey) -> None:
        """The lane is empty."""
        for name in names_of(key) if self.rules else ():
            self._lanes[name].discard(key)

            if not self._lanes[name]:
                del self._lanes[name]

    # --- starts

    def note_starts(self, allowances: Allowances) -> None:
        """Keep what a claim has started."""
        self._starts.update(allowances.logs())

    def take_start_back(self, row: JobRow) -> None:
        """A job that was handed out never began."""
        for name in self._slots.get(row.id, ()):
            if name in self._starts:
                self._starts[name] = rates.taken_back(self._starts[name], 1, row.started_at)

    # --- tidying

    def tidy(self, now: float) -> None:
        """Forget starts that no window holds any more, and the turns of lanes without jobs."""
        self._starts = {name: starts for name, starts in self._starts.items() if self._counts_still(name, starts, now)}
        self.turns = {key: turn for key, turn in self.turns.items() if self._is_used(key)}

    def _counts_still(self, name: str, starts: Starts, now: float) -> bool:
        rule = rule_for(self.rules, name)
        return bool(starts and rule and rule.rate and starts[-1][0] + rule.rate.period > now)

    def _is_used(self, key: LaneKey) -> bool:
        return key in self._lanes.get(task_limit(key.task), ()) or all(self._running[name] for name in names_of(key))

    def _has_slots(self, name: str) -> bool:
        rule = rule_for(self.rules, name) if self.rules else None
        return rule is not None and rule.max_running is not None

    def _use(self, name: str, now: float) -> LimitUse | None:
        rule = rule_for(self.rules, name)

        if rule is None:
            return None

        wait = rates.again_in(self._log(name), rule.rate, now) if rule.rate else None
        return LimitUse(name, rule, self._running[name], wait or None)

    def _log(self, name: str) -> Starts:
        return self._starts.get(name, ())
