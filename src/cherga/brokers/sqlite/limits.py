"""The state of limits: the jobs that run under them, and those that have started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import apsw
import msgspec

from cherga.brokers.sqlite.declared import RULES_VERSION, STORED_RULES, Rules
from cherga.brokers.sqlite.lanes import FILLED, KEYED, Lane, Lanes
from cherga.brokers.sqlite.rates import read_logs
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.rates import Starts, again_in
from cherga.words.limits import LimitRule, LimitUse

_RULES = f"select {STORED_RULES}"
_VERSION = f"select {RULES_VERSION}"

_RUNNING = """
select json_group_array(json_array(lane, count)) from counters indexed by counters_running where state = 4 and count > 0
"""

LOOKED_AT = 200
"""Lanes with limit keys that are looked at before it is taken for granted that jobs wait in one of them."""

_READY_LANES = f"""
with recursive {FILLED}
select json_group_array(lane) from (
    select lane from filled where lane < {KEYED}
    union all
    select number from (select number from lanes indexed by lanes_ready where head is not null limit {LOOKED_AT})
)
"""

_read_numbers = msgspec.json.Decoder(list[int]).decode
_read_running = msgspec.json.Decoder(list[tuple[int, int]]).decode


class Standing:
    """The state of limits at the beginning of a transaction, each looked up once."""

    def __init__(self, db: apsw.Connection, lanes: Lanes, rules: Rules) -> None:
        self._db = db
        self._lanes = lanes
        self._rules = rules
        self._running: Counter[str] | None = None
        self._starts: dict[str, Starts] = {}

    def running(self, name: str) -> int:
        """The number of jobs that run under this limit."""
        if self._running is None:
            self._running = count_running(self._db, self._lanes, self._rules.names)

        return self._running[name]

    def starts(self, name: str) -> Starts:
        """The jobs that have started under this limit."""
        if name not in self._starts:
            self.expect([name])

        return self._starts[name]

    def expect(self, names: Iterable[str]) -> None:
        """Look up together what will be asked for one by one."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._starts and self._rules.limits_rate([name])]

        if wanted:
            found = read_logs(self._db, wanted)
            self._starts.update({name: found.get(name, ()) for name in wanted})


def stored_rules(write: Write) -> Rules:
    """The rules in force now."""
    return write.rules.read(write.db, write.value(_VERSION))


def count_running(db: apsw.Connection, lanes: Lanes, names: Callable[[Lane], Sequence[str]]) -> Counter[str]:
    """The number of jobs that run under each of the limits that ``names`` tells for a lane."""
    running: Counter[str] = Counter()
    counted = _read_running(db.execute(_RUNNING).get)
    lanes.meet(db, [number for number, _ in counted])

    for number, count in counted:
        lane = lanes.get(db, number)

        for name in () if lane is None else names(lane):
            running[name] += count

    return running


def ring_freed_slots(write: Write) -> None:
    """Wake workers when this transaction, whose counts are written, made room under a limit for which jobs wait."""
    freed = write.freed()

    if not freed or Topic.READY in write.bells.topics:
        return

    rules = stored_rules(write)
    opened = _find_opened(write, rules, freed) if rules.slots else set()

    if opened and _is_waited_for(write, rules, opened):
        write.bells.topics.add(Topic.READY)


def list_uses(db: apsw.Connection, names: Sequence[str], now: float) -> list[LimitUse]:
    """The state of the limits of these names; those without a rule are left out."""
    rules = Rules(db.execute(_RULES).get)
    running = count_running(db, Lanes(), lambda lane: lane.names)
    logs = read_logs(db, names)
    return [_use(name, rule, running[name], logs.get(name, ()), now) for name in names if (rule := rules.rule(name))]


def _use(name: str, rule: LimitRule, running: int, starts: Starts, now: float) -> LimitUse:
    wait = None if rule.rate is None else again_in(starts, rule.rate, now)
    return LimitUse(name, rule, running, wait or None)


def _find_opened(write: Write, rules: Rules, freed: dict[int, int]) -> set[str]:
    """The limits that were reached before these slots were freed, and are not any more."""
    back: Counter[str] = Counter()
    write.lanes.meet(write.db, freed)

    for number, count in freed.items():
        lane = write.lanes.get(write.db, number)

        for name in () if lane is None else rules.names(lane):
            back[name] += count

    running = count_running(write.db, write.lanes, rules.names)
    limits = [(name, rules.slots_of(name)) for name in back]
    return {name for name, most in limits if most is not None and running[name] < most <= running[name] + back[name]}


def _is_waited_for(write: Write, rules: Rules, names: set[str]) -> bool:
    """True when jobs wait in a lane that counts for one of these limits; with very many lanes, when that is likely."""
    numbers = _read_numbers(write.value(_READY_LANES))
    write.lanes.meet(write.db, numbers)
    lanes = [write.lanes.get(write.db, number) for number in numbers]
    return len(numbers) >= LOOKED_AT or any(lane is not None and not names.isdisjoint(rules.names(lane)) for lane in lanes)
