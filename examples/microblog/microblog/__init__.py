"""Microblog: a small blog whose slow work runs in Cherga. ``create_app`` is all that a server or a worker needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, Response

from microblog import alerts, auth, commands, csrf, languages, main, pages
from microblog.extensions import babel, cherga, db, login


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The application, set by its defaults, then by ``MICROBLOG_…`` in the environment, then by ``config``."""
    app = Flask(__name__)
    app.config.from_mapping(_defaults())
    app.config.from_prefixed_env("MICROBLOG")
    app.config.update(config or {})

    db.init_app(app)
    login.init_app(app)
    babel.init_app(app, locale_selector=languages.choose)
    cherga.init_app(app)

    for part in (csrf, languages, pages, alerts, commands):
        part.init_app(app)

    app.register_blueprint(auth.bp)
    app.register_blueprint(main.bp)
    app.after_request(_trust_only_ourselves)

    return app


def _defaults() -> dict[str, Any]:
    return {
        "SECRET_KEY": "only for trying things out",
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SQLALCHEMY_DATABASE_URI": "sqlite:///microblog.db",
        "CHERGA": {"name": "microblog"},
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": 8025,
        "MAIL_SENDER": "Microblog <no-reply@microblog.example>",
        "MAIL_TIMEOUT": 10,
        "POSTS_PER_PAGE": 20,
        "EXPORT_DELAY": 0.0,
    }


def _trust_only_ourselves(response: Response) -> Response:
    response.headers.setdefault(
        "Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")

    return response
