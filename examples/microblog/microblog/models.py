"""Users and their posts. There is no table of tasks: the queue knows whose job a job is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask_login import UserMixin
from sqlalchemy import orm
from werkzeug.security import check_password_hash, generate_password_hash

from microblog.extensions import Model, db, login

POST_LENGTH = 500
ABOUT_LENGTH = 200


class UTCDateTime(sa.types.TypeDecorator[datetime]):
    """Aware datetimes outside, UTC in the database, which keeps no time zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def utc_now() -> datetime:
    return datetime.now(UTC)


class User(UserMixin, Model):
    """Somebody who writes posts."""

    __tablename__ = "user"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    username: orm.Mapped[str] = orm.mapped_column(sa.String(32), unique=True)
    email: orm.Mapped[str] = orm.mapped_column(sa.String(254), unique=True)
    password_hash: orm.Mapped[str] = orm.mapped_column(sa.String(256))
    about: orm.Mapped[str] = orm.mapped_column(sa.String(ABOUT_LENGTH), default="")
    locale: orm.Mapped[str | None] = orm.mapped_column(sa.String(8))
    joined_at: orm.Mapped[datetime] = orm.mapped_column(UTCDateTime, default=utc_now)
    posts: orm.WriteOnlyMapped[Post] = orm.relationship(back_populates="author", passive_deletes=True)

    @property
    def owner(self) -> str:
        """The name under which the queue keeps this user's jobs."""
        return f"user:{self.id}"

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def has_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


class Post(Model):
    """Up to ``POST_LENGTH`` characters by one user."""

    __tablename__ = "post"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    body: orm.Mapped[str] = orm.mapped_column(sa.String(POST_LENGTH))
    created_at: orm.Mapped[datetime] = orm.mapped_column(UTCDateTime, default=utc_now, index=True)
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(User.id, ondelete="CASCADE"), index=True)
    author: orm.Mapped[User] = orm.relationship(back_populates="posts")


@login.user_loader
def load_user(user_id: str) -> User | None:
    return db.session.get(User, int(user_id))
