"""WSGI: the live pages in front of an application, so that none of its own hooks runs each time a page polls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from cherga.web.frames import Stream
from cherga.web.live import Answer
from cherga.web.pages import LivePages, Visit
from cherga.web.settings import count_streams

Environ = dict[str, Any]
Start = Callable[..., Any]
Body = Iterable[bytes]
Application = Callable[[Environ, Start], Body]


class WSGIFront:
    """A WSGI application that answers for the live pages, and leaves everything else to the one behind it."""

    def __init__(self, behind: Application, pages: LivePages) -> None:
        self._behind = behind
        self._pages = pages

    def __call__(self, environ: Environ, start_response: Start) -> Body:
        path = self._pages.place(environ.get("PATH_INFO", ""))

        if path is None or environ["REQUEST_METHOD"] == "OPTIONS":  # who may ask from where is the application's matter
            return self._behind(environ, start_response)

        return _send(self._pages.answer(read_visit(environ, path, self._pages)), start_response)


def read_visit(environ: Environ, path: str, pages: LivePages) -> Visit:
    """The request as the live pages understand it."""
    return Visit(
        method=environ["REQUEST_METHOD"],
        path=path,
        query=environ.get("QUERY_STRING", ""),
        headers={key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")},
        max_streams=count_streams(pages.endpoint.settings, environ),
    )


def _send(answer: Answer, start: Start) -> Body:
    """The body to give back to the server, which closes a stream at its end, or when the client has gone."""
    start(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers.items()))
    return answer.body if isinstance(answer.body, Stream) else [answer.body]
