"""A database of SQLAlchemy for tests, with one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker


class Model(DeclarativeBase):
    """What the tables inherit."""


class Row(Model):
    """A row that knows the job about it."""

    __tablename__ = "launched"

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(sa.String(36), unique=True)


class Database:
    """A SQLite file, and what makes sessions on it."""

    def __init__(self, folder: Path, name: str = "app.db", metadata: sa.MetaData | None = None) -> None:
        self.url = f"sqlite:///{folder / name}"
        self.engine = sa.create_engine(self.url, connect_args={"timeout": 30})
        self.sessions: sessionmaker[Session] = sessionmaker(self.engine)
        Model.metadata.create_all(self.engine)

        if metadata is not None:
            metadata.create_all(self.engine)

    def jobs(self) -> set[str]:
        """The jobs of the rows that are committed."""
        with self.sessions() as session:
            return set(session.scalars(sa.select(Row.job)))

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def database_in(folder: Path, metadata: sa.MetaData | None = None) -> Iterator[Database]:
    """A database that is closed with the block."""
    database = Database(folder, metadata=metadata)

    try:
        yield database
    finally:
        database.close()
