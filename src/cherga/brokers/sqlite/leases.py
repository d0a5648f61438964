"""Worker sessions: their leases, their lifelines, and what a heartbeat is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from cherga.brokers.sqlite.write import Write
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
    """What tells one start of this machine from another; empty where it does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


BOOT_ID = read_boot_id()


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
    cancels = [Cancel(session, UUID(bytes=id), token) for session, id, token in write.rows(_CANCELS, (names,))]
    return Signals(tuple(id for id in sessions if id not in known), tuple(cancels))


def read_info(packed: bytes, id: str) -> SessionInfo:
    """What a session said of itself; hardly anything when that cannot be read."""
    try:
        return _read_info(packed)
    except msgspec.DecodeError:
        return SessionInfo(id=id, worker="?", host="?", pid=0)
