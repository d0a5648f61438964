"""Lanes: ready jobs of one queue, task, set of limit keys and suspicion stand together and are open or closed together.

There are few lanes without limit keys and perhaps very many with them. So the numbers of the latter stand in ranges of their
own: a claim that looks for ready lanes meets the few, and of the many only the first.
"""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.spoilt import pass_over, read_text
from cherga.rules.limits import limit_names
from cherga.rules.reading import UNREADABLE, read_or

KEYED = 1 << 32
"""Lanes with limit keys are numbered from here on. Such a lane is removed when it is empty; its number is never used again."""
HELD = 1 << 33
"""Lanes of jobs that a pause with arguments holds are numbered from here on."""

HOLD = "hold:"
"""The beginning of the key of such a lane; the scope follows."""

LANES_REMEMBERED = 50_000
"""Lanes with limit keys that are remembered by number."""

FILLED = f"""
filled (lane) as (
    select min(lane) from jobs indexed by jobs_ready where state = 2
    union all
    select (select min(lane) from jobs indexed by jobs_ready where state = 2 and lane > filled.lane)
    from filled where lane < {KEYED}
)
"""
"""SQL for the lanes that hold ready jobs, from one to the next: all without limit keys, then the first of the others."""

_INSERT = "insert into lanes (number, queue, task, limits, suspect) values (?, ?, ?, ?, ?) on conflict do nothing"
_FIND = "select number from lanes where queue = ? and task = ? and limits = ? and suspect = ?"
_NUMBER = "update counters set count = count + 1 where lane = 0 and state = 0 returning count"

_SELECT = """
select json_group_array(json_array(number, queue, task, json(limits), suspect)) from lanes where
"""

_SELECT_EACH = """
select number, cast(queue as blob), cast(task as blob), cast(limits as blob), suspect from lanes where
"""

_read_limits = msgspec.json.Decoder(tuple[str, ...]).decode
_write_limits = msgspec.json.Encoder().encode
_write_numbers = msgspec.json.Encoder().encode


class Lane(Struct, frozen=True):
    """The kind of jobs in this lane."""

    queue: str
    task: str
    limits: tuple[str, ...] = ()
    suspect: int = 0
    """The number of its jobs that may run together, because the process of each has died; 0: they are not suspected."""

    @property
    def limit_keys(self) -> tuple[str, ...]:
        """The limit keys of its jobs."""
        return tuple(key for key in self.limits if not key.startswith(HOLD))

    @property
    def hold(self) -> str | None:
        """The scope of the pause that holds its jobs."""
        return next((key.removeprefix(HOLD) for key in self.limits if key.startswith(HOLD)), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The limits that its jobs count for."""
        return limit_names(self.queue, self.task, self.limit_keys)


class _Stored(Struct, frozen=True, array_like=True):
    number: int
    queue: str
    task: str
    limits: tuple[str, ...]
    suspect: int


_read = msgspec.json.Decoder(list[_Stored]).decode


class Lanes:
    """The lanes of a file by number and the other way round. A lane never changes; those without limit keys stay for ever."""

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}
        self._numbers: dict[tuple[str, str, int], int] = {}
        self._keyed: dict[int, Lane] = {}
        self.swept = 0
        """The last lane with limit keys that was looked at whether it is empty."""

    def number(self, db: apsw.Connection, queue: str, task: str, limits: tuple[str, ...] = (), suspect: int = 0) -> int:
        """The number of this lane, made when it is new. Within a write transaction alone."""
        if limits:
            return _find_or_enter(db, Lane(queue, task, limits, suspect))

        number = self._numbers.get((queue, task, suspect))
        return number if number is not None else self._enter(db, Lane(queue, task, (), suspect))

    def get(self, db: apsw.Connection, number: int) -> Lane | None:
        """The lane of that number; None for one that does not exist."""
        if number >= KEYED:
            self.meet(db, [number])
            return self._keyed.get(number)

        if number not in self._lanes:
            self._learn(db)

        return self._lanes.get(number)

    def known(self, number: int) -> Lane | None:
        """The lane of that number without limit keys, if it was met before. Also outside of transactions."""
        return self._lanes.get(number)

    def at(self, number: int) -> Lane:
        """The lane of that number, which was met before; ``KeyError`` otherwise."""
        return self._keyed[number] if number >= KEYED else self._lanes[number]

    def meet(self, db: apsw.Connection, numbers: Iterable[int]) -> None:
        """Read those of these lanes that are not known yet."""
        unknown = [number for number in numbers if number >= KEYED and number not in self._keyed]

        if unknown:
            packed = _write_numbers(unknown).decode()
            self._keep(_select(db, "number in (select value from json_each(?))", packed))

    def trim(self) -> None:
        """Forget those with limit keys when they have become too many."""
        if len(self._keyed) > LANES_REMEMBERED:
            self._keyed.clear()

    def suspect_twin(self, db: apsw.Connection, number: int, suspect: int) -> int:
        """The number of the lane that differs from this one in ``suspect`` alone, or this one."""
        lane = self.get(db, number)

        if lane is None or lane.suspect == suspect:
            return number

        return self.number(db, lane.queue, lane.task, lane.limits, suspect)

    def forget(self) -> None:
        """Learn anew: a transaction was rolled back, and perhaps lanes with it."""
        self._lanes.clear()
        self._numbers.clear()
        self._keyed.clear()

    def _enter(self, db: apsw.Connection, lane: Lane) -> int:
        number = db.execute(f"select ifnull(max(number), 0) + 1 from lanes where number < {KEYED}").get
        db.execute(_INSERT, (number, lane.queue, lane.task, "[]", lane.suspect))
        self._learn(db)
        return self._numbers[lane.queue, lane.task, lane.suspect]

    def _learn(self, db: apsw.Connection) -> None:
        seen = max(self._lanes, default=0)
        self._keep(_select(db, f"number > ? and number < {KEYED}", seen))

    def _keep(self, rows: Iterable[_Stored]) -> None:
        for number, queue, task, limits, suspect in map(_fields, rows):
            lane = Lane(queue, task, limits, suspect)

            if number >= KEYED:
                self._keyed[number] = lane
                continue

            self._lanes[number] = lane

            if not limits:
                self._numbers[queue, task, suspect] = number


def _select(db: apsw.Connection, where: str, binding: object) -> list[_Stored]:
    """The lanes, in one row of JSON, or one by one where one of them cannot be read so."""
    try:
        return _read(db.execute(f"{_SELECT} {where}", (binding,)).get)
    except (*UNREADABLE, apsw.SQLError):
        return [_stored(*row) for row in db.execute(f"{_SELECT_EACH} {where}", (binding,))]


def _stored(number: int, queue: bytes, task: bytes, limits: bytes, suspect: int) -> _Stored:
    """A lane whose limit keys cannot be read has one that nobody else has."""
    known = read_or(_read_limits, limits, None)

    if known is None:
        pass_over("lanes", number)

    return _Stored(number, read_text(queue), read_text(task), (f"?{number}",) if known is None else known, suspect)


def _fields(one: _Stored) -> tuple[int, str, str, tuple[str, ...], int]:
    return one.number, one.queue, one.task, one.limits, max(0, one.suspect)


def _find_or_enter(db: apsw.Connection, lane: Lane) -> int:
    key = (lane.queue, lane.task, _write_limits(lane.limits).decode(), lane.suspect)
    number = db.execute(_FIND, key).get

    if number is None:
        number = db.execute(_NUMBER).get + (KEYED if lane.hold is None else HELD)
        db.execute(_INSERT, (number, *key))

    return int(number)
