"""Starts everything: the site, a real worker process, the mail server and its pages; and stops it again."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from flask import Flask
from microblog import create_app, seeding
from microblog.extensions import db
from microblog.models import Post, User, utc_now
from stage.processes import await_worker, work
from stage.site import serve

from demo import mailbox
from demo.mailbox import Mailbox
from demo.mailpages import create_pages

HOME = Path(__file__).parents[1]


@dataclass(slots=True)
class Stack:
    """What runs, and where."""

    app: Flask
    mailbox: Mailbox
    site_url: str = ""
    mail_url: str = ""
    worker: subprocess.Popen[bytes] = field(init=False)

    def authors(self) -> list[tuple[str, str, int]]:
        """User name, language and number of posts of everybody, most posts first."""
        count = sa.func.count(Post.id)
        query = sa.select(User.username, User.locale, count).join(Post).group_by(User.id).order_by(count.desc())

        with self.app.app_context():
            return [(name, locale or "en", posts) for name, locale, posts in db.session.execute(query)]


@contextmanager
def running(data: Path, *, port: int = 0, posts_delay: float = 0.0, worker_log: IO[bytes] | None = None) -> Iterator[Stack]:
    """Everything, seeded and ready, for as long as the block lasts; databases are kept in the folder ``data``."""
    box = Mailbox()

    with mailbox.serve(box) as smtp_port:
        config = _configure(data, smtp_port, posts_delay)
        stack = Stack(create_app(config), box)
        _seed(stack.app)

        with (
            serve(stack.app, port) as stack.site_url,
            serve(create_pages(box)) as stack.mail_url,
            work("microblog:create_app", HOME, _environment(config), worker_log) as stack.worker,
        ):
            await_worker(stack.app.extensions["cherga"], stack.worker)
            yield stack

        stack.app.extensions["cherga"].close()


def _configure(data: Path, smtp_port: int, posts_delay: float) -> dict[str, Any]:
    return {
        "SECRET_KEY": secrets.token_hex(16),
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{data.resolve()}/microblog.db",
        "CHERGA": {"name": "microblog", "broker_url": f"sqlite:///{data.resolve()}/cherga.db"},
        "MAIL_PORT": smtp_port,
        "EXPORT_DELAY": posts_delay,
    }


def _seed(app: Flask) -> None:
    with app.app_context():
        db.create_all()

        if db.session.scalar(sa.select(sa.func.count(User.id))) == 0:
            seeding.plant(utc_now())


def _environment(config: dict[str, Any]) -> dict[str, str]:
    """The configuration as ``create_app`` reads it from the environment of another process."""
    return {f"MICROBLOG_{key}": json.dumps(value) for key, value in config.items()}
