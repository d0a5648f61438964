"""Declared and shared values: definitions, firings of schedules, states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from cherga.brokers.sqlite.push import push_groups
from cherga.brokers.sqlite.spoilt import read_text
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.words.limits import LIMIT, OVERRIDE
from cherga.words.push import NewJob
from cherga.words.schedule import SCHEDULE
from cherga.words.shared import Definition, Shared

_DEFINE = "insert or replace into definitions (kind, name, version, data, stamp) values (?, ?, ?, ?, ?)"

_DEFINITIONS = (
    "select cast(name as blob), data, version, cast(stamp as blob) from definitions where kind = ?1 and length(data) > 0"
)

_write_json = msgspec.json.Encoder().encode


def define(write: Write, definitions: Sequence[Definition]) -> None:
    """Store what is declared, and take back what has no data; a lower version never replaces a higher one."""
    for one in definitions:
        known = write.row("select stamp, version from definitions where kind = ? and name = ?", (one.kind, one.name))

        if known is not None and known[1] > one.version:
            continue

        write.run(_DEFINE, (one.kind, one.name, one.version, one.data, one.stamp))

        if one.kind in {LIMIT, OVERRIDE}:
            write.bells.topics.add(Topic.READY)

        if one.kind == SCHEDULE:
            write.bells.topics.add(Topic.DUE)

            if not one.data or (known is not None and known[0] != one.stamp):
                write.run("delete from ticks where schedule = ?", (one.name,))


def list_definitions(db: apsw.Connection, kind: str, names: Sequence[str]) -> list[Definition]:
    """The definitions of a kind, all or those named, without what was taken back."""
    restriction = "and name in (select value from json_each(?2))" if names else ""
    bindings = (kind, _write_json(list(names)).decode()) if names else (kind,)
    rows = db.execute(f"{_DEFINITIONS} {restriction} order by name", bindings)
    return [Definition(kind, read_text(name), data, version, read_text(stamp)) for name, data, version, stamp in rows]


def tick(write: Write, schedule: str, due: float, following: float | None, group: Sequence[NewJob]) -> bool:
    """Push the group if this firing is still due, and set the next one."""
    known = write.row("select due from ticks where schedule = ?", (schedule,))

    if known is not None and known[0] != due:
        return False

    write.run("insert or replace into ticks (schedule, due) values (?, ?)", (schedule, following))
    push_groups(write, [group])
    return True


def list_ticks(db: apsw.Connection) -> dict[str, float | None]:
    """The next due time of each schedule."""
    rows: Iterable[Any] = db.execute("select cast(schedule as blob), due from ticks")
    return {read_text(schedule): due for schedule, due in rows}


def load(db: apsw.Connection, keys: Sequence[str]) -> list[Shared]:
    """The shared values in the order asked for."""
    packed = _write_json(list(keys)).decode()
    rows = db.execute("select key, value, version from shared where key in (select value from json_each(?))", (packed,))
    found = {key: Shared(value, version) for key, value, version in rows}
    return [found.get(key, Shared(None, 0)) for key in keys]


def swap(write: Write, key: str, version: int, value: bytes | None) -> bool:
    """Set the value if its version is still this one. A version is never used twice, even after the key was deleted."""
    current = write.value("select version from shared where key = ?", (key,)) or 0

    if current != version:
        return False

    if value is None:
        write.run("delete from shared where key = ?", (key,))
    else:
        row = (key, write.take_numbers(1), value)
        write.run("insert or replace into shared (key, version, value) values (?, ?, ?)", row)

    return True
