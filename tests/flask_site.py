"""A small Flask site with one task, served over real HTTP on a free loopback port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from flask import Flask, render_template_string
from werkzeug.serving import WSGIRequestHandler, make_server

from cherga import BrokerUnavailable, Job
from cherga.contrib.flask import Cherga
from cherga.doors.broker import FullBroker
from tests.live_hand import Hand

STREAM = "text/event-stream"
PATIENCE = 20.0


class MayBeAway(Cherga):
    """The tasks of an application whose broker can be out of reach."""

    away = False

    @property
    def broker(self) -> FullBroker:
        if self.away:
            raise BrokerUnavailable("nobody answers")

        return super().broker


class Served:
    """A site that answers on a port of loopback."""

    port = 0

    def get(self, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
        """The answer, with its body still to be read; closing it hangs up."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers={"Connection": "close", **named})
        return connection.getresponse()

    def get_json(self, path: str, **headers: str) -> dict[str, Any]:
        with self.get(path, **headers) as answer:
            return dict(json.load(answer))


class Site(Served):
    """The application, its ``Cherga`` and one job that a test drives by hand."""

    def __init__(self, broker_url: str = "memory://", **live: Any) -> None:
        self.cherga = MayBeAway(name="site")
        self.cherga.task(name="work")(lambda: None)
        self.app = Flask("site")
        self.app.config["SECRET_KEY"] = "secret"
        self.app.config["CHERGA"] = {"broker_url": broker_url, "live": live}
        self.cherga.init_app(self.app)
        self.job = self.enqueue()
        self.hand = Hand(self.cherga)

    def enqueue(self, **options: Any) -> Job[None]:
        return self.cherga.tasks["work"].using(**{"description": "Working…"} | options).enqueue()

    @property
    def away(self) -> bool:
        """The broker is out of reach."""
        return self.cherga.away

    @away.setter
    def away(self, away: bool) -> None:
        self.cherga.away = away

    def render(self, template: str, **values: Any) -> str:
        """A template as a page of this site would show it."""
        with self.app.test_request_context():
            return render_template_string(template, job=self.job, **values)

    def address(self, job: Job[Any] | None = None, **query: Any) -> str:
        """Where the job's progress is, with a token."""
        job = job or self.job
        token = self.render("{{ cherga_token(it) }}", it=job)
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"/cherga/live/{job.id}?token={token}{more}"

    @contextmanager
    def served(self) -> Iterator[None]:
        """The site answers on ``port``, each request in a thread of its own."""
        server = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=_Quiet)
        server.daemon_threads = True  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.port = server.server_port

        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            self.cherga.close()


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


def read_events(answer: HTTPResponse) -> Iterator[dict[str, str]]:
    """The events of a stream as they come, comments as ``{"": …}``."""
    fields: dict[str, str] = {}

    for raw in answer:
        line = raw.decode().rstrip("\n")

        if not line:
            yield fields
            fields = {}
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()


def read_news(answer: HTTPResponse) -> Iterator[dict[str, Any]]:
    """What the events of a stream tell about the job."""
    return (json.loads(event["data"]) for event in read_events(answer) if "data" in event)
