"""Limits in one claim: which rules hold for a lane, and how much they still allow. Pure; see ``cherga.words.limits``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from sys import maxsize

import msgspec

from cherga.rules.rates import Starts, again_in, allowance, started
from cherga.words.limits import OVERRIDE, LimitRule, Rate
from cherga.words.shared import Definition

NO_LIMIT = maxsize

KEY = "key:"
"""The beginnings of the names of limits that go by a value."""

_decode = msgspec.msgpack.Decoder(LimitRule).decode

Rules = Mapping[str, LimitRule]
"""The rules in force, by the name under which each was declared."""


def queue_limit(queue: str) -> str:
    """The name of a queue's own limit."""
    return f"queue:{queue}"


def task_limit(task: str) -> str:
    """The name of a task's own limit."""
    return f"task:{task}"


def limit_names(queue: str, task: str, limit_keys: Sequence[str]) -> tuple[str, ...]:
    """The limits that a job counts for, each once, whether or not there are rules for them."""
    return tuple(dict.fromkeys((queue_limit(queue), task_limit(task), *limit_keys)))


def effective_rules(definitions: Iterable[Definition]) -> dict[str, LimitRule]:
    """The rules in force: an override goes before what the code declares. One that cannot be read is left out."""
    rules: dict[str, LimitRule] = {}

    for definition in sorted(definitions, key=lambda one: one.kind == OVERRIDE):
        try:
            rules[definition.name] = _decode(definition.data)
        except msgspec.DecodeError:
            continue

    return rules


def rule_for(rules: Rules, name: str) -> LimitRule | None:
    """The rule for a limit: its own, else that for all values of its key. Queues and tasks may have a bar in their names."""
    rule = rules.get(name)
    return rule if rule or not name.startswith(KEY) else rules.get(name.partition("|")[0])


class Allowances:
    """The room that the limits still leave in one claim. ``running`` and ``starts`` say how a limit stood before it."""

    def __init__(self, rules: Rules, running: Callable[[str], int], starts: Callable[[str], Starts], now: float) -> None:
        self._rules = rules
        self._running = running
        self._starts = starts
        self._now = now
        self._taken: Counter[str] = Counter()
        self._before: dict[str, int] = {}
        """The room that each limit had before this claim, looked up once."""
        self.again_in: float | None = None
        """Seconds until the first of the rates that stood in the way lets another start."""

    def room(self, names: Collection[str]) -> int:
        """The number of jobs that count for all these limits and may start; ``NO_LIMIT`` when none of them has a rule."""
        if not names:
            return NO_LIMIT

        return max(0, min(self._left(name) for name in names))

    def take(self, names: Collection[str]) -> None:
        """Count a job that starts for all these limits."""
        self._taken.update(name for name in names if rule_for(self._rules, name))

    def hinder(self, names: Collection[str]) -> None:
        """A ready job is held up: note when it may go, if nothing but rates stands in the way."""
        waits = [0.0 if self._slots(name) > 0 else None for name in names]
        waits += [self._wait(name) for name in names if self._rate_room(name) <= 0]

        if None not in waits:
            wait = max(wait for wait in waits if wait is not None)
            self.again_in = wait if self.again_in is None else min(self.again_in, wait)

    def logs(self) -> dict[str, Starts]:
        """The logs of the rates under which this claim has taken jobs, with these starts."""
        return {name: self._log(name, rate) for name in self._taken if (rate := self._rate(name)) is not None}

    def _left(self, name: str) -> int:
        before = self._before.get(name)

        if before is None:
            taken = self._taken[name]
            before = self._before[name] = min(self._slots(name), self._rate_room(name)) + taken

        return NO_LIMIT if before >= NO_LIMIT else before - self._taken[name]

    def _slots(self, name: str) -> int:
        """The number that may start as far as ``max_running`` goes."""
        rule = rule_for(self._rules, name)

        if rule is None or rule.max_running is None:
            return NO_LIMIT

        return rule.max_running - self._running(name) - self._taken[name]

    def _rate_room(self, name: str) -> int:
        rate = self._rate(name)
        return NO_LIMIT if rate is None else allowance(self._starts(name), rate, self._now) - self._taken[name]

    def _wait(self, name: str) -> float | None:
        """Seconds until the limit's rate opens; None when it never does."""
        rate = self._rate(name)
        return 0.0 if rate is None else again_in(self._log(name, rate), rate, self._now)

    def _rate(self, name: str) -> Rate | None:
        rule = rule_for(self._rules, name)
        return None if rule is None else rule.rate

    def _log(self, name: str, rate: Rate) -> Starts:
        number = self._taken[name]
        return started(self._starts(name), rate, self._now, number) if number else self._starts(name)
