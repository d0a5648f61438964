"""A microblog in a folder of its own, a mail server that keeps what it gets, and a visitor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from demo import mailbox as mail_server
from demo.mailbox import Mailbox
from flask import Flask
from flask.testing import FlaskClient
from microblog import create_app
from microblog.extensions import cherga, db
from microblog.models import Post, User, utc_now
from stage.visitor import Page
from werkzeug.security import generate_password_hash

PASSWORD = "correct horse"
QUICK_HASH = generate_password_hash(PASSWORD, "pbkdf2:sha256:1")


class Reader:
    """The test client as a person uses it: it follows redirects and sends the token of the page last seen."""

    def __init__(self, client: FlaskClient, language: str = "en") -> None:
        self._client = client
        self._headers = {"Accept-Language": language}
        self.page = Page(0, "", "")

    def get(self, path: str) -> Page:
        return self._see(self._client.get(path, headers=self._headers, follow_redirects=True))

    def post(self, path: str, **fields: str) -> Page:
        tokens = self.page.all("input", name="csrf_token")
        form = {**({"csrf_token": tokens[0]["value"]} if tokens else {}), **fields}
        return self._see(self._client.post(path, data=form, headers=self._headers, follow_redirects=True))

    def log_in(self, username: str, password: str = PASSWORD, path: str = "/login") -> Page:
        self.get(path)
        return self.post(path, username=username, password=password)

    def _see(self, answer: Any) -> Page:
        self.page = Page(answer.status_code, answer.request.path, answer.text)
        return self.page


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def app(tmp_path: Path, mailbox: Mailbox) -> Iterator[Flask]:
    with mail_server.serve(mailbox) as smtp_port:
        config = {
            "TESTING": True,
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/microblog.db",
            "CHERGA": {"name": "microblog", "broker_url": f"sqlite:///{tmp_path}/cherga.db"},
            "MAIL_PORT": smtp_port,
        }
        app = create_app(config)

        with app.app_context():
            db.create_all()

        yield app

        with app.app_context():
            db.engine.dispose()

        cherga.close()


@pytest.fixture
def reader(app: Flask) -> Reader:
    return Reader(app.test_client())


@pytest.fixture
def new_reader(app: Flask) -> Callable[..., Reader]:
    return lambda language="en": Reader(app.test_client(), language)


@pytest.fixture
def sign_up(app: Flask) -> Callable[..., str]:
    """Makes a user with these posts; returns the name."""

    def make(username: str, *bodies: str, locale: str = "en") -> str:
        with app.app_context():
            user = User(username=username, email=f"{username}@example.org", locale=locale, password_hash=QUICK_HASH)
            db.session.add(user)
            db.session.add_all(Post(body=body, author=user, created_at=utc_now()) for body in bodies)
            db.session.commit()

        return username

    return make
