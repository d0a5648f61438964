"""The files in ``deploy/``, read as those do that they are made for, and their paths moved into a test's own folder."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml
from dockerfile_parse import DockerfileParser
from honcho.environ import parse_procfile

from cherga.testing import wait_until

HOME = Path(__file__).parents[1]
DEPLOY = HOME / "deploy"
PROGRAMS = Path(sys.executable).parent
PATIENCE = 30.0


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def moved(text: str, folder: Path, port: int) -> str:
    """The text with the paths of a server as they are here; it listens on loopback alone."""
    for there, here in {
        "/srv/microblog/.venv/bin": str(PROGRAMS),
        "/srv/microblog": str(HOME),
        "/var/lib/microblog": str(folder),
        "/var/log/microblog": str(folder),
        "/etc/microblog.env": str(folder / "microblog.env"),
        "0.0.0.0": "127.0.0.1",
        "${PORT:-8000}": str(port),
        ":8000": f":{port}",
    }.items():
        text = text.replace(there, here)

    return text


# --- the files


def read_ini(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";", "#"))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def read_env_file(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def read_supervisor_environment(text: str) -> dict[str, str]:
    pairs = shlex.shlex(text, posix=True, punctuation_chars=",")
    pairs.whitespace_split = True
    return dict(pair.split("=", 1) for pair in pairs if pair != ",")


def read_dockerfile() -> list[tuple[str, str]]:
    parser = DockerfileParser(fileobj=BytesIO(text_of("Dockerfile").encode()))
    return [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]


def image_environment() -> dict[str, str]:
    return dict(value.split("=", 1) for name, value in read_dockerfile() if name == "ENV")


def read_compose() -> dict[str, Any]:
    return dict(yaml.safe_load(text_of("compose.yaml")))


# --- what they start


@dataclass(frozen=True)
class Command:
    """A command of one of the files: as a list, or as a line for a shell, with the environment that the file gives it."""

    place: str
    command: str | list[str]
    environment: Mapping[str, str]

    @property
    def words(self) -> list[str]:
        return self.command if isinstance(self.command, list) else shlex.split(self.command)

    @property
    def program(self) -> str:
        return Path(self.words[0]).name

    def in_folder(self, folder: Path, port: int) -> Command:
        command = (
            moved(self.command, folder, port)
            if isinstance(self.command, str)
            else [moved(w, folder, port) for w in self.command]
        )
        return Command(self.place, command, {name: moved(value, folder, port) for name, value in self.environment.items()})


def commands() -> Iterator[Command]:
    """Every command of every file."""
    supervisor = read_ini(text_of("supervisor.conf"))

    for section in supervisor.sections():
        given = supervisor[section]
        yield Command(f"supervisor {section}", shlex.split(given["command"]), read_supervisor_environment(given["environment"]))

    for unit in ("microblog-web.service", "microblog-worker.service"):
        command = shlex.split(read_ini(text_of(unit))["Service"]["ExecStart"])
        yield Command(unit, command, read_env_file(text_of("microblog.env")))

    for name, line in parse_procfile(text_of("Procfile")).processes.items():
        yield Command(f"Procfile {name}", line, {**image_environment(), "MICROBLOG_SECRET_KEY": "secret"})

    (cmd,) = (value for name, value in read_dockerfile() if name == "CMD")
    services = {"Dockerfile": cmd} | {f"compose {name}": each["command"] for name, each in _services() if "command" in each}

    for place, command in services.items():
        words = command if isinstance(command, list) else yaml.safe_load(command)
        yield Command(place, words, {**image_environment(), "MICROBLOG_SECRET_KEY": "secret"})


def _services() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from read_compose()["services"].items()


@contextmanager
def started(command: Command, folder: Path, home: Path = HOME) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own, stopped by SIGTERM at the end of the block; what it says goes to ``output.log``."""
    line = f"exec {command.command}" if isinstance(command.command, str) else command.command
    environment = environment_of(command)

    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(line, shell=isinstance(line, str), cwd=home, env=environment, stdout=output, stderr=output)

        try:
            yield process
        finally:
            process.terminate()

            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()


def environment_of(command: Command) -> dict[str, str]:
    """What a process of this command sees: of our own environment nothing that belongs to an application."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CHERGA", "MICROBLOG"))}
    return {**own, **command.environment, "PATH": os.pathsep.join((str(PROGRAMS), own.get("PATH", "")))}


def await_page(port: int) -> str:
    """The front page, once the server answers."""
    return wait_until(lambda: _page(port), "the server answers", PATIENCE)


def _page(port: int) -> str | None:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return None
