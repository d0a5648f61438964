"""The application that is measured, made by Flask factories: the same no-op task in a context, and with a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from cherga.contrib.flask import Cherga

db = SQLAlchemy()


def create_app() -> Flask:
    """Each job has a context, and does nothing with it."""
    return _make(lambda: None)


def create_with_session() -> Flask:
    """Each job opens a session, which its end removes."""
    return _make(db.session)


def _make(touch: Callable[[], object]) -> Flask:
    cherga = Cherga(name="bench")

    @cherga.task
    def noop(number: int) -> int:
        touch()
        return number

    app = Flask("bench", instance_path=str(Path("artifacts").resolve()))
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///bench-tables.db"
    db.init_app(app)
    cherga.init_app(app)
    return app
