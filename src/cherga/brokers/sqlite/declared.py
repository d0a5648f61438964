"""The rules that are declared, decoded once for each state of the declarations."""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec

from cherga.brokers.sqlite.lanes import LANES_REMEMBERED, Lane
from cherga.rules.limits import effective_rules, rule_for
from cherga.words.limits import LimitRule
from cherga.words.shared import Definition

STORED_RULES = """
(select json_group_array(json_array(kind, name, hex(data))) from definitions
    where kind in ('limit', 'override') and data <> x'')
"""

RULES_VERSION = "(select cast(value as blob) from facts where name = 'rules')"
"""SQL for a value that is another one after each change of what is declared."""

NO_RULES = "[]"

_read_rules = msgspec.json.Decoder(list[tuple[str, str, str]]).decode


class Rules:
    """The rules that one text of declarations comes to, and which of them hold for a lane."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.in_force = effective_rules(Definition(kind, name, bytes.fromhex(data)) for kind, name, data in _read_rules(text))
        rules = self.in_force.values()
        self.slots = any(rule.max_running is not None for rule in rules)
        """True when any rule limits how many run."""
        self.lengths = any(rule.max_length is not None for rule in rules)
        """True when any rule limits how many wait."""
        self.rates = any(rule.rate is not None for rule in rules)
        """True when any rule limits how many start."""
        self.resolved = dict(self.in_force)
        """The rules in force also by the names of the limits that were met, so that each is looked up once."""
        self._names: dict[Lane, tuple[str, ...]] = {}

    def names(self, lane: Lane) -> tuple[str, ...]:
        """The limits with a rule that the jobs of this lane count for."""
        found = self._names.get(lane)
        return self._resolve(lane) if found is None else found

    def rule(self, name: str) -> LimitRule | None:
        """The rule for this limit."""
        return rule_for(self.resolved, name)

    def slots_of(self, name: str) -> int | None:
        """The number that may run under this limit; None when that is left free."""
        rule = self.rule(name)
        return None if rule is None else rule.max_running

    def limits_rate(self, names: Iterable[str]) -> bool:
        """True when so many start at most under one of these limits."""
        return self.rates and any(rule is not None and rule.rate is not None for rule in map(self.rule, names))

    def _resolve(self, lane: Lane) -> tuple[str, ...]:
        if len(self._names) > LANES_REMEMBERED:
            self._names.clear()
            self.resolved = dict(self.in_force)

        found = {name: rule for name in lane.names if (rule := self.rule(name)) is not None and _hinders(rule)}
        self.resolved.update(found)
        self._names[lane] = tuple(found)
        return self._names[lane]


def _hinders(rule: LimitRule) -> bool:
    return rule.max_running is not None or rule.rate is not None


class LastRules:
    """Keeps what was last decoded, and under which version. Within write transactions alone."""

    def __init__(self) -> None:
        self._rules = Rules(NO_RULES)
        self._version: bytes | None = None

    def read(self, db: apsw.Connection, version: bytes | None) -> Rules:
        """The rules of this version, which the same transaction has found."""
        if version is None or version != self._version:
            text = db.execute(f"select {STORED_RULES}").get

            if text != self._rules.text:
                self._rules = Rules(text)

            self._version = version

        return self._rules

    def forget(self) -> None:
        """Read anew: a transaction was rolled back, and perhaps its version is used again."""
        self._version = None
