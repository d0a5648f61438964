"""The transactions of SQLAlchemy as a departure: what a session holds leaves when it commits, and never when it does not.

Read downwards: where an enqueue belongs, what a session holds, and what sessions tell about their transactions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any
from uuid import UUID
from weakref import finalize

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from cherga.client.app import QueueTasks
from cherga.client.departure import At, Hold
from cherga.client.handle import Job
from cherga.client.leaving import Await, Leaving, logger, shown_ids
from cherga.contrib.sqlalchemy_async import waiting
from cherga.contrib.sqlalchemy_outbox import Outbox, OutboxRelay
from cherga.contrib.sqlalchemy_sessions import Find, as_sync, has_written, listen_for_writes
from cherga.words.departure import When, Wish
from cherga.words.errors import ConfigError

_HOLDS = "cherga_holds"
"""The key in ``session.info`` of the jobs that it holds, by their departures."""


class HoldScope:
    """A request or a job: what it still holds at its end leaves then, or is dropped after an error."""

    def __init__(self, leaving: Leaving) -> None:
        self.holds: list[Hold] = []
        self.bereft: list[Hold] = []
        """Those of them whose session was closed without a commit, though it had written something."""
        self._leaving = leaving

    def end(self, error: BaseException | None) -> None:
        """The request or the job is over."""
        left = [hold for hold in self.holds if hold.at is At.TRANSACTION]
        bereft = [hold for hold in self.bereft if hold.at is At.TRANSACTION]
        self.holds.clear()
        self.bereft.clear()

        if error is None:
            if bereft:
                logger.warning(
                    "jobs leave although what their session had written was never committed: %s; commit it, or roll it back, "
                    "which drops them",
                    shown_ids(bereft),
                    extra={"action": "departure.bereft"},
                )

            self._leaving.send(left)
            return

        for hold in left:
            hold.drop(f"its request or job ended in {type(error).__name__}")


class SessionDeparture:
    """Follows the transactions of sessions; a ``Departure``."""

    def __init__(
        self,
        app: QueueTasks,
        find_session: Find,
        when: When,
        find_scope: Callable[[], HoldScope | None],
        outbox: Outbox | None = None,
    ) -> None:
        if when is When.OUTBOX and outbox is None:
            raise ConfigError("expected metadata= together with when='outbox': the table cherga_outbox has to be part of it")

        self.app = app
        self.when = when
        self.outbox = outbox
        self.leaving = Leaving(app)
        self.relay: OutboxRelay | None = None
        """Takes what is left behind in the outbox, while a worker runs in this process."""
        self.find_scope = find_scope
        self._find_session = find_session
        _listen()

    def find_unit(self, wish: Wish | None) -> SessionUnit | None:
        """The transaction that is open in the current session, or in the one that was named."""
        when = self.when if wish is None or wish.when is None else wish.when

        if when is When.NOW:
            return None

        if when is When.OUTBOX and self.outbox is None:
            raise ConfigError(
                "expected an outbox for when='outbox': make the table part of your metadata with "
                "Cherga(app, sqlalchemy=db, when='outbox'), or follow(app, Session, metadata=Base.metadata)"
            )

        session = self._session_of(wish)
        return None if session is None or not session.is_active else SessionUnit(self, session, when is When.OUTBOX)

    def _session_of(self, wish: Wish | None) -> Session | None:
        """The session whose transaction is to be followed. One that was asked for is begun where nothing is open."""
        if wish is None:
            session = self._find_session(False)
            return session if session is not None and session.in_transaction() else None

        session = self._find_session(wish.when is not None) if wish.session is None else as_sync(wish.session)

        if session is not None and not session.in_transaction():
            if wish.when is None and wish.session is None:
                return None

            session.begin()

        if session is None and wish.when is not None:
            raise ConfigError(
                f"expected an open session for when={wish.when.value!r}, and found none here; begin its transaction first, or "
                "name it with using(session=…)"
            )

        return session

    def find(self, id: UUID) -> Job[Any] | None:
        """The handle of a job that the current request, job or session holds."""
        scope = self.find_scope()
        session = self._find_session(False)
        holds = [*(scope.holds if scope else ()), *(holds_of(session, self).holds if session is not None else ())]
        return next((handle for hold in holds if (handle := hold.find(id)) is not None), None)

    def disconnect(self) -> None:
        """Another departure takes the place of this one."""
        self.app.around_job.remove(self.job_scope)

        if self.relay is not None:
            self.relay.disconnect()

    @contextmanager
    def job_scope(self) -> Iterator[None]:
        """For one job: what it still holds at its end leaves, or is dropped with its error."""
        scope = HoldScope(self.leaving)
        token = _scope.set(scope)

        try:
            yield
        except BaseException as error:
            scope.end(error)
            raise
        finally:
            _scope.reset(token)

        scope.end(None)


_scope: ContextVar[HoldScope | None] = ContextVar("cherga_scope", default=None)
current_scope = _scope.get


class HeldEnqueue(Struct):
    """An enqueue, the transaction that it follows, and the request or job in which it was made."""

    hold: Hold
    transaction: SessionTransaction
    scope: HoldScope | None
    written: bool = False
    """The enqueue stands in the outbox."""


class SessionHolds:
    """The jobs that one session holds."""

    def __init__(self, departure: SessionDeparture) -> None:
        self.departure = departure
        self.entries: list[HeldEnqueue] = []
        self.left: list[Hold] = []
        """The same without transactions, for whoever finds that the session is gone."""
        self.committed = False
        self.engine: sa.Engine | None = None
        """The engine of the outbox that was written into."""

    @property
    def holds(self) -> Sequence[Hold]:
        return [entry.hold for entry in self.entries if entry.hold.waits]

    def begin_commit(self, session: Session) -> None:
        """Write what is to be in the outbox into it."""
        outbox = self.departure.outbox

        if outbox is None or not any(entry.hold.outbox for entry in self.entries):
            return

        session.flush()  # hooks of the flush may enqueue too
        wanted = [entry for entry in self.entries if entry.hold.outbox and entry.hold.waits and not entry.written]

        if wanted:
            self.engine = outbox.write(session, [entry.hold for entry in wanted])

        for entry in wanted:
            entry.written = True

    def commit(self, session: Session) -> None:
        """The transaction has committed. What a savepoint holds follows the transaction around that from now on."""
        nested = session.get_nested_transaction()

        if nested is None:
            self.committed = True
        else:
            self._retie(nested)

    def roll_back(self, session: Session) -> None:
        """The transaction has rolled back: what followed it is dropped."""
        ended = session.get_nested_transaction() or session.get_transaction()

        for entry in self.entries:
            if entry.transaction is ended:
                entry.hold.drop("its transaction was rolled back")

    def end(self, session: Session, transaction: SessionTransaction) -> None:
        """The transaction is over, and its connection given back."""
        if transaction.nested:
            self._retie(transaction)
        elif transaction.parent is None:
            entries, self.entries = self.entries, []
            self.left.clear()
            committed, self.committed = self.committed, False
            self._let_go(entries, committed, has_written(session, transaction), waiting(session))

    def _let_go(self, entries: Sequence[HeldEnqueue], committed: bool, wrote: bool, wait: Await | None) -> None:
        holds = [entry.hold for entry in entries if entry.hold.at is At.TRANSACTION]

        if committed:
            self._send(entries, holds, wait)
            return

        for entry in entries if wrote else ():
            if entry.scope is not None:
                entry.scope.bereft.append(entry.hold)

        # Closed with no word. The request or job around it knows how it ends; without one, what was written is lost.
        alone = [entry.hold for entry in entries if entry.scope is None and entry.hold.at is At.TRANSACTION]

        if alone and (wrote or sys.exc_info()[0] is not None):
            drop_loudly(alone)
        else:
            self.departure.leaving.send(alone, wait=wait)

    def _send(self, entries: Sequence[HeldEnqueue], holds: Sequence[Hold], wait: Await | None) -> None:
        written = {id(entry.hold) for entry in entries if entry.written}

        for hold in holds:
            hold.outbox = id(hold) in written  # what was enqueued too late for it is sent all the same

        outbox, engine = self.departure.outbox, self.engine

        def forget(stored: list[Hold]) -> None:
            if outbox is not None and engine is not None:
                outbox.forget(engine, [hold for hold in stored if hold.outbox])

        self.departure.leaving.send(holds, forget, wait)

    def _retie(self, ended: SessionTransaction) -> None:
        for entry in self.entries:
            if entry.transaction is ended and ended.parent is not None:
                entry.transaction = ended.parent


def drop_loudly(holds: Sequence[Hold]) -> None:
    """Drop what still waits for its transaction, and say so: its session was closed, or given up, without a word."""
    left = [hold for hold in holds if hold.at is At.TRANSACTION]

    for hold in left:
        hold.drop("its session was closed without a commit")

    if left:
        logger.warning(
            "jobs were dropped, for their session was closed without a commit: %s; commit it, or enqueue them with "
            "using(when='now')",
            shown_ids(left),
            extra={"action": "departure.dropped"},
        )


class SessionUnit:
    """The open transaction of a session, as one enqueue sees it."""

    def __init__(self, departure: SessionDeparture, session: Session, outbox: bool) -> None:
        self._departure = departure
        self._session = session
        self.outbox = outbox

    @property
    def holds(self) -> Sequence[Hold]:
        """The enqueues that the session holds."""
        return holds_of(self._session, self._departure).holds

    def take(self, hold: Hold) -> None:
        """Hold these jobs until the transaction, and those around it, have committed."""
        session, scope = self._session, self._departure.find_scope()
        transaction = session.get_nested_transaction() or session.get_transaction()

        if transaction is None:
            raise ConfigError("expected the transaction of the session to be open still; begin it again")

        held = session.info.setdefault(_HOLDS, {}).get(self._departure)

        if held is None:
            held = session.info[_HOLDS][self._departure] = SessionHolds(self._departure)
            finalize(session, drop_loudly, held.left)  # also at the end of the process

        held.entries.append(HeldEnqueue(hold, transaction, scope))
        held.left.append(hold)

        if scope is not None:
            scope.holds.append(hold)


def holds_of(session: Session, departure: SessionDeparture) -> SessionHolds:
    """The enqueues that the session holds for this application."""
    found: SessionHolds | None = session.info.get(_HOLDS, {}).get(departure)
    return found or SessionHolds(departure)


# --- what sessions tell


@cache
def _listen() -> None:
    """Hear of the transactions of all sessions, once in a process."""
    event.listen(Session, "before_commit", _before_commit)
    event.listen(Session, "after_commit", _after_commit)
    event.listen(Session, "after_rollback", _after_rollback)
    event.listen(Session, "after_transaction_end", _after_end)
    listen_for_writes()


def _before_commit(session: Session) -> None:
    # Inside a savepoint: what this write is for may be rolled back to it.
    if _HOLDS in session.info and session.get_nested_transaction() is None:
        for held in session.info[_HOLDS].values():
            held.begin_commit(session)


def _after_commit(session: Session) -> None:
    for held in session.info.get(_HOLDS, {}).values():
        held.commit(session)


def _after_rollback(session: Session) -> None:
    for held in session.info.get(_HOLDS, {}).values():
        held.roll_back(session)


def _after_end(session: Session, transaction: SessionTransaction) -> None:
    for held in session.info.get(_HOLDS, {}).values():
        held.end(session, transaction)
