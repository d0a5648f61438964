"""An application whose jobs the tests of the command line look after, and how they call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cherga import QueueTasks, ctx
from cherga.cli import main

FACTORY = "tests.cli_shop:make_app"
COMMAND = (sys.executable, "-m", "cherga")


def make_app(url: str = "sqlite:///shop.db") -> QueueTasks:
    """A fresh application on this broker."""
    app = QueueTasks("shop", broker_url=url, report_interval=0.05, poll_interval=0.2)
    app.task(add)
    app.task(queue="exports", description="Exporting posts…", tags=["nightly"])(export)
    app.task(fail)
    app.task(wait)
    return app


def make_talking_app() -> QueueTasks:
    """The same, and it says aloud what is cancelled."""
    app = make_app()
    app.on.cancelled(lambda event: print("heard of", event.job_id))
    return app


def add(a: int, b: int = 1) -> int:
    return a + b


def export(pages: int) -> dict[str, int]:
    for page in ctx.track(range(pages), note="reading"):
        ctx.log(f"page {page + 1}")

    ctx.meta["file"] = "posts.json"
    ctx.save_meta()
    return {"pages": pages}


def fail(words: str) -> None:
    raise ConnectionError(words)


def wait() -> None:
    while ctx.sleep(0.05):
        pass


@dataclass(frozen=True)
class Ran:
    """What a command wrote and how it ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The lines of a pipe as lists of fields."""
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def data(self) -> Any:
        """The document of ``--json``."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """The documents of ``--json``, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Shop:
    """An application on a queue file of its own, and the command line on the same file."""

    app: QueueTasks
    url: str
    capture: pytest.CaptureFixture[str]

    def run(self, *args: object) -> Ran:
        """Call the command line with the application, in this process."""
        return self._call(*map(str, args), "-A", FACTORY, "-u", self.url)

    def look(self, *args: object) -> Ran:
        """Call the command line with the broker's URL alone."""
        return self._call(*map(str, args), "-u", self.url)

    def _call(self, *args: str) -> Ran:
        self.capture.readouterr()
        code = main(args)
        written = self.capture.readouterr()
        return Ran(code, written.out, written.err)


@contextmanager
def open_shop(folder: Path, capture: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    """A shop with an empty queue file in this folder."""
    url = f"sqlite:///{folder}/shop.db"

    with closing(make_app(url)) as app:
        app.publish()
        yield Shop(app, url, capture)


def start(folder: Path, *args: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command line as a process of its own in this folder, without the caller's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHERGA")}
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "encoding": "utf-8",
    }
    environment = {**kept, "PYTHONPATH": os.pathsep.join(sys.path), **options.pop("env", {})}
    return subprocess.Popen([*COMMAND, *args], cwd=folder, env=environment, **(pipes | options))


def finish(process: subprocess.Popen[str]) -> Ran:
    """Wait for its end."""
    out, err = process.communicate(timeout=30)
    return Ran(process.returncode, out, err)
