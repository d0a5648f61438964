"""The outbox: a table in the application's own database, into which jobs are written in the transaction that they belong to.

The row is there if and only if the transaction has committed. The process that enqueued pushes the jobs right afterwards and
deletes the row; what a process leaves behind that died in between, every worker takes after a short delay. Jobs keep their ids,
so that the broker knows one that it was given twice.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from cherga.client.app import QueueTasks
from cherga.client.departure import Hold
from cherga.client.mishaps import tell
from cherga.client.signals import Event
from cherga.contrib.sqlalchemy_async import in_async
from cherga.words.errors import ConfigError, EnqueueRefused
from cherga.words.push import NewJob

logger = logging.getLogger("cherga.outbox")

TABLE = "cherga_outbox"
DELAY = 2.0
"""Seconds that a row is left to the process which wrote it."""
EVERY = 2.0
"""Seconds between two looks of a worker process."""
LEASE = 30.0
"""Seconds for which a row that a worker has taken is left to it."""
PAGE = 100

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[NewJob]).decode


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    """The table ``cherga_outbox`` in this metadata, for ``create_all`` and migrations. A second call gives the same."""
    if TABLE in metadata.tables:
        return metadata.tables[TABLE]

    return sa.Table(
        TABLE,
        metadata,
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("application", sa.String(255), nullable=False),
        sa.Column("written_at", sa.Double, nullable=False, index=True),
        sa.Column("taken_until", sa.Double, nullable=False),
        sa.Column("jobs", sa.LargeBinary(2**24 - 1), nullable=False),
        comment="jobs that are on their way to the broker of Cherga",
    )


class Outbox:
    """The rows of one application."""

    def __init__(self, app: QueueTasks, table: sa.Table) -> None:
        self.app = app
        self.table = table
        self._seen: set[str] = set()
        """Databases in which the table was found."""

    def write(self, session: Session, holds: Sequence[Hold]) -> sa.Engine | None:
        """Write these into the transaction of the session; the engine by which to delete them later, where there is one.

        Raises ``ConfigError`` when there is no such table.
        """
        bind = session.get_bind(clause=self.table)
        connection = session.connection(bind_arguments={"clause": self.table})
        self.expect_table(connection)
        connection.execute(self.table.insert(), [self._row(hold.jobs) for hold in holds])
        return bind if isinstance(bind, sa.Engine) else None  # a bare connection may be inside yet another transaction

    def expect_table(self, connection: sa.Connection) -> None:
        """Raise ``ConfigError`` when the database has no outbox."""
        place = connection.engine.url.render_as_string()

        if place in self._seen:
            return

        if not sa.inspect(connection).has_table(TABLE, self.table.schema):
            raise ConfigError(
                f"expected the table {TABLE} in {place}, and it is not there; create it with a migration (flask db migrate, "
                "flask db upgrade; alembic revision --autogenerate, alembic upgrade head), or with create_all()"
            )

        self._seen.add(place)

    def _row(self, jobs: Sequence[NewJob]) -> dict[str, Any]:
        return {
            "id": str(jobs[0].id),
            "application": self.app.name,
            "written_at": self.app.clock.now(),
            "taken_until": 0.0,
            "jobs": _encode(list(jobs)),
        }

    def forget(self, engine: sa.Engine, holds: Sequence[Hold]) -> None:
        """Delete the rows of jobs that are stored. What cannot be deleted is taken by a worker, and known to the broker."""
        if not holds:
            return

        try:
            with engine.begin() as connection:
                self._delete(connection, [str(hold.jobs[0].id) for hold in holds])
        except Exception as error:
            tell(
                logger,
                "rows of the outbox could not be deleted, a worker will do it: %s",
                error,
                error=error,
                extra={"action": "outbox.kept"},
                level=logging.WARNING,
            )

    def relay(self, engine: sa.Engine) -> int:
        """Push what has been left behind, and return how many enqueues there were."""
        with engine.begin() as connection:
            self.expect_table(connection)
            taken = self._take(connection)

        groups = {id: jobs for id, data, waited in taken if (jobs := _read(id, data, waited))}

        if not groups:
            return 0

        outcomes = self.app.store_held(list(groups.values()))
        stored = [id for id, outcome in zip(groups, outcomes, strict=True) if not _is_refused(id, outcome)]

        with engine.begin() as connection:
            self._delete(connection, stored)

        return len(stored)

    def _take(self, connection: sa.Connection) -> list[tuple[str, bytes, float]]:
        """Rows that are this caller's for a while: id, jobs, and how long they have waited."""
        rows, now = self.table.c, self.app.clock.now()
        due = (rows.application == self.app.name, rows.written_at <= now - DELAY, rows.taken_until <= now)
        found = connection.execute(
            sa.select(rows.id, rows.jobs, rows.written_at, rows.taken_until).where(*due).order_by(rows.written_at).limit(PAGE)
        ).all()
        taken = []

        for row in found:
            mine = sa.update(self.table).where(rows.id == row.id, rows.taken_until == row.taken_until)

            if connection.execute(mine.values(taken_until=now + LEASE)).rowcount:
                taken.append((row.id, row.jobs, now - row.written_at))

        return taken

    def _delete(self, connection: sa.Connection, ids: Sequence[str]) -> None:
        for first in range(0, len(ids), PAGE):
            connection.execute(sa.delete(self.table).where(self.table.c.id.in_(ids[first : first + PAGE])))


