"""Starts everything: the site, a real worker process, the mail server and its pages; and stops it again."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from flask import Flask
from microblog import create_app, seeding
from microblog.extensions import db
from microblog.models import Post, User, utc_now
from werkzeug.serving import WSGIRequestHandler, make_server

from demo import mailbox
from demo.mailbox import Mailbox
from demo.mailpages import create_pages

HOME = Path(__file__).parents[1]
WORKER_READY = 30.0
WORKER_STOPS = 15.0


@dataclass(slots=True)
class Stack:
    """What runs, and where."""

    app: Flask
    mailbox: Mailbox
    site_url: str = ""
    mail_url: str = ""
    worker: subprocess.Popen[bytes] = field(init=False)

    def authors(self) -> list[tuple[str, str, int]]:
        """User name, language and number of posts of everybody, most posts first."""
        count = sa.func.count(Post.id)
        query = sa.select(User.username, User.locale, count).join(Post).group_by(User.id).order_by(count.desc())

        with self.app.app_context():
            return [(name, locale or "en", posts) for name, locale, posts in db.session.execute(query)]


@contextmanager
def running(data: Path, *, port: int = 0, posts_delay: float = 0.0, worker_log: IO[bytes] | None = None) -> Iterator[Stack]:
    """Everything, seeded and ready, for as long as the block lasts; databases are kept in the folder ``data``."""
    box = Mailbox()

    with mailbox.serve(box) as smtp_port:
        config = _configure(data, smtp_port, posts_delay)
        stack = Stack(create_app(config), box)
        _seed(stack.app)

        with (
            _serve(stack.app, port) as stack.site_url,
            _serve(create_pages(box), 0) as stack.mail_url,
            _work(config, worker_log) as stack.worker,
        ):
            _await_worker(stack)
            yield stack

        stack.app.extensions["cherga"].close()


def _configure(data: Path, smtp_port: int, posts_delay: float) -> dict[str, Any]:
    return {
        "SECRET_KEY": secrets.token_hex(16),
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{data.resolve()}/microblog.db",
        "CHERGA": {"name": "microblog", "broker_url": f"sqlite:///{data.resolve()}/cherga.db"},
        "MAIL_PORT": smtp_port,
        "EXPORT_DELAY": posts_delay,
    }


def _seed(app: Flask) -> None:
    with app.app_context():
        db.create_all()

        if db.session.scalar(sa.select(sa.func.count(User.id))) == 0:
            seeding.plant(utc_now())


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the terminal belongs to the demonstration."""


@contextmanager
def _serve(app: Flask, port: int) -> Iterator[str]:
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()

    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _work(config: dict[str, Any], log: IO[bytes] | None) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own, so that Ctrl-C reaches us alone and we tell the worker once.
    command = [sys.executable, "-m", "cherga", "worker", "-A", "microblog:create_app", "--processes", "1", "--threads", "4"]
    worker = subprocess.Popen(command, cwd=HOME, env=_environment(config), stdout=log, stderr=log, start_new_session=True)

    try:
        yield worker
    finally:
        worker.terminate()

        with suppress(subprocess.TimeoutExpired):
            worker.wait(WORKER_STOPS)

        worker.kill()
        worker.wait()


def _environment(config: dict[str, Any]) -> dict[str, str]:
    """The configuration as ``create_app`` reads it from the environment of another process."""
    settings = {f"MICROBLOG_{key}": json.dumps(value) for key, value in config.items()}
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))

    return {**os.environ, **settings, "PYTHONPATH": path}


def _await_worker(stack: Stack) -> None:
    broker = stack.app.extensions["cherga"].broker
    deadline = time.monotonic() + WORKER_READY

    while not broker.workers():
        if stack.worker.poll() is not None:
            raise RuntimeError(f"the worker has ended with exit code {stack.worker.returncode} before it was ready")

        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker was not ready after {WORKER_READY:.0f} s")

        time.sleep(0.05)
