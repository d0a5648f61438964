"""The opened file: one connection that writes, some that read, and what belongs to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from cherga.brokers.sqlite.address import Address
from cherga.brokers.sqlite.connection import Readers, Watch, connect
from cherga.brokers.sqlite.declared import LastRules
from cherga.brokers.sqlite.doorbell import Doorbell
from cherga.brokers.sqlite.faults import translated
from cherga.brokers.sqlite.folder import LiveFolder
from cherga.brokers.sqlite.forks import find_turn, forks_kept_out
from cherga.brokers.sqlite.lanes import Lanes
from cherga.brokers.sqlite.lifelines import Lifelines
from cherga.brokers.sqlite.limits import ring_freed_slots
from cherga.brokers.sqlite.place import check_identity, check_space, prepare
from cherga.brokers.sqlite.schema import set_up
from cherga.brokers.sqlite.write import Write
from cherga.rules.settings import BrokerSettings
from cherga.words.clock import SystemClock


class Store:
    """Everything that one process holds of one file. Of no use in a forked child, which opens its own."""

    def __init__(self, address: Address, settings: BrokerSettings) -> None:
        self.address = address
        self.path = address.path
        self.settings = settings
        self.pid = os.getpid()
        self.turn = find_turn(self.path)
        self.lanes = Lanes()
        self.rules = LastRules()
        self.plain: dict[int, int] = {}
        """The lanes of plain jobs claimed here, by claim token, until they are settled."""
        self._synchronous = ""

        with self.turn, forks_kept_out(), translated(self.path):
            self._open()

        self._folder = LiveFolder(self.path.with_name(f"{self.path.name}-live"))
        self.doorbell = Doorbell(self._folder)
        self.lifelines = Lifelines(self._folder)

    @contextmanager
    def write(self, offset: float, lasting: bool = True, growing: bool = False) -> Iterator[Write]:
        """A write transaction; at its end everything is stored and rung, or, after an error, nothing.

        ``lasting``: what is acknowledged survives a power cut, where the URL asks for that. What may be lost in one (a
        claim, a lease) costs no sync of its own. ``growing``: it needs room for new jobs, else ``BrokerFull``.
        """
        with self.turn, forks_kept_out(), translated(self.path):
            check_identity(self.path, self.identity)

            if growing:
                check_space(self.path, self.address.watermark)

            self._undo_leftover()
            self._set_synchronous("full" if lasting and self.address.durable else "normal")
            self._db.execute("begin immediate")

            try:
                write = self._begin(offset)
                yield write
                write.flush_counts()
                ring_freed_slots(write)
                self._db.execute("commit")
            except BaseException:
                self._undo()
                raise

        self.doorbell.ring(write.bells)

    @contextmanager
    def read(self) -> Iterator[apsw.Connection]:
        """A connection to read from; it sees one state of the file throughout and waits for no writer."""
        check_identity(self.path, self.identity)

        with forks_kept_out(), translated(self.path), self.readers.borrow() as db:
            yield db

    def watch(self) -> Watch:
        """Something that tells whether anybody has written to the file."""
        with translated(self.path):
            return Watch(self.path, self.settings.busy_timeout)

    def close(self) -> None:
        """Close the connections and let go of the locks of sessions registered here."""
        self.doorbell.close()
        self.lifelines.close()
        self._folder.close()

        with self.turn, translated(self.path):
            self.readers.close()
            self._db.close()

    def _open(self) -> None:
        self.identity = prepare(self.path)
        self._db = connect(self.path, self.settings.busy_timeout)
        self.readers = Readers(self.path, self.settings.busy_timeout)

        try:
            set_up(self._db, self.path, self.settings)
        except BaseException:
            self._db.close()
            raise

        check_identity(self.path, self.identity)

    def _begin(self, offset: float) -> Write:
        now, uptime = SystemClock.now() + offset, SystemClock.uptime() + offset
        return Write(self._db, self.lanes, self.rules, self.settings, now, uptime)

    def _set_synchronous(self, level: str) -> None:
        if level != self._synchronous:
            self._db.execute(f"pragma synchronous = {level}")
            self._synchronous = level

    def _undo(self) -> None:
        self.lanes.forget()

        if self._db.in_transaction:
            self._db.execute("rollback")

    def _undo_leftover(self) -> None:
        """A transaction is left open when the thread was stopped between its error and its end."""
        if self._db.in_transaction:
            self._undo()
