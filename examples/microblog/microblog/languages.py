"""Which language a page speaks: the user's own choice, else the visitor's, else what the browser asks for."""

from __future__ import annotations

from flask import Flask, has_request_context, request, session
from flask_babel import get_locale
from flask_login import current_user

LANGUAGES = {"en": "English", "es": "Español", "uk": "Українська", "ru": "Русский"}


def init_app(app: Flask) -> None:
    app.jinja_env.globals["LANGUAGES"] = LANGUAGES
    app.jinja_env.globals["current_language"] = current_language


def choose() -> str | None:
    """The language for this request; None outside of one, which means English."""
    if not has_request_context():
        return None

    chosen = current_user.locale if current_user.is_authenticated else session.get("language")
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES)


def current_language() -> str:
    return str(get_locale() or "en")
