"""What all pages share: filters for their templates, and pages for errors."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from flask import Flask, render_template, request, url_for
from flask_babel import format_date, format_datetime, format_timedelta
from markupsafe import Markup
from werkzeug import Response
from werkzeug.exceptions import HTTPException

from microblog.models import ABOUT_LENGTH, POST_LENGTH, utc_now


def init_app(app: Flask) -> None:
    app.jinja_env.filters["ago"] = ago
    app.jinja_env.filters["day"] = format_date
    app.jinja_env.globals.update(POST_LENGTH=POST_LENGTH, ABOUT_LENGTH=ABOUT_LENGTH, this_page=this_page)
    app.register_error_handler(HTTPException, show_error)


def ago(moment: datetime) -> Markup:
    """``3 hours ago`` in the visitor's language, with the exact time for those who point at it."""
    words = format_timedelta(moment - utc_now(), add_direction=True)
    exact = f"{format_datetime(moment, 'long')}"

    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), exact, words)


def show_error(error: HTTPException) -> tuple[str, int] | Response:
    if error.code is None or error.code < 400:
        return error.get_response()

    return render_template("error.html", error=error), error.code


def this_page() -> str:
    """Where to come back to: this page, or the first one when this is the answer to a form."""
    return request.full_path.rstrip("?") if request.method == "GET" else url_for("main.index")


def safe_path(target: str | None) -> str | None:
    """``target`` if it leads to a page of this site, else None."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return None

    parts = urlsplit(target)
    return None if parts.scheme or parts.netloc else target
