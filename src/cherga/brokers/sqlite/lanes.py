"""Lanes: ready jobs of one queue, task, set of limit keys and suspicion stand together and are open or closed together."""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec
from msgspec import Struct

_write_limits = msgspec.json.Encoder().encode
_read_limits = msgspec.json.Decoder(tuple[str, ...]).decode


class Lane(Struct, frozen=True):
    """Which jobs stand here."""

    queue: str
    task: str
    limits: tuple[str, ...] = ()
    suspect: bool = False


class Lanes:
    """The lanes of a file by number and the other way round. A lane never changes and is never removed."""

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}
        self._numbers: dict[tuple[str, str, tuple[str, ...], bool], int] = {}

    def number(self, db: apsw.Connection, queue: str, task: str, limits: tuple[str, ...] = (), suspect: bool = False) -> int:
        """The number of this lane, made when it is new. Within a write transaction alone."""
        number = self._numbers.get((queue, task, limits, suspect))
        return number if number is not None else self._enter(db, Lane(queue, task, limits, suspect))

    def get(self, db: apsw.Connection, number: int) -> Lane | None:
        """The lane of that number; None for one that does not exist."""
        if number not in self._lanes:
            self._learn(db)

        return self._lanes.get(number)

    def at(self, number: int) -> Lane:
        """The lane of that number, which was met before; ``KeyError`` otherwise."""
        return self._lanes[number]

    def suspect_twin(self, db: apsw.Connection, number: int, suspect: bool) -> int:
        """The number of the lane that differs from this one in ``suspect`` alone, or this one."""
        lane = self.get(db, number)

        if lane is None or lane.suspect == suspect:
            return number

        return self.number(db, lane.queue, lane.task, lane.limits, suspect)

    def matching(self, db: apsw.Connection, queue: str | None, task: str | None) -> list[int]:
        """The numbers of all lanes of this queue and task."""
        self._learn(db)
        lanes = list(self._lanes.items())  # readers and the writer share this
        return [number for number, lane in lanes if queue in {None, lane.queue} and task in {None, lane.task}]

    def forget(self) -> None:
        """Learn anew: a transaction was rolled back, and perhaps lanes with it."""
        self._lanes.clear()
        self._numbers.clear()

    def _enter(self, db: apsw.Connection, lane: Lane) -> int:
        key = (lane.queue, lane.task, _write_limits(lane.limits).decode(), lane.suspect)
        db.execute("insert into lanes (queue, task, limits, suspect) values (?, ?, ?, ?) on conflict do nothing", key)
        self._learn(db)
        return self._numbers[lane.queue, lane.task, lane.limits, lane.suspect]

    def _learn(self, db: apsw.Connection) -> None:
        seen = max(self._lanes, default=0)
        self._keep(db.execute("select number, queue, task, limits, suspect from lanes where number > ?", (seen,)))

    def _keep(self, rows: Iterable[tuple[int, str, str, str, int]]) -> None:
        for number, queue, task, limits, suspect in rows:
            lane = Lane(queue, task, _read_limits(limits), bool(suspect))
            self._lanes[number] = lane
            self._numbers[lane.queue, lane.task, lane.limits, lane.suspect] = number
