"""One write transaction: its clock readings, what it counts, and what it will ring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from cherga.brokers.sqlite.bells import Bells
from cherga.brokers.sqlite.lanes import Lanes
from cherga.rules.settings import BrokerSettings

CHUNKS = (256, 64, 16, 4, 1)
"""Rows in one statement. SQLite works through them in one step: a step lets other Python threads run and may wait for them
to give way again, which with a step a row would cost a batch many times its own time, the write lock held."""


class Write:
    """An open write transaction."""

    __slots__ = ("_tally", "bells", "db", "ended", "lanes", "now", "settings", "uptime")

    def __init__(self, db: apsw.Connection, lanes: Lanes, settings: BrokerSettings, now: float, uptime: float) -> None:
        self.db = db
        self.lanes = lanes
        self.settings = settings
        self.now = now
        self.uptime = uptime
        self.bells = Bells()
        self.ended: list[int] = []
        """Sequences of jobs that ended in this transaction and that others wait for."""
        self._tally: dict[tuple[int, int], int] = {}

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
        changed = start = 0

        while start < len(rows):
            size = next(chunk for chunk in CHUNKS if chunk <= len(rows) - start)
            bindings = [*first, *(value for values in rows[start : start + size] for value in values)]
            self.db.execute(_repeat(head, row, tail, size), bindings)
            changed += self.db.changes()
            start += size

        return changed

    def take_numbers(self, count: int) -> int:
        """The first of ``count`` numbers in a row that nobody had before."""
        last = self.value("update counters set count = count + ? where lane = 0 and state = 0 returning count", (count,))
        return int(last) - count + 1

    def count(self, lane: int, state: int, difference: int) -> None:
        """Note that so many jobs more (or fewer) stand here."""
        key = (lane, state)
        self._tally[key] = self._tally.get(key, 0) + difference

    def noted(self, state: int) -> int:
        """The difference noted so far for a state, in all lanes."""
        return sum(difference for (_, at), difference in self._tally.items() if at == state)

    def flush_counts(self) -> None:
        """Write the noted differences; the last thing before the commit."""
        rows = [(lane, state, difference) for (lane, state), difference in self._tally.items() if difference]
        self.run_chunks(_COUNT, "(?, ?, ?)", _COUNT_TAIL, (), rows)


_COUNT = "insert into counters (lane, state, count) values "
_COUNT_TAIL = " on conflict (lane, state) do update set count = count + excluded.count"

_statements: dict[tuple[str, str, str, int], str] = {}


def _repeat(head: str, row: str, tail: str, size: int) -> str:
    key = (head, row, tail, size)
    sql = _statements.get(key)

    if sql is None:
        sql = _statements[key] = head + ", ".join([row] * size) + tail

    return sql
