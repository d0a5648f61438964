"""Two applications for real servers: ``wsgi`` and ``asgi``, each with one job that waits and a page that gives its address."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from cherga.contrib import flask, starlette

LIVE: dict[str, Any] = {"secret": "secret", "heartbeat": 0.1}

if "MAX_STREAMS" in os.environ:
    LIVE["max_streams"] = int(os.environ["MAX_STREAMS"])


def work() -> None:
    """Never runs: no worker is there."""


wsgi = Flask("wsgi")
flask_cherga = flask.Cherga(wsgi, name="wsgi", broker_url="memory://", live=LIVE)
flask_job = flask_cherga.task(work).enqueue()


@wsgi.get("/")
def page() -> str:
    return f"/cherga/live/{flask_job.id}?token={wsgi.jinja_env.globals['cherga_token'](flask_job)}"  # type: ignore[operator]


asgi = Starlette()
starlette_cherga = starlette.Cherga(asgi, name="asgi", broker_url="memory://", live=LIVE)
starlette_job = starlette_cherga.task(work).enqueue()


async def show(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"/cherga/live/{starlette_job.id}?token={starlette_cherga.token(starlette_job)}")


asgi.add_route("/", show)
