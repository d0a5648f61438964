"""The pages under the prefix: a request's path and method, whatever the framework, and what it is answered."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from msgspec import Struct

from cherga.web.frames import Stream
from cherga.web.live import TOKEN_HEADER, Answer, Asked, LiveEndpoint, refuse
from cherga.web.markup import ELEMENT, LOOK, VERSION

logger = logging.getLogger("cherga.web")

ONE_YEAR, FIVE_MINUTES = 31_536_000, 300
ROUTES = {
    "live": "/live/{job_id}",
    "cancel": "/live/{job_id}/cancel",
    "element": "/element.js",
    "look": "/element.css",
}
"""The path of each page below the prefix, by its name."""


class Visit(Struct, frozen=True, kw_only=True):
    """A request for one of these pages."""

    method: str
    path: str
    """The path below the prefix."""
    query: str = ""
    headers: Mapping[str, str] = {}
    """The headers, by their names in small letters."""
    max_streams: int = 0
    """The number of streams that this server can bear."""

    def header(self, name: str) -> str:
        """The header's value, empty where it was not sent."""
        return self.headers.get(name.lower(), "")

    def asked(self, name: str) -> str:
        """The first value of that name in the query."""
        return next((value for key, value in parse_qsl(self.query) if key == name), "")


class LivePages:
    """The pages under the prefix. No request of these reaches the application's own hooks, however often a page polls."""

    def __init__(self, endpoint: LiveEndpoint) -> None:
        path = endpoint.settings.prefix.strip("/")
        self.endpoint = endpoint
        self.prefix = f"/{path}" if path else ""
        self._pages: tuple[tuple[str, re.Pattern[str], _Page], ...] = (
            ("GET", _pattern("live"), self._show_job),
            ("POST", _pattern("cancel"), self._cancel_job),
            ("GET", _pattern("element"), lambda visit, _: _show_file(ELEMENT, "text/javascript", visit)),
            ("GET", _pattern("look"), lambda visit, _: _show_file(LOOK, "text/css", visit)),
        )

    def address(self, name: str, job_id: str = "") -> str:
        """The path of a page, within the application; files carry their version."""
        path = self.prefix + ROUTES[name].replace("{job_id}", job_id)
        return path if job_id else f"{path}?v={VERSION}"

    def place(self, path: str) -> str | None:
        """The path below the prefix, None for one that is none of these pages."""
        below = path.removeprefix(self.prefix) if path.startswith(f"{self.prefix}/") else ""
        return below if any(pattern.fullmatch(below) for _, pattern, _ in self._pages) else None

    def answer(self, visit: Visit) -> Answer:
        """The answer, also where something went wrong in here: a page of the application's is never shown in its place."""
        try:
            answer = self._answer(visit)
            return _without_body(answer) if visit.method == "HEAD" else answer
        except Exception:
            logger.exception("a live page could not be answered", extra={"action": "web.failed"})
            return refuse(500, "the job cannot be shown; the reason stands in the server's log")

    def _answer(self, visit: Visit) -> Answer:
        for method, pattern, show in self._pages:
            if found := pattern.fullmatch(visit.path):
                if visit.method in (method, "HEAD" if method == "GET" else method):
                    return show(visit, found.groupdict().get("job_id", ""))

                allowed = "GET, HEAD" if method == "GET" else method
                return refuse(405, f"expected {allowed}", {"Allow": allowed})

        return refuse(404, "there is no such page")

    def _show_job(self, visit: Visit, job_id: str) -> Answer:
        return self.endpoint.answer(
            Asked(
                id=job_id,
                token=visit.header(TOKEN_HEADER) or visit.asked("token"),
                after=visit.asked("after"),
                accept=visit.header("Accept"),
                last_event_id=visit.header("Last-Event-ID"),
                if_none_match=visit.header("If-None-Match"),
                max_streams=visit.max_streams,
            )
        )

    def _cancel_job(self, visit: Visit, job_id: str) -> Answer:
        # The header alone: no other site can make a browser send it, and so no form of another site cancels anything.
        return self.endpoint.cancel(Asked(id=job_id, token=visit.header(TOKEN_HEADER)))


_Page = Callable[[Visit, str], Answer]


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(ROUTES[name]).replace(r"\{job_id\}", "(?P<job_id>[^/]+)"))


def _without_body(answer: Answer) -> Answer:
    """The headers alone. The seat of a stream is free again."""
    if isinstance(answer.body, Stream):
        answer.body.close()
        return Answer(answer.status, answer.headers, b"")

    return Answer(answer.status, {**answer.headers, "Content-Length": str(len(answer.body))}, b"")


def _show_file(content: bytes, kind: str, visit: Visit) -> Answer:
    tag = f'"{VERSION}"'
    age = ONE_YEAR if visit.asked("v") == VERSION else FIVE_MINUTES
    headers = {
        "Content-Type": f"{kind}; charset=utf-8",
        "Cache-Control": f"public, max-age={age}",
        "ETag": tag,
        "X-Content-Type-Options": "nosniff",
    }
    known = tag in visit.header("If-None-Match").replace("W/", "")
    return Answer(304, headers, b"") if known else Answer(200, headers, content)
