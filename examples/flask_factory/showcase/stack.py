"""Starts the server and a real worker process, and stops them again."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from app_factory import create_app
from library.extensions import cherga, db
from stage.processes import await_worker, serve_flask, work

HOME = Path(__file__).parents[1]
TARGET = "app_factory:create_app"


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs, and where."""

    url: str
    worker: subprocess.Popen[bytes]


def configure(data: Path) -> dict[str, Any]:
    """The settings of a library whose files are all in that folder."""
    return {
        "SECRET_KEY": secrets.token_hex(16),
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{data.resolve()}/library.db",
        "CHERGA": {"name": "library", "broker_url": f"sqlite:///{data.resolve()}/cherga.db"},
        "FILES": str(data.resolve() / "files"),
    }


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings as ``create_app`` reads them from the environment of another process."""
    return {f"LIBRARY_{key}": json.dumps(value) for key, value in config.items()}


@contextmanager
def running(config: Mapping[str, Any], log: Path, port: int = 0, worker_log: IO[bytes] | None = None) -> Iterator[Stack]:
    """The server and a worker, ready, for as long as the block lasts; the tables are made first."""
    app = create_app(config)

    with app.app_context():
        db.create_all()
        db.engine.dispose()

    try:
        with (
            log.open("wb") as server_log,
            serve_flask("server", HOME, environment(config), server_log, port) as url,
            work(TARGET, HOME, environment(config), worker_log) as worker,
        ):
            await_worker(cherga, worker)
            yield Stack(url, worker)
    finally:
        cherga.close()
