"""The pages over real HTTP: what they keep and refuse, and what they say to browsers and to other sites. No worker runs."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from app_factory import create_app
from library.extensions import cherga, db
from showcase.samples import photo
from showcase.stack import HOME, configure, environment
from stage.processes import serve_flask
from stage.visitor import Visitor

FRIEND = "https://friend.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("library")
    config: dict[str, Any] = {**configure(folder), "FRIENDS": [FRIEND]}
    app = create_app(config)

    with app.app_context():
        db.create_all()
        db.engine.dispose()

    cherga.close()

    with (folder / "log").open("wb") as log, serve_flask("server", HOME, environment(config), log) as url:
        yield url


@pytest.fixture
def visitor(site: str, request: pytest.FixtureRequest) -> Visitor:
    visitor = Visitor(site)
    visitor.post("/welcome", name=request.node.name[:40])
    return visitor


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, bytes]:
    request = urllib.request.Request(
        url, method=method, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )

    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_a_visitor_says_who_they_are_first(site: str) -> None:
    visitor = Visitor(site)
    assert "Your name" in visitor.get("/").text
    assert visitor.upload("/files", "files", {"a.txt": b"a"}).status == 401
    assert "Please give a name" in visitor.post("/welcome", name="  ").text


def test_what_is_uploaded_waits_and_a_bar_says_so(visitor: Visitor) -> None:
    page = visitor.upload("/files", "files", {"hills.jpg": photo(1), "../../etc/passwd": b"x"})
    live = page.progress()
    assert live is not None
    assert live["state"] == "ready"
    assert "Sorting your files" in page.text


def test_nothing_chosen_is_answered(visitor: Visitor) -> None:
    assert "Please choose files first" in visitor.upload("/files", "files", {}).text
    assert "Please record a question first" in visitor.upload("/questions", "recording", {}).text


def test_files_and_answers_of_others_cannot_be_seen(site: str, visitor: Visitor) -> None:
    asked = visitor.upload("/questions", "recording", {"question.wav": b"RIFF"})
    other = Visitor(site)
    other.post("/welcome", name="somebody else")

    assert visitor.get(asked.url).status == 200
    assert other.get(asked.url).status == 404
    assert other.get("/files/1").status == 404


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://elsewhere.example"}],
    ids=["cross-site", "same-site", "origin"],
)
def test_forms_of_other_sites_are_refused(site: str, headers: dict[str, str]) -> None:
    assert ask(f"{site}/welcome", "POST", **headers)[0] == 403


def test_every_page_tells_browsers_what_it_may_do(site: str) -> None:
    _, headers, _ = ask(site)
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "microphone=(self)" in headers["Permissions-Policy"]


def test_friends_may_read_the_counts_and_nobody_else_anything(site: str) -> None:
    status, headers, body = ask(f"{site}/api/counts", Origin=FRIEND)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, FRIEND)
    assert set(json.loads(body)) == {"photo", "sound", "other"}
    assert ask(f"{site}/api/counts", Origin="https://elsewhere.example")[1]["Access-Control-Allow-Origin"] is None
    assert ask(site, Origin=FRIEND)[1]["Access-Control-Allow-Origin"] is None


def test_uploads_are_kept_under_the_folder_of_files(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.upload("/files", "files", {"..\\..\\x": b"x", "/etc/passwd": b"x", "...": b"x"})
    assert page.status == 200
