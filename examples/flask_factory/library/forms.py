"""Forms of other sites are refused."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, abort, request


def init_app(app: Flask) -> None:
    app.before_request(refuse_foreign_forms)


def refuse_foreign_forms() -> None:
    """Browsers say where a form comes from: in ``Sec-Fetch-Site``, and older ones in ``Origin``."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return

    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_ours = site in ("same-origin", "none") if site else origin is None or urlsplit(origin).netloc == request.host

    if not is_ours:
        abort(403, "This form was sent from another site.")
