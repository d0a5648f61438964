"""Worker sessions: their leases, their lifelines, and what a heartbeat is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from cherga.brokers.sqlite.rows import ID_BYTES
from cherga.brokers.sqlite.write import Write
from cherga.rules.reading import read_or
from cherga.words.session import Cancel, SessionInfo, Signals

_write_json = msgspec.json.Encoder().encode
_pack_info = msgspec.msgpack.Encoder().encode
_read_info = msgspec.msgpack.Decoder(SessionInfo).decode

_RENEW = """
update sessions set expires = ? where boot = ? and death is null and id in (select value from json_each(?)) returning id
"""

_CANCELS = """
select s.id, j.id, j.token from sessions as s join jobs as j indexed by jobs_cancelling on j.session = s.number
where s.id in (select value from json_each(?)) and j.cancel = 1 and j.state = 4
"""


def read_boot_id() -> str:
    """A text that tells one start of this machine from another; empty where it does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


BOOT_ID = read_boot_id()
LONGEST_LEASE = 3600.0
"""Seconds. One that ends later than this, or than ten of our own, is not of this start of a machine that tells none apart."""


def is_of_another_boot(boot: str, expires: float, uptime: float, lease: float, ours: str = BOOT_ID) -> bool:
    """True when a session, with the boot and the end of its lease that are stored, began before the machine was started anew.

    macOS and Windows do not say which start this is; a lease counted from an earlier one may then end far in the future.
    """
    return boot != ours or (not ours and expires - uptime > max(LONGEST_LEASE, 10 * lease))


def register(write: Write, session: SessionInfo, inode: int | None) -> None:
    """Start the session with a fresh lease, or renew it. ``inode``: of the lock file that the caller holds, if it does."""
    write.run(
        "insert into sessions (id, boot, expires, inode, info) values (?, ?, ?, ?, ?) on conflict (id) do update "
        "set boot = excluded.boot, expires = excluded.expires, inode = ifnull(excluded.inode, inode), info = excluded.info "
        "where death is null",
        (session.id, BOOT_ID, write.uptime + write.settings.lease, inode, _pack_info(session)),
    )


def heartbeat(write: Write, sessions: Sequence[str]) -> Signals:
    """Renew the leases; a session of another boot of the machine is lost."""
    names = _write_json(list(sessions)).decode()
    renewed = write.rows(_RENEW, (write.uptime + write.settings.lease, BOOT_ID, names))
    known = {id for (id,) in renewed}
    rows = write.rows(_CANCELS, (names,))
    cancels = [Cancel(session, UUID(bytes=id), token) for session, id, token in rows if len(id) == ID_BYTES]
    return Signals(tuple(id for id in sessions if id not in known), tuple(cancels))


def read_info(packed: bytes, id: str) -> SessionInfo:
    """The facts that a session told of itself; hardly any when they cannot be read."""
    return read_or(_read_info, packed, SessionInfo(id=id, worker="?", host="?", pid=0))
