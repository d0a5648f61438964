"""The opened file: one connection that writes, some that read, and what belongs to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import apsw

from cherga.brokers.sqlite.address import Address
from cherga.brokers.sqlite.connection import CHECKPOINT_PAGES, Patience, Readers, Watch, clean_up_at_end, connect
from cherga.brokers.sqlite.declared import LastRules
from cherga.brokers.sqlite.doorbell import Doorbell
from cherga.brokers.sqlite.faults import explain, translated
from cherga.brokers.sqlite.folder import LiveFolder
from cherga.brokers.sqlite.forks import with_forks_kept_out
from cherga.brokers.sqlite.lanes import Lanes
from cherga.brokers.sqlite.lifelines import Lifelines
from cherga.brokers.sqlite.limits import ring_freed_slots
from cherga.brokers.sqlite.log import FRAME_HEAD, SYNC, Log
from cherga.brokers.sqlite.place import Files, Space, live_folder, prepare
from cherga.brokers.sqlite.schema import set_up
from cherga.brokers.sqlite.turns import Naps, Transaction, find_turn
from cherga.brokers.sqlite.write import Write
from cherga.rules.settings import BrokerSettings
from cherga.words.clock import SystemClock

T = TypeVar("T")
Work = Callable[[Write], T]


class Store:
    """The whole of what a process holds of a file. Of no use in a forked child, which opens its own."""

    def __init__(self, address: Address, settings: BrokerSettings, create: bool = True) -> None:
        self.address = address
        self.path = address.path
        self.settings = settings
        self.pid = os.getpid()
        self._identity = prepare(self.path, create)
        self.turn = find_turn(self._identity)
        self.lanes = Lanes()
        self.rules = LastRules()
        self.plain: dict[int, int] = {}
        """The lanes of plain jobs claimed here, by claim token, until they are settled."""
        self._patience = Patience(settings.busy_timeout)

        with self.turn.lock, translated(self.path):
            with_forks_kept_out(self._open)

        self._folder = LiveFolder(live_folder(self.path))
        self.doorbell = Doorbell(self._folder)
        self.lifelines = Lifelines(self._folder)

    def write(
        self, work: Work[T], offset: float, lasting: bool = True, growing: bool = False, deadline: float | None = None
    ) -> T:
        """The answer of ``work`` in a write transaction; at its end everything is stored and rung, or, after an error, nothing.

        ``lasting``: what is acknowledged survives a power cut, where the URL asks for that. What may be lost in one (a
        claim, a lease) costs no sync of its own; what is to be synced afterwards (``Log.sync``) does not either. ``growing``:
        it needs room for new jobs, else ``BrokerFull``. ``deadline``: until when it waits for others, else ``busy_timeout``
        from now. ``work`` may be called again (``Transaction``).
        """
        if deadline is None:
            deadline = SystemClock.monotonic() + self.settings.busy_timeout

        durable = lasting and self.address.durable

        try:
            value, write = self.turn.hold(lambda: self._write_in_turn(work, offset, durable, growing, deadline), deadline)
        except apsw.Error as error:
            raise explain(error, self.path) from error

        self.doorbell.ring(write.bells)
        return value

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """The answer of ``work``, which sees one state of the file throughout, and waits for no writer."""
        self.files.check()

        with translated(self.path):
            return with_forks_kept_out(lambda: self.readers.read(work))

    def watch(self) -> Watch:
        """Something that tells whether anybody has written to the file."""
        self.files.check()

        with translated(self.path):
            return Watch(self.path, self.settings.busy_timeout)

    def close(self) -> None:
        """Close the connections and let go of the locks of sessions registered here."""
        self.lifelines.close()

        with self.turn.lock, translated(self.path):
            self.readers.close()
            clean_up_at_end(self._db, self.turn.locks.leave() and self.files.stand)

            for db in (*self._spare, self._db):
                db.close()

            self.turn.close()
            self.log.close()

        self.doorbell.close()
        self._folder.close()

    def _open(self) -> None:
        self._db = connect(self.path, self._patience)
        self._spare: list[apsw.Connection] = []
        """Connections of writes that come in the middle of others, on the same thread."""
        self._levels: dict[int, str] = {}
        self.readers = Readers(self._connect_to_read)

        try:
            set_up(self._db, self.path, self.settings)
            self.files = Files(self.path, self._identity)
            self._space = Space(self.path, self.files.log, self.address.watermark)
            self.turn.locks.join(self.path, Naps(SystemClock.monotonic() + self.settings.busy_timeout).nap)
            self.log = Log(
                self.files.log,
                CHECKPOINT_PAGES * (self._db.pragma("page_size") + FRAME_HEAD),
                SYNC if self.address.durable else None,
            )
        except BaseException:
            self._db.close()
            raise

    def _connect_to_read(self) -> apsw.Connection:
        db = connect(self.path, Patience(self.settings.busy_timeout), reading=True)
        self.files.check()
        return db

    def _write_in_turn(self, work: Work[T], offset: float, durable: bool, growing: bool, deadline: float) -> tuple[T, Write]:
        turn, outer = self.turn, self.turn.under_way

        try:
            self.files.check()

            if growing:
                self._space.check()

            transaction = turn.under_way = Transaction(self._connection(outer), outer)
            self._patience.deadline = deadline
            turn.take(deadline, self.doorbell, nested=outer is not None)
            return with_forks_kept_out(lambda: self._carry_out(transaction, work, offset, durable))
        finally:
            turn.under_way = outer

            if outer is None and turn.locks.held:
                turn.locks.free()

                if turn.number:
                    turn.call_next()

    def _carry_out(self, transaction: Transaction, work: Work[T], offset: float, durable: bool) -> tuple[T, Write]:
        db = transaction.db
        transaction.undo_outer()

        if transaction.outer is not None:
            self._forget()  # what it had written is undone with it

        self._mend_log(db)
        self._set_synchronous(transaction, "full" if durable else "normal")

        while True:
            try:
                db.execute("begin immediate")

                if self.log.can_sync:
                    self.log.make_longer()

                write = self._begin(db, offset)
                value = work(write)
                write.flush_counts()
                ring_freed_slots(write)
                db.execute("commit")
                return value, write
            except BaseException as error:
                self._forget()  # before others may give its numbers away

                if db.in_transaction:
                    db.execute("rollback")

                if not transaction.undone or not isinstance(error, Exception):
                    raise

                transaction.begin_again()

    def _forget(self) -> None:
        self.lanes.forget()
        self.rules.forget()

    def _mend_log(self, db: apsw.Connection) -> None:
        """After a failed sync there may be a gap in the log on the disk: bring all of it into the file, and begin it anew."""
        if self.log.doubtful:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            self.log.doubtful = False

    def _connection(self, outer: Transaction | None) -> apsw.Connection:
        if outer is None:
            return self._db

        while len(self._spare) <= outer.depth:
            self._spare.append(connect(self.path, self._patience))

        return self._spare[outer.depth]

    def _begin(self, db: apsw.Connection, offset: float) -> Write:
        now, uptime = SystemClock.now() + offset, SystemClock.uptime() + offset
        return Write(db, self.lanes, self.rules, self.settings, now, uptime)

    def _set_synchronous(self, transaction: Transaction, level: str) -> None:
        if level != self._levels.get(transaction.depth):
            transaction.db.execute(f"pragma synchronous = {level}")
            self._levels[transaction.depth] = level
