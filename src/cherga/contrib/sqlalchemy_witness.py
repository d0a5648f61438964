"""A witness of enqueues in the middle of somebody's transaction, for applications that follow none: it warns once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from cherga.client.departure import refuse_wish
from cherga.client.leaving import logger
from cherga.contrib.sqlalchemy_sessions import has_written, listen_for_open_sessions, open_sessions
from cherga.words.departure import When, Wish


class Witness:
    """Holds nothing; a ``Departure``. It sees the transactions that begin after it was made, in the same thread or task."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._warned = False
        listen_for_open_sessions()

    def find_unit(self, wish: Wish | None) -> None:
        """There is none: every enqueue leaves at once. Raises ``ConfigError`` for a wish that needs one."""
        if wish is None and not self._warned and any(map(_is_dirty, open_sessions())):
            self._warned = True
            logger.warning(
                "a job was enqueued while a session of SQLAlchemy had changes that are not committed: a worker may start it "
                "before they are, and a rollback does not take it back; let jobs wait for the commit with "
                "cherga.contrib.sqlalchemy.follow(app, Session), in Flask with Cherga(app, sqlalchemy=Session), or say "
                "using(when='now') where it is meant (this is said once)",
                extra={"action": "departure.unfollowed"},
            )
        elif wish is not None and not (wish.when is When.NOW and wish.session is None):
            refuse_wish(self._name)

    def find(self, id: UUID) -> Any:
        """Nothing is held."""
        return None


def _is_dirty(session: Session) -> bool:
    return has_written(session, session.get_transaction()) or bool(session.new or session.dirty or session.deleted)
