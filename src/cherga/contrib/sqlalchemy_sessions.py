"""Sessions of SQLAlchemy: which one is meant by an enqueue, and what has happened in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any
from weakref import ReferenceType, ref

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker

from cherga.contrib.sqlalchemy_async import AsyncSession, async_scoped_session, async_session, async_sessionmaker
from cherga.words.errors import ConfigError

Sessions = Any
"""A maker or holder of sessions: a ``sessionmaker``, a ``scoped_session``, their async twins, a class of sessions, or one."""

_WROTE = "cherga_wrote"
"""The key in ``session.info`` of the last transaction in which something was written."""

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


def engine_of(sessions: Sessions, table: sa.Table) -> sa.Engine:
    """The engine of the database that the outbox is in."""
    one = isinstance(sessions, Session | AsyncSession)
    make: Any = getattr(sessions, "session_factory", sessions)
    session = as_sync(sessions if one else make())
    bind = session.get_bind(clause=table)

    if not one:
        session.close()

    return bind.engine


# --- what sessions tell


@cache
def listen_for_open_sessions() -> None:
    """Know from now on which sessions are open where, and whether they have written."""
    event.listen(Session, "after_transaction_create", _note_open)
    listen_for_writes()


@cache
def listen_for_writes() -> None:
    """Know from now on in which transactions something is written."""
    event.listen(Session, "after_flush", _note_written)
    event.listen(Session, "after_attach", _note_written)


def _note_written(session: Session, what: object) -> None:
    if (transaction := session.get_transaction()) is not None:
        session.info[_WROTE] = ref(transaction)


def has_written(session: Session, transaction: SessionTransaction | None) -> bool:
    """True when something was added or flushed in this transaction."""
    wrote: ReferenceType[SessionTransaction] | None = session.info.get(_WROTE)
    return wrote is not None and wrote() is transaction
