"""A real worker process, and a site that is served by one, for as long as a block lasts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cherga import QueueTasks

READY = 30.0
STOPS = 15.0


@contextmanager
def work(
    target: str, home: Path, environment: Mapping[str, str], log: IO[bytes] | None = None, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``cherga worker -A target`` in the folder ``home``, with these variables beside those that are set."""
    arguments = ["cherga", "worker", "-A", target, "--processes", "1", "--threads", "4", *options]

    with _module(arguments, home, environment, log) as worker:
        yield worker


@contextmanager
def serve_flask(module: str, home: Path, environment: Mapping[str, str], log: IO[bytes], port: int = 0) -> Iterator[str]:
    """Run ``flask --app module run`` in the folder ``home``; gives the address when it answers."""
    port = port or _free_port()

    with _module(["flask", "--app", module, "run", "--port", str(port)], home, environment, log) as server:
        _await_port(port, server)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _module(
    arguments: Sequence[str], home: Path, environment: Mapping[str, str], log: IO[bytes] | None
) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own, so that Ctrl-C reaches us alone and we tell it once.
    path = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=home,
        env={**os.environ, **environment, "PYTHONPATH": path},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )

    try:
        yield process
    finally:
        process.terminate()

        with suppress(subprocess.TimeoutExpired):
            process.wait(STOPS)

        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        return int(place.getsockname()[1])


def _await_port(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in _until_ready(server, "the server"):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return


def await_worker(cherga: QueueTasks, worker: subprocess.Popen[bytes]) -> None:
    """Come back when the worker is ready; raises ``RuntimeError`` when it has ended, or takes too long."""
    for _ in _until_ready(worker, "the worker"):
        if cherga.broker.workers():
            return


def _until_ready(process: subprocess.Popen[bytes], name: str) -> Iterator[None]:
    """Another look after another moment; raises ``RuntimeError`` when there is no use in looking."""
    deadline = time.monotonic() + READY

    while process.poll() is None:
        yield

        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} was not ready after {READY:.0f} s")

        time.sleep(0.05)

    raise RuntimeError(f"{name} has ended with exit code {process.returncode} before it was ready")
