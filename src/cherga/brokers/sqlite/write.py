"""A write transaction: its clock readings, what it counts, and what it will ring."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import apsw
import msgspec

from cherga.brokers.sqlite.bells import Bells
from cherga.brokers.sqlite.declared import RULES_VERSION, LastRules, Rules
from cherga.brokers.sqlite.lanes import HELD, KEYED, Lanes
from cherga.brokers.sqlite.rows import BLOCKED, READY, RUNNING
from cherga.doors.broker import Topic
from cherga.rules.settings import BrokerSettings

CHUNKS = (256, 64, 16, 4, 1)
"""Rows in one statement. SQLite works through them in one step: a step lets other Python threads run and may wait for them
to give way again, which with a step a row would cost a batch many times its own time, the write lock held."""


class Write:
    """An open write transaction."""

    __slots__ = (
        "_keyed",
        "_tally",
        "bells",
        "db",
        "ended",
        "given_up",
        "lanes",
        "notices",
        "now",
        "rules",
        "settings",
        "uptime",
    )

    def __init__(
        self, db: apsw.Connection, lanes: Lanes, rules: LastRules, settings: BrokerSettings, now: float, uptime: float
    ) -> None:
        self.db = db
        self.lanes = lanes
        self.rules = rules
        self.settings = settings
        self.now = now
        self.uptime = uptime
        self.bells = Bells()
        self.ended: dict[int, int] = {}
        """Sequences and final states of jobs that ended in this transaction and that others may wait for."""
        self.given_up: list[bytes] = []
        """Ids of jobs whose unfinished children are to be cancelled since this transaction."""
        self.notices: list[tuple[str, float, bytes]] = []
        """The notices that a worker is to tell, as ``notices.py`` packs them."""
        self._tally: dict[tuple[int, int], int] = {}
        self._keyed: dict[tuple[str, str, tuple[str, ...]], int] = {}

    def run(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        """Execute, and return how many rows it changed (whatever that is for a statement that changes none)."""
        self.db.execute(sql, bindings)
        return self.db.changes()

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        """Every row."""
        return self.db.execute(sql, bindings).fetchall()

    def row(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        return self.db.execute(sql, bindings).fetchone()

    def value(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        return self.db.execute(sql, bindings).get

    def run_chunks(self, head: str, row: str, tail: str, first: Sequence[Any], rows: Sequence[Sequence[Any]]) -> int:
        """Execute ``head row, row, … tail`` for all rows, few statements for many; return how many rows changed.

        ``first`` are the bindings of the numbered parameters in ``head``, which stand before those of the rows.
        """
        if len(rows) == 1:
            return self.run(_repeat(head, row, tail, 1), (*first, *rows[0]))

        changed = start = 0

        while start < len(rows):
            size = next(chunk for chunk in CHUNKS if chunk <= len(rows) - start)
            bindings = [*first, *chain.from_iterable(rows[start : start + size])]
            self.db.execute(_repeat(head, row, tail, size), bindings)
            changed += self.db.changes()
            start += size

        return changed

    def take_numbers(self, count: int) -> int:
        """The first of ``count`` numbers in a row that nobody had before."""
        last = self.value("update counters set count = count + ? where lane = 0 and state = 0 returning count", (count,))
        return int(last) - count + 1

    def enter(self, lane: int, state: int) -> tuple[int, Rules]:
        """A number that nobody had before, for a new job that stands here and is counted with this; and the rules in force."""
        one, other = self.rows(_ENTER, (lane, state))  # in no order that SQLite promises
        number, _, version = other if one[1] else one
        self._tally.setdefault((lane, state), 0)
        return int(number), self.rules.read(self.db, version)

    def count(self, lane: int, state: int, difference: int) -> None:
        """Note that so many jobs more (or fewer) stand here."""
        key = (lane, state)
        self._tally[key] = self._tally.get(key, 0) + difference

    def noted(self, state: int) -> int:
        """The difference noted so far for a state, in all lanes."""
        return sum(difference for (_, at), difference in self._tally.items() if at == state)

    def noted_waiting(self) -> list[tuple[int, int]]:
        """The differences noted so far for the jobs that wait, with their lanes."""
        return [(lane, difference) for (lane, state), difference in self._tally.items() if state <= BLOCKED]

    def lane(self, queue: str, task: str, limits: tuple[str, ...] = ()) -> int:
        """The number of this lane. One with limit keys may be gone in the next transaction, but not in this one."""
        if not limits:
            return self.lanes.number(self.db, queue, task)

        key = (queue, task, limits)
        number = self._keyed.get(key)

        if number is None:
            number = self._keyed[key] = self.lanes.number(self.db, queue, task, limits)

        return number

    def freed(self) -> dict[int, int]:
        """The number by which fewer run than before, by lane."""
        return {lane: -number for (lane, state), number in self._tally.items() if state == RUNNING and number < 0}

    def flush_counts(self) -> None:
        """Write the noted differences, and the notices; the last thing before the commit."""
        if self.notices:
            self.run_chunks(_NOTICES, "(?, ?, ?)", "", (), self.notices)
            self.bells.topics.add(Topic.NEWS)

        rows = [(lane, state, difference) for (lane, state), difference in self._tally.items() if difference]
        self.run_chunks(_COUNT, "(?, ?, ?)", _COUNT_TAIL, (), rows)
        touched = [lane for lane, state in self._tally if state == READY and KEYED <= lane < HELD]

        if touched:
            self.refresh_heads(touched)

    def refresh_heads(self, lanes: Sequence[int]) -> None:
        """Note anew at these lanes, where they have limit keys, what the best of their ready jobs is."""
        self.run(_REFRESH, (_write_numbers(lanes).decode(),))


_REFRESH = f"""
update lanes set head = new.head from (
    select value as number,
        (select rank from jobs indexed by jobs_ready where state = 2 and lane = value order by rank limit 1) as head
    from json_each(?)
) as new
where lanes.number = new.number and lanes.number between {KEYED} and {HELD - 1} and lanes.head is not new.head
"""

_NOTICES = "insert into notices (task, at, packed) values "
_COUNT = "insert into counters (lane, state, count) values "
_COUNT_TAIL = " on conflict (lane, state) do update set count = max(min(count, 1 << 48), -1 << 48) + excluded.count"
_ENTER = f"""
{_COUNT} (0, 0, 1), (?, ?, 1) on conflict (lane, state) do update set
    count = case lane when 0 then count else max(min(count, 1 << 48), -1 << 48) end + 1
returning count, lane, {RULES_VERSION}
"""

_write_numbers = msgspec.json.Encoder().encode

_statements: dict[tuple[str, str, str, int], str] = {}


def _repeat(head: str, row: str, tail: str, size: int) -> str:
    key = (head, row, tail, size)
    sql = _statements.get(key)

    if sql is None:
        sql = _statements[key] = head + ", ".join([row] * size) + tail

    return sql
