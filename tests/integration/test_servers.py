"""Real servers, as people start them: which of them stream, and none of them is held up by streams."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

import pytest

from cherga.testing import wait_until
from tests.flask_site import PATIENCE, STREAM, Served, read_news
from tests.workers import PATH

GUNICORN = ("gunicorn", "--bind", "fd://{fd}", "--workers", "1", "--graceful-timeout", "20", "tests.server_sites:wsgi")
UVICORN = ("uvicorn", "--fd", "{fd}", "tests.server_sites:asgi")


class Server(Served):
    """A server process on a socket that the test has opened, so that nothing is asked too early."""

    def __init__(self, command: tuple[str, ...], listener: socket.socket, environment: dict[str, str]) -> None:
        fd = listener.fileno()
        self.port = listener.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(fd=fd) for word in command)],
            env={**os.environ, "PYTHONPATH": PATH, **environment},
            pass_fds=[fd],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def address(self) -> str:
        with self.get("/") as answer:
            return answer.read().decode()

    def stream(self) -> HTTPResponse:
        return self.get(self.address(), Accept=STREAM)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def serve(*command: str, **environment: str) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(command, listener, environment)

        try:
            yield server
        finally:
            server.close()


@pytest.mark.parametrize("threads", [(), ("--threads", "4")], ids=["sync", "threads"])
def test_gunicorn_polls_by_default(threads: tuple[str, ...]) -> None:
    with serve(*GUNICORN, *threads) as server, server.stream() as answer:
        assert (answer.status, json.load(answer)["mode"]) == (200, "poll")


def test_gunicorn_with_one_thread_polls_whatever_was_set() -> None:
    with serve(*GUNICORN, MAX_STREAMS="8") as server, server.stream() as answer:
        assert json.load(answer)["mode"] == "poll"


def test_gunicorn_with_threads_streams_as_many_as_were_set_and_answers_other_pages_meanwhile() -> None:
    with serve(*GUNICORN, "--threads", "4", MAX_STREAMS="2") as server:
        answers = [server.stream() for _ in range(4)]
        assert [answer.headers["Content-Type"] == STREAM for answer in answers] == [True, True, False, False]
        assert server.address().startswith("/cherga/live/")

        for answer in answers:
            answer.close()


def test_open_streams_do_not_hold_up_the_stop_of_uvicorn() -> None:
    with serve(*UVICORN) as server, server.stream() as answer:
        news = read_news(answer)
        assert next(news)["state"] == "ready"

        server.process.send_signal(signal.SIGTERM)
        assert list(news) == []
        wait_until(lambda: server.process.poll() is not None, "the server has ended", PATIENCE)
