"""SQLAlchemy: jobs leave with the caller's transaction, and a job gets a session of its own.

``follow(app, Session)`` lets an enqueue inside an open transaction wait for its commit; ``job_session(Session)`` is for tasks.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar, overload
from uuid import UUID
from weakref import ReferenceType, finalize, ref

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker

from cherga.client.app import QueueTasks
from cherga.client.departure import At, Hold
from cherga.client.handle import Job
from cherga.client.leaving import Await, Leaving, logger, shown_ids
from cherga.client.order import check_when
from cherga.contrib.sqlalchemy_async import AsyncSession, async_scoped_session, async_session, async_sessionmaker, waiting
from cherga.contrib.sqlalchemy_outbox import Outbox, OutboxRelay, outbox_table
from cherga.words.departure import When, Wish
from cherga.words.errors import ConfigError

__all__ = ["follow", "job_session", "outbox_table"]

Sessions = Any
"""A maker or holder of sessions: a ``sessionmaker``, a ``scoped_session``, their async twins, a class of sessions, or one."""

S = TypeVar("S", bound=Session)
A = TypeVar("A", bound=AsyncSession)

_HOLDS = "cherga_holds"
_WROTE = "cherga_wrote"
"""Keys in ``session.info``: the jobs that it holds, and whether something was written in its transaction."""


def follow(app: QueueTasks, sessions: Sessions, *, when: str = "commit", metadata: sa.MetaData | None = None) -> None:
    """Let jobs that are enqueued while a transaction of these sessions is open leave when it commits, else never.

    ``when`` is the default of ``using(when=…)``: ``commit``, ``now``, or ``outbox``, for which ``metadata`` gets the table
    ``cherga_outbox``. A second call for an application replaces the first. With Flask, ``Cherga(app, sqlalchemy=db)`` does
    this. Raises ``ConfigError``.
    """
    if hasattr(app, "flask_app"):
        raise ConfigError("expected Cherga(app, sqlalchemy=…) in Flask, which knows where a request ends, got follow(…)")

    outbox = None if metadata is None else Outbox(app, outbox_table(metadata))
    departure = SessionDeparture(app, finder_of(sessions), check_when(when), _current_scope, outbox)

    if isinstance(app.departure, SessionDeparture):
        app.departure.disconnect()

    app.departure = departure
    app.around_job.append(departure.job_scope)

    if outbox is not None:
        departure.relay = OutboxRelay(app, outbox, lambda: engine_of(sessions, outbox.table))
        departure.relay.connect()


# --- which session is meant

Find = Callable[[bool], Session | None]
"""Gives the current session; with True, one is made where there is none and that can be done."""


def finder_of(sessions: Sessions) -> Find:
    """The way to the current session. Raises ``ConfigError`` for what has no sessions."""
    if isinstance(sessions, scoped_session | async_scoped_session):
        return lambda make: as_sync(sessions()) if make or sessions.registry.has() else None

    if isinstance(sessions, Session | AsyncSession):
        return lambda make: as_sync(sessions)

    kind = sessions.class_ if isinstance(sessions, sessionmaker | async_sessionmaker) else sessions

    if not (isinstance(kind, type) and issubclass(kind, Session | AsyncSession)):
        raise ConfigError(f"expected a sessionmaker, a scoped_session, db.session or a Session to follow, got {sessions!r}")

    listen_for_open_sessions()
    return lambda make: _newest_open(kind)


def as_sync(session: Any) -> Session:
    """The session itself, or the one inside an ``AsyncSession``. Raises ``ConfigError`` for what is none."""
    if isinstance(session, scoped_session | async_scoped_session):
        session = session()

    found = session.sync_session if isinstance(session, AsyncSession) else session

    if not isinstance(found, Session):
        raise ConfigError(f"expected session to be a Session or an AsyncSession of SQLAlchemy, got {session!r}")

    return found


_open: ContextVar[tuple[ReferenceType[Session], ...]] = ContextVar("cherga_open_sessions", default=())
"""The sessions whose transactions began in this thread, task or context, the newest last."""


def _note_open(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        others = tuple(each for each in _open.get() if (other := each()) is not session and other and other.in_transaction())
        _open.set((*others, ref(session)))


def open_sessions() -> Iterator[Session]:
    """The sessions whose transactions are open here, the newest first."""
    for each in reversed(_open.get()):
        session = each()

        if session is not None and session.in_transaction():
            yield session


def _newest_open(kind: type) -> Session | None:
    return next((session for session in open_sessions() if _is_of(session, kind)), None)


def _is_of(session: Session, kind: type) -> bool:
    if issubclass(kind, Session):
        return isinstance(session, kind)

    return isinstance(async_session(session), kind)


# --- where an enqueue belongs


class Scope:
    """A request or a job: what it still holds at its end leaves then, or is dropped after an error."""

    def __init__(self, leaving: Leaving) -> None:
        self.holds: list[Hold] = []
        self._leaving = leaving

    def end(self, error: BaseException | None) -> None:
        """The request or the job is over."""
        left = [hold for hold in self.holds if hold.at is At.TRANSACTION]
        self.holds.clear()

        if error is None:
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
        find_scope: Callable[[], Scope | None],
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
        scope = Scope(self.leaving)
        token = _scope.set(scope)

        try:
            yield
        except BaseException as error:
            scope.end(error)
            raise
        finally:
            _scope.reset(token)

        scope.end(None)


_scope: ContextVar[Scope | None] = ContextVar("cherga_scope", default=None)
_current_scope = _scope.get


class Entry(Struct):
    """An enqueue, the transaction that it follows, and the request or job in which it was made."""

    hold: Hold
    transaction: SessionTransaction
    scope: Scope | None
    written: bool = False
    """The enqueue stands in the outbox."""


class SessionHolds:
    """The jobs that one session holds."""

    def __init__(self, departure: SessionDeparture) -> None:
        self.departure = departure
        self.entries: list[Entry] = []
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
            self._let_go(entries, committed, has_written(session), waiting(session))

    def _let_go(self, entries: Sequence[Entry], committed: bool, wrote: bool, wait: Await | None) -> None:
        holds = [entry.hold for entry in entries if entry.hold.at is At.TRANSACTION]

        if committed:
            self._send(entries, holds, wait)
            return

        # Closed with no word. The request or job around it knows how it ends; without one, what was written is lost.
        alone = [entry.hold for entry in entries if entry.scope is None and entry.hold.at is At.TRANSACTION]

        if alone and (wrote or sys.exc_info()[0] is not None):
            drop_loudly(alone)
        else:
            self.departure.leaving.send(alone, wait=wait)

    def _send(self, entries: Sequence[Entry], holds: Sequence[Hold], wait: Await | None) -> None:
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

        held.entries.append(Entry(hold, transaction, scope))
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
    _listen_for_writes()


@cache
def _listen_for_writes() -> None:
    event.listen(Session, "after_flush", _note_written)
    event.listen(Session, "after_attach", _note_written)
    event.listen(Session, "after_transaction_end", _after_end)


@cache
def listen_for_open_sessions() -> None:
    """Know from now on which sessions are open where, and whether they have written."""
    event.listen(Session, "after_transaction_create", _note_open)
    _listen_for_writes()


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

    if transaction.parent is None:
        session.info.pop(_WROTE, None)


def _note_written(session: Session, what: object) -> None:
    session.info[_WROTE] = True


def has_written(session: Session) -> bool:
    """True when something was added or flushed in its transaction."""
    return _WROTE in session.info


# --- a session for each job


@overload
def job_session(sessions: sessionmaker[S]) -> Callable[[], Iterator[S]]: ...
@overload
def job_session(sessions: async_sessionmaker[A]) -> Callable[[], AsyncIterator[A]]: ...
def job_session(sessions: Any) -> Any:
    """A dependency that gives each job a session of its own: ``session: Session = Depends(job_session(SessionLocal))``.

    It commits when the job's function has returned, rolls back when that has raised, and is closed either way; a commit that
    fails fails the attempt. An ``async_sessionmaker`` gives an ``AsyncSession``. Raises ``ConfigError``.
    """
    if not isinstance(sessions, sessionmaker | async_sessionmaker):
        raise ConfigError(
            f"expected a sessionmaker or an async_sessionmaker, got {sessions!r}; make one with sessionmaker(engine)"
        )

    return _dependency(sessions)


@cache
def _dependency(sessions: sessionmaker[Any] | async_sessionmaker[Any]) -> Callable[[], Any]:
    """The dependency of a maker, one for each, so that a job which needs it twice has one session."""
    if isinstance(sessions, async_sessionmaker):

        async def open_async_session() -> AsyncIterator[AsyncSession]:
            async with sessions() as session:
                yield session
                await session.commit()

        return open_async_session

    def open_session() -> Iterator[Session]:
        with sessions() as session:
            yield session
            session.commit()

    return open_session


# --- the database of the outbox


def engine_of(sessions: Sessions, table: sa.Table) -> sa.Engine:
    """The engine of the database that the outbox is in."""
    one = isinstance(sessions, Session | AsyncSession)
    make: Any = getattr(sessions, "session_factory", sessions)
    session = as_sync(sessions if one else make())
    bind = session.get_bind(clause=table)

    if not one:
        session.close()

    return bind.engine