def _read(id: str, data: bytes, waited: float) -> list[NewJob]:
    """The jobs, due when they would have been had they left at once. A row that cannot be read harms no other."""
    try:
        return [_as_due(job, waited) for job in _decode(data)]
    except msgspec.MsgspecError as error:
        logger.error(
            "the row %s of %s cannot be read, and stays: %s; was it written by another version?",
            id,
            TABLE,
            error,
            extra={"action": "outbox.unreadable"},
        )
        return []


def _as_due(job: NewJob, waited: float) -> NewJob:
    changes = {name: max(0.0, wait - waited) for name in ("delay", "expires_in") if (wait := getattr(job, name)) is not None}
    return msgspec.structs.replace(job, **changes) if changes else job


def _is_refused(id: str, outcome: object) -> bool:
    if not isinstance(outcome, EnqueueRefused):
        return False

    logger.error(
        "the jobs in the row %s of %s were refused (%s); they stay, and are tried again",
        id,
        TABLE,
        outcome,
        extra={"action": "outbox.refused"},
    )
    return True


class OutboxRelay:
    """A thread of each worker process that takes what was left behind in the outbox."""

    def __init__(self, app: QueueTasks, outbox: Outbox, find_engine: Callable[[], sa.Engine], every: float = EVERY) -> None:
        self._app = app
        self._outbox = outbox
        self._find_engine = find_engine
        self._every = every
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._workers = 0
        self._failed = False

    def connect(self) -> None:
        """Begin with the first worker of this process, and end with the last."""
        self._app.on.worker_started(self.begin)
        self._app.on.worker_stopped(self.end)

    def disconnect(self) -> None:
        """Begin no more."""
        self._over.set()
        self._app.on.worker_started.disconnect(self.begin)
        self._app.on.worker_stopped.disconnect(self.end)

    def begin(self, event: Event | None = None) -> None:
        """A worker has started."""
        with self._lock:
            self._workers += 1

            if self._workers == 1:
                self._over = threading.Event()
                threading.Thread(target=self._live, args=(self._over,), name="cherga-outbox", daemon=True).start()

    def end(self, event: Event | None = None) -> None:
        """A worker has stopped."""
        with self._lock:
            self._workers -= 1

            if self._workers == 0:
                self._over.set()

    def _live(self, over: threading.Event) -> None:
        self.look()

        while not over.wait(self._every):
            self.look()

    def look(self) -> None:
        """Push what has been left behind. Whatever goes wrong is said once, and tried again."""
        try:
            with self._app.surroundings():
                self._relay(self._find_engine())
        except Exception as error:
            if not self._failed:
                message = "the outbox cannot be looked into, and will be again: %s"
                tell(logger, message, error, error=error, extra={"action": "outbox.retry"})

            self._failed = True
        else:
            self._failed = False

    def _relay(self, engine: sa.Engine) -> None:
        if not engine.dialect.is_async:
            while self._outbox.relay(engine) == PAGE:
                pass
        else:
            asyncio.run(self._relay_async(engine))

    async def _relay_async(self, engine: sa.Engine) -> None:
        """On a loop of its own, so with connections of its own: those of the pool belong to the loop of the jobs."""
        own = sa.Engine(engine.pool.recreate(), engine.dialect, engine.url)

        def relay() -> None:
            try:
                self._outbox.relay(own)
            finally:
                own.dispose()

        await in_async(relay)
