"""The tutorial works for a reader who does one step after the other, in one folder that keeps what each step leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from socket import create_server

import pytest

from cherga.testing.waiting import wait_until
from tests.docs.pages import FENCE, ROOT

PAGE = ROOT / "docs" / "tutorial" / "flask.md"
FILE_NAME = re.compile(r"`(\w+\.py)`:\s*\Z")
SERVERS = ("flask", "cherga worker")


@dataclass
class Reader:
    """One who writes what the page shows, and runs what it says; servers go on until the end."""

    folder: Path
    port: int
    servers: ExitStack = field(default_factory=ExitStack)

    def follow(self, text: str) -> None:
        """Do what stands in this part of the page, from its top to its bottom."""
        for block in FENCE.finditer(text):
            reason, language, content = block[1] or "", block[2], block[3]

            if language == "python":
                self._write(FILE_NAME.search(text[: block.start()]), content)
            elif language == "sh" and "network" not in reason:
                self._type(content)

    def _write(self, named: re.Match[str] | None, content: str) -> None:
        with (self.folder / (named[1] if named else "blog.py")).open("a", encoding="utf-8") as file:
            file.write(f"{content}\n\n")

    def _type(self, commands: str) -> None:
        for command in commands.splitlines():
            if command.startswith(SERVERS):
                self.servers.enter_context(self._started(command))
            else:
                print(self.run(command))

    def run(self, command: str) -> str:
        """What a command prints."""
        ran = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, env=self._environment(), capture_output=True, encoding="utf-8", timeout=55
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    @contextmanager
    def _started(self, command: str) -> Iterator[None]:
        server = subprocess.Popen(
            ["sh", "-c", f"exec {command}"], cwd=self.folder, env=self._environment(), start_new_session=True
        )  # a group of its own, as in a terminal: Ctrl-C reaches the server and what it started

        try:
            yield
        finally:
            os.killpg(server.pid, signal.SIGINT)
            server.wait(30)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHERGA", "PYTEST", "FLASK"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        return kept | {"PATH": path, "FLASK_RUN_PORT": str(self.port)}

    def open_page(self) -> str:
        """The page in the browser; empty while the server starts."""
        return self._ask("GET", "/")

    def click(self) -> None:
        self._ask("POST", "/export")

    def _ask(self, method: str, path: str) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)

        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()


@pytest.mark.timeout(180)
def test_the_tutorial_works_step_by_step(tmp_path: Path) -> None:
    until_it_runs, when_it_fails, _factory = _parts(
        PAGE.read_text(encoding="utf-8"), "## 7. ", "## With an application factory"
    )
    reader = Reader(tmp_path, free_port())

    with reader.servers:
        reader.follow(until_it_runs)
        wait_until(lambda: "no job" in look_at(reader), "the page with its button", 30)
        process = find_the_process_that_works(reader)
        reader.click()
        reader.click()
        wait_until(lambda: {"running", "no job"} & look_at(reader), "an export that runs, or has ended on a busy machine", 30)
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: "no job" in look_at(reader), "the button again", 50)
        assert "succeeded" in reader.run("cherga jobs list -A blog:app")

        reader.follow(when_it_fails)

    assert (tmp_path / "test_blog.py").exists()


def look_at(reader: Reader) -> set[str]:
    """The states of the bars on the page; ``no job`` where it shows its button."""
    page = reader.open_page()
    return {*re.findall(r'<cherga-progress[^>]* state="(\w+)"', page), *(["no job"] if "<button>Export" in page else [])}


def find_the_process_that_works(reader: Reader) -> int:
    _name, _host, process, *_ = wait_until(lambda: reader.run("cherga workers -A blog:app"), "a worker", 30).split("\t")
    return int(process)


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _parts(text: str, *heads: str) -> list[str]:
    """The text, cut where these headings begin."""
    parts = []

    for head in heads:
        part, text = text.split(head, 1)
        parts.append(part)

    return [*parts, text]
