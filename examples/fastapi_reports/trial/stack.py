"""Starts the site and a real worker process, and stops them again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reports import Settings, cherga, create_app
from stage.asgi import serve
from stage.processes import await_worker, work

HOME = Path(__file__).parents[1]


@dataclass(frozen=True)
class Stack:
    """What runs, and where."""

    url: str
    worker: subprocess.Popen[bytes]


@contextmanager
def running(data: Path, port: int = 0, pause: float = 0.0, worker_log: IO[bytes] | None = None) -> Iterator[Stack]:
    """Server and worker, ready, for as long as the block lasts; their files are kept in the folder ``data``."""
    settings = Settings(data.resolve(), pause=pause)
    environment = {"REPORTS_FOLDER": str(settings.folder), "REPORTS_SECRET": settings.secret, "REPORTS_PAUSE": str(pause)}

    with (
        serve(create_app(settings), port) as url,
        work("reports:create_app", HOME, environment, worker_log) as worker,
    ):
        await_worker(cherga, worker)
        yield Stack(url, worker)
