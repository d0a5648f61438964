"""The async half of SQLAlchemy, which needs greenlet: where that is missing, nothing is an async session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.orm import Session

from cherga.client.leaving import Await

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession as AsyncSession
    from sqlalchemy.ext.asyncio import async_scoped_session as async_scoped_session
    from sqlalchemy.ext.asyncio import async_session as async_session
    from sqlalchemy.ext.asyncio import async_sessionmaker as async_sessionmaker
    from sqlalchemy.util import await_only
    from sqlalchemy.util import greenlet_spawn as in_async
else:
    try:
        import greenlet  # noqa: F401 # SQLAlchemy imports it when it is used, and fails there
        from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_session, async_sessionmaker
        from sqlalchemy.util import await_only
        from sqlalchemy.util import greenlet_spawn as in_async
    except ImportError:

        class AsyncSession: ...

        class async_scoped_session: ...

        class async_sessionmaker: ...

        def async_session(session: Any) -> None:
            """There is none."""

        await_only = in_async = None


def waiting(session: Session) -> Await | None:
    """The way to wait without holding up a loop, where one runs this session, else None."""
    return cast("Await", await_only) if async_session(session) is not None else None


__all__ = ["AsyncSession", "async_scoped_session", "async_session", "async_sessionmaker", "in_async", "waiting"]
