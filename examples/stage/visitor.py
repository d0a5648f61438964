"""A visitor without a browser: keeps cookies, reads pages, sends their forms, follows live progress."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import Any
from uuid import uuid4

PATIENCE = 30.0


VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "source", "wbr"})


class Page(HTMLParser):
    """A page that came back: its tags with their attributes, and its text, without what is marked ``hidden``."""

    def __init__(self, status: int, url: str, text: str) -> None:
        super().__init__()
        self.status = status
        self.url = url
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._hidden: list[bool] = [False]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append((tag, named))

        if tag not in VOID:
            self._hidden.append(self._hidden[-1] or "hidden" in named)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self._hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden[-1]:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of every such tag."""
        return [attrs for name, attrs in self.tags if name == tag and wanted.items() <= attrs.items()]

    def progress(self) -> dict[str, str] | None:
        """The attributes of the first ``<cherga-progress>``."""
        found = self.all("cherga-progress")
        return found[0] if found else None


@dataclass(slots=True)
class Visitor:
    """One visitor of the site at ``base``."""

    base: str
    language: str = "en"
    page: Page | None = None
    _opener: urllib.request.OpenerDirector = field(init=False)

    def __post_init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> Page:
        return self._read(self._request(path))

    def post(self, path: str, **fields: str) -> Page:
        """Send a form of the page last seen, with the token that stands in it."""
        tokens = self.page.all("input", name="csrf_token") if self.page else []
        token = {"csrf_token": tokens[0]["value"]} if tokens else {}

        return self._read(self._request(path, data=urllib.parse.urlencode({**token, **fields}).encode()))

    def upload(self, path: str, field: str, files: Mapping[str, bytes]) -> Page:
        """Send files, by their names, in a form of many parts."""
        boundary = uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="%s"\r\n\r\n'
        parts = [(head % name).encode() + content + b"\r\n" for name, content in files.items()]
        request = self._request(path, data=b"".join(parts) + f"--{boundary}--\r\n".encode())
        request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")

        return self._read(request)

    def log_in(self, username: str, password: str) -> Page:
        self.get("/login")
        return self.post("/login", username=username, password=password)

    def json(self, path: str, token: str = "") -> Any:
        with self._open(self._request(path, accept="application/json", token=token)) as answer:
            return json.load(answer)

    def send(self, path: str, value: Any) -> Any:
        """Send a value as JSON, and read the answer in the same way."""
        request = self._request(path, json.dumps(value).encode(), accept="application/json")
        request.add_header("Content-Type", "application/json")

        with self._open(request) as answer:
            return json.load(answer)

    def download(self, path: str) -> bytes:
        with self._open(self._request(path)) as answer:
            return bytes(answer.read())

    def events(self, path: str, token: str) -> Iterator[dict[str, Any]]:
        """The data of the server-sent events behind ``path``, as they come, until the server ends the stream."""
        with self._open(self._request(path, accept="text/event-stream", token=token)) as answer:
            if answer.headers.get_content_type() != "text/event-stream":
                raise RuntimeError(f"expected a stream from {path}, got {answer.headers.get_content_type()}")

            for raw in answer:
                line = raw.decode().rstrip("\r\n")

                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def _request(
        self, path: str, data: bytes | None = None, accept: str = "text/html", token: str = ""
    ) -> urllib.request.Request:
        headers = {"Accept": accept, "Accept-Language": self.language} | ({"Cherga-Token": token} if token else {})
        return urllib.request.Request(urllib.parse.urljoin(self.base, path), data=data, headers=headers)

    def _read(self, request: urllib.request.Request) -> Page:
        try:
            with self._open(request) as answer:
                self.page = Page(answer.status, answer.url, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                self.page = Page(error.code, error.url or "", error.read().decode())

        return self.page

    def _open(self, request: urllib.request.Request) -> Any:
        return self._opener.open(request, timeout=PATIENCE)
