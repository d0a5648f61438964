"""Forms of other sites are refused: every POST must carry the token that stands in the visitor's session."""

from __future__ import annotations

import hmac
import secrets

from flask import Flask, abort, request, session
from flask_babel import gettext
from markupsafe import Markup

FIELD = "csrf_token"


def init_app(app: Flask) -> None:
    app.before_request(refuse_foreign_forms)
    app.jinja_env.globals["csrf_field"] = csrf_field


def refuse_foreign_forms() -> None:
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return

    expected, came = session.get(FIELD, ""), request.form.get(FIELD, "")

    if not expected or not hmac.compare_digest(expected.encode(), came.encode()):
        abort(400, gettext("This form has expired. Please go back, reload the page and send it again."))


def csrf_field() -> Markup:
    """The hidden input that every form with ``method="post"`` needs."""
    token = session.setdefault(FIELD, secrets.token_urlsafe(24))
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, token)
