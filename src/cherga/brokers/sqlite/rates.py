"""The logs of starts under limits with a rate, as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import apsw
import msgspec

from cherga.brokers.sqlite.held import Held
from cherga.brokers.sqlite.write import Write
from cherga.rules.rates import Starts, taken_back
from cherga.rules.reading import read_or

_LOGS = """
select json_group_array(json_array(name, hex(log))) from rates where name in (select value from json_each(?))
"""

_STORE = "insert into rates (name, log, expires) values "
_STORE_TAIL = " on conflict (name) do update set log = excluded.log, expires = excluded.expires"

_write_names = msgspec.json.Encoder().encode
_read_rows = msgspec.json.Decoder(list[tuple[str, str]]).decode
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[tuple[float, int], ...]).decode


def read_logs(db: apsw.Connection, names: Iterable[str]) -> dict[str, Starts]:
    """The jobs that have started under these limits; limits under which none has are left out."""
    rows = _read_rows(db.execute(_LOGS, (_write_names(list(names)).decode(),)).get)
    return {name: _decode(bytes.fromhex(log)) for name, log in rows}


def store_logs(write: Write, logs: Mapping[str, Starts], periods: Mapping[str, float]) -> None:
    """Keep these logs for as long as they matter."""
    rows = [(name, _pack(log), write.now + periods[name]) for name, log in logs.items()]
    write.run_chunks(_STORE, "(?, ?, ?)", _STORE_TAIL, (), rows)


def take_start_back(write: Write, held: Held) -> None:
    """The job was handed out and is given back before it began: it has not started after all."""
    place = write.lanes.get(write.db, held.lane) if write.value("select exists (select 1 from rates)") else None

    for name, log in read_logs(write.db, place.names).items() if place is not None else ():
        write.run("update rates set log = ? where name = ?", (_pack(taken_back(log, 1, held.started_at)), name))


def forget_old(write: Write) -> None:
    """Delete the logs that do not matter any more."""
    write.run("delete from rates where expires <= ?", (write.now,))


def _decode(log: bytes) -> Starts:
    """The starts that are stored; none when they cannot be read."""
    return read_or(_unpack, log, ())
