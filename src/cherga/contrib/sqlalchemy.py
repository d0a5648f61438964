"""SQLAlchemy: jobs leave with the caller's transaction, and a job gets a session of its own.

``follow(app, Session)`` lets an enqueue inside an open transaction wait for its commit; ``job_session(Session)`` is for tasks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, TypeVar, overload

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from cherga.client.app import QueueTasks
from cherga.client.order import check_when
from cherga.contrib.sqlalchemy_async import AsyncSession, async_sessionmaker
from cherga.contrib.sqlalchemy_departure import SessionDeparture, current_scope
from cherga.contrib.sqlalchemy_outbox import Outbox, OutboxRelay, outbox_table
from cherga.contrib.sqlalchemy_sessions import Sessions, engine_of, finder_of
from cherga.words.errors import ConfigError

__all__ = ["follow", "job_session", "outbox_table"]

S = TypeVar("S", bound=Session)
A = TypeVar("A", bound=AsyncSession)


def follow(app: QueueTasks, sessions: Sessions, *, when: str = "commit", metadata: sa.MetaData | None = None) -> None:
    """Let jobs that are enqueued while a transaction of these sessions is open leave when it commits, else never.

    ``when`` is the default of ``using(when=…)``: ``commit``, ``now``, or ``outbox``, for which ``metadata`` gets the table
    ``cherga_outbox``. A second call for an application replaces the first. With Flask, ``Cherga(app, sqlalchemy=db)`` does
    this. Raises ``ConfigError``.
    """
    if hasattr(app, "flask_app"):
        raise ConfigError("expected Cherga(app, sqlalchemy=…) in Flask, which knows where a request ends, got follow(…)")

    outbox = None if metadata is None else Outbox(app, outbox_table(metadata))
    departure = SessionDeparture(app, finder_of(sessions), check_when(when), current_scope, outbox)

    if isinstance(app.departure, SessionDeparture):
        app.departure.disconnect()

    app.departure = departure
    app.around_job.append(departure.job_scope)

    if outbox is not None:
        departure.relay = OutboxRelay(app, outbox, lambda: engine_of(sessions, outbox.table))
        departure.relay.connect()


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

                if session.in_transaction():
                    await session.commit()

        return open_async_session

    def open_session() -> Iterator[Session]:
        with sessions() as session:
            yield session

            if session.in_transaction():
                session.commit()

    return open_session
