"""A few authors with some thousand posts, cut from the texts in ``texts/`` (see the README there)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from microblog.extensions import db
from microblog.models import Post, User

TEXTS = Path(__file__).parent / "texts"
PASSWORD = "open sesame"


@dataclass(frozen=True, slots=True)
class Author:
    """Who posts what, in which language, and since when."""

    username: str
    locale: str
    about: str
    text: str
    days: float


AUTHORS = (
    Author("jane", "en", "Novelist. Mostly about Hertfordshire and its neighbours.", "pride_and_prejudice.txt", 600),
    Author("ambrose", "en", "Journalist. I define words so that you need not.", "devils_dictionary.txt", 300),
    Author("taras", "uk", "Художник і поет.", "kobzar.txt", 9),
    Author("alonso", "es", "Hidalgo. Leo demasiado.", "quijote.txt", 7),
    Author("tatiana", "ru", "Пишу письма.", "onegin.txt", 8),
)


def plant(now: datetime) -> dict[str, int]:
    """Store every author with the posts, the last one shortly before ``now``; return how many each has."""
    return {author.username: _plant_one(author, now) for author in AUTHORS}


def _plant_one(author: Author, now: datetime) -> int:
    user = User(
        username=author.username,
        email=f"{author.username}@microblog.example",
        locale=author.locale,
        about=author.about,
        joined_at=now - timedelta(days=author.days + 1),
    )
    user.set_password(PASSWORD)
    db.session.add(user)
    db.session.flush()

    bodies = _read(author.text)
    moments = _spread(len(bodies), author, now)
    rows = [{"author_id": user.id, "body": body, "created_at": at} for body, at in zip(bodies, moments, strict=True)]
    db.session.execute(sa.insert(Post), rows)
    db.session.commit()

    return len(rows)


def _read(name: str) -> list[str]:
    return [body.strip() for body in (TEXTS / name).read_text(encoding="utf-8").split("\n\n") if body.strip()]


def _spread(count: int, author: Author, now: datetime) -> Iterator[datetime]:
    chance = random.Random(author.username)
    step = timedelta(days=author.days) / count

    for index in range(count):
        yield now - step * (count - index - chance.uniform(0.1, 0.9))
