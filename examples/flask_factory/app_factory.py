"""The one place where the application is made. The server, the worker and scripts all call ``create_app``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from library import commands, forms, pages
from library.extensions import cherga, cors, db, talisman

CONTENT_SECURITY = {
    "default-src": "'self'",
    "media-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The application, set by its defaults, then by ``LIBRARY_…`` in the environment, then by ``config``."""
    app = Flask("library")
    app.config.from_mapping(_defaults(app))
    app.config.from_prefixed_env("LIBRARY")
    app.config.update(config or {})

    db.init_app(app)
    cherga.init_app(app)
    cherga.tasks_from("tasks")  # the worker imports them when everything here is done: nothing imports in a circle
    _add_headers(app)

    for part in (forms, pages, commands):
        part.init_app(app)

    return app


def _defaults(app: Flask) -> dict[str, Any]:
    return {
        "SECRET_KEY": "only for trying things out",
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SQLALCHEMY_DATABASE_URI": "sqlite:///library.db",
        "CHERGA": {"name": "library"},
        "FILES": str(Path(app.instance_path) / "files"),
        "MAX_CONTENT_LENGTH": 64 * 1024 * 1024,
        "HTTPS": False,
        "FRIENDS": [],
    }


def _add_headers(app: Flask) -> None:
    """What other sites may read (``FRIENDS``, and only ``/api/``), and what browsers may do with our pages: once, and here."""
    cors.init_app(app, resources={r"/api/*": {"origins": app.config["FRIENDS"], "methods": ["GET"]}})
    talisman.init_app(
        app,
        force_https=app.config["HTTPS"],
        session_cookie_secure=app.config["HTTPS"],
        content_security_policy=CONTENT_SECURITY,
        permissions_policy={"microphone": "(self)", "geolocation": "()", "camera": "()"},
    )
