"""Flask-SQLAlchemy: which session is the current one, and where the outbox is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import has_app_context
from sqlalchemy.orm import Session, scoped_session

from cherga.client.app import QueueTasks
from cherga.contrib.sqlalchemy_departure import HoldScope, SessionDeparture
from cherga.contrib.sqlalchemy_outbox import Outbox, OutboxRelay, outbox_table
from cherga.contrib.sqlalchemy_sessions import Find, engine_of, finder_of
from cherga.words.departure import When
from cherga.words.errors import ConfigError


def make_departure(cherga: QueueTasks, sqlalchemy: Any, when: When, find_scope: Callable[..., Any]) -> SessionDeparture:
    """The departure for Flask-SQLAlchemy's object, or for what else makes sessions. Raises ``ConfigError``."""
    sessions = getattr(sqlalchemy, "session", sqlalchemy)
    metadata = getattr(sqlalchemy, "metadata", None)
    outbox = _outbox(cherga, metadata, when)
    departure = SessionDeparture(cherga, _finder(sessions), when, lambda: find_scope(make_scope), outbox)

    def make_scope() -> HoldScope:
        return HoldScope(departure.leaving)

    if outbox is not None:
        departure.relay = OutboxRelay(cherga, outbox, lambda: engine_of(sessions, outbox.table))
        departure.relay.connect()

    return departure


def _finder(sessions: Any) -> Find:
    find = finder_of(sessions)

    if not isinstance(sessions, scoped_session):
        return find

    def find_inside(make: bool) -> Session | None:
        return find(make) if has_app_context() else None

    return find_inside


def _outbox(cherga: QueueTasks, metadata: Any, when: When) -> Outbox | None:
    """The outbox, where there is a table for it."""
    if when is When.OUTBOX and not isinstance(metadata, sa.MetaData):
        raise ConfigError(
            "expected Flask-SQLAlchemy's object for when='outbox', as in Cherga(app, sqlalchemy=db, when='outbox')"
        )

    is_wanted = when is When.OUTBOX or (isinstance(metadata, sa.MetaData) and "cherga_outbox" in metadata.tables)
    return Outbox(cherga, outbox_table(metadata)) if is_wanted else None
