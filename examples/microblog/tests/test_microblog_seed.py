"""The texts that the demonstration posts."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Flask
from microblog import seeding
from microblog.extensions import db
from microblog.models import POST_LENGTH, Post, utc_now


def test_there_are_some_thousand_posts_in_the_past_and_none_too_long(app: Flask) -> None:
    now = utc_now()

    with app.app_context():
        counts = seeding.plant(now)
        stored, longest, newest = db.session.execute(
            sa.select(sa.func.count(Post.id), sa.func.max(sa.func.length(Post.body)), sa.func.max(Post.created_at))
        ).one()

    assert stored == sum(counts.values()) > 2500
    assert counts["jane"] >= 2000
    assert longest <= POST_LENGTH
    assert newest < now
