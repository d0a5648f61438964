"""People and what they keep."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePath

import sqlalchemy as sa
from sqlalchemy import orm

from library.extensions import Model

NAME_LENGTH = 40


def utc_now() -> datetime:
    """The moment, in UTC and without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Person(Model):
    """Somebody who keeps photos and notes here."""

    __tablename__ = "person"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(NAME_LENGTH), unique=True)

    @property
    def owner(self) -> str:
        """The name under which the queue keeps this person's jobs."""
        return f"person:{self.id}"


class Item(Model):
    """One file. It waits in the inbox until ``sorted_at`` is set."""

    __tablename__ = "item"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    person_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(Person.id), index=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(200))
    uploaded_at: orm.Mapped[datetime] = orm.mapped_column(default=utc_now)
    sorted_at: orm.Mapped[datetime | None]
    kind: orm.Mapped[str | None] = orm.mapped_column(sa.String(10))
    """``photo``, ``sound`` or ``other``."""
    taken_at: orm.Mapped[datetime | None]
    album: orm.Mapped[str | None] = orm.mapped_column(sa.String(60))
    words: orm.Mapped[str] = orm.mapped_column(sa.Text, default="")
    """What a sound note is found by."""
    problem: orm.Mapped[str | None] = orm.mapped_column(sa.String(200))

    @property
    def title(self) -> str:
        """The name as people read it."""
        return PurePath(self.name).stem.replace("_", " ").replace("-", " ")
