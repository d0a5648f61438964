"""A small Starlette or FastAPI site with one task, served by uvicorn on a free loopback port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request

from cherga import BrokerUnavailable, Job
from cherga.contrib.starlette import Cherga
from cherga.doors.broker import FullBroker
from cherga.testing import wait_until
from tests.flask_site import PATIENCE, Served
from tests.live_hand import Hand


class MayBeAway(Cherga):
    """The tasks of an application whose broker can be out of reach; notes the threads that ask for it."""

    away = False

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.asked_on: set[str] = set()
        super().__init__(*args, **settings)

    @property
    def broker(self) -> FullBroker:
        self.asked_on.add(threading.current_thread().name)

        if self.away:
            raise BrokerUnavailable("nobody answers")

        return super().broker


class AsgiSite(Served):
    """The application, its ``Cherga`` and one job that a test drives by hand."""

    def __init__(self, app: Starlette | None = None, **live: Any) -> None:
        self.app = app or Starlette()
        self.cherga = MayBeAway(name="site", broker_url="memory://", live={"secret": "secret", **live})
        self.cherga.task(name="work")(lambda: None)
        self.cherga.init_app(self.app)
        self.job = self.enqueue()
        self.hand = Hand(self.cherga)

    def enqueue(self, **options: Any) -> Job[None]:
        return self.cherga.tasks["work"].using(**{"description": "Working…"} | options).enqueue()

    def address(self, **query: Any) -> str:
        """Where the job's progress is, with a token."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"/cherga/live/{self.job.id}?token={self.cherga.token(self.job)}{more}"

    @contextmanager
    def served(self, app: Any = None) -> Iterator[None]:
        """The site, or an application that holds it, answers on ``port``."""
        with serve(app or self.app) as self.port:
            yield

        self.cherga.close()


@contextmanager
def serve(app: Any) -> Iterator[int]:
    """Serve an ASGI application on a loop of its own; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="site-loop", daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), "the site is served", PATIENCE)

    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()


def request(app: Any, scope: Mapping[str, Any] = {}) -> Request:
    """A request as a view of this application gets it."""
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "app": app, **scope})
