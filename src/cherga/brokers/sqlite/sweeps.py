"""Notes of one sweep for dead sessions for the next one, by whichever process that is made."""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.leases import BOOT_ID
from cherga.brokers.sqlite.write import Write
from cherga.rules.reading import read_or

PATIENCE = 1.0
"""Seconds in which whoever started a process that died may name its death, and say whether it was told to end."""

_write_json = msgspec.json.Encoder().encode


class Sweep(Struct, frozen=True):
    """The time of the last reap (seconds since boot), and until when no lease is taken for expired."""

    boot: str = ""
    at: float = 0.0
    patient_until: float = 0.0
    cut: dict[int, float] = {}
    """Sessions, by number, that were found with their lifelines cut, and since when."""

    def is_patient(self) -> bool:
        """Leases must not expire, because nobody swept for longer than two intervals before."""
        return self.at < self.patient_until

    def is_gone(self, session: int) -> bool:
        """The lifeline was found cut long enough ago, and nobody has named the death."""
        return self.at - self.cut.get(session, self.at) >= PATIENCE


_read_sweep = msgspec.json.Decoder(Sweep).decode


def note_sweep(write: Write, cut: Iterable[int]) -> Sweep:
    """Record this sweep and which lifelines it finds cut."""
    last = read_last(write.db)
    gap = write.uptime - last.at
    outage = last.boot != BOOT_ID or gap > 2 * write.settings.sweep or gap < 0
    until = write.uptime + write.settings.lease if outage else min(last.patient_until, write.uptime + write.settings.lease)
    known = last.cut if last.boot == BOOT_ID else {}
    since = {session: min(known.get(session, write.uptime), write.uptime) for session in cut}
    sweep = Sweep(BOOT_ID, write.uptime, until, since)
    write.run("insert or replace into facts (name, value) values ('sweep', ?)", (_write_json(sweep).decode(),))
    return sweep


def read_last(db: apsw.Connection) -> Sweep:
    """The last sweep; one that tells nothing when there was none."""
    stored = db.execute("select cast(value as blob) from facts where name = 'sweep'").get

    return read_or(_read_sweep, stored or None, Sweep())
