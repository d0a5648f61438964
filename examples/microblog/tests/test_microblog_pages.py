"""The site itself: accounts, posts, languages, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

PATHS = ("/", "/login", "/signup", "/user/ann")


def test_somebody_signs_up_writes_and_logs_out(reader) -> None:
    reader.get("/signup")
    page = reader.post("/signup", username="Ann", email="ann@example.org", password="long enough")
    assert "Welcome, ann!" in page.text

    assert "A first thought." in reader.post("/posts", body="A first thought.").text
    assert "Log in" in reader.post("/logout").text
    assert "A first thought." in reader.get("/user/ann").text


@pytest.mark.parametrize(
    ("field", "value", "answer"),
    [
        ("username", "a b", "Please use 2 to 32 letters"),
        ("username", "ann", "This name is taken"),
        ("email", "nowhere", "does not look like an e-mail address"),
        ("email", "ANN@example.org", "signed up with this address already"),
        ("password", "short", "at least 8 characters"),
    ],
)
def test_signing_up_says_what_is_wrong(reader, sign_up: Callable[..., str], field: str, value: str, answer: str) -> None:
    sign_up("ann")
    reader.get("/signup")
    page = reader.post("/signup", **{"username": "bob", "email": "bob@example.org", "password": "long enough", field: value})

    assert page.status == 422
    assert answer in page.text


def test_a_wrong_password_is_refused(reader, sign_up: Callable[..., str]) -> None:
    page = reader.log_in(sign_up("ann"), "wrong horse")

    assert page.status == 422
    assert "Wrong username or password." in page.text


def test_logging_in_leads_on_to_the_page_that_asked_for_it(reader, sign_up: Callable[..., str]) -> None:
    page = reader.log_in(sign_up("ann"), path="/login?next=/profile")

    assert page.url == "/profile"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example/"])
def test_logging_in_never_leads_to_another_site(app: Flask, reader, sign_up: Callable[..., str], target: str) -> None:
    page = reader.log_in(sign_up("ann"), path=f"/login?next={target}")

    assert page.url == "/"


@pytest.mark.parametrize("path", ["/login", "/signup", "/logout", "/posts", "/profile", "/export", "/language"])
def test_a_form_without_the_token_of_the_session_is_refused(app: Flask, path: str) -> None:
    assert app.test_client().post(path, data={"csrf_token": ""}).status_code == 400


@pytest.mark.parametrize("body", ["", " \n ", "x" * 501])
def test_a_post_that_is_empty_or_too_long_is_refused(reader, sign_up: Callable[..., str], body: str) -> None:
    reader.log_in(sign_up("ann"))
    page = reader.post("/posts", body=body)

    assert page.status == 422
    assert "between 1 and 500 characters" in page.text


def test_older_posts_are_a_page_further(reader, sign_up: Callable[..., str]) -> None:
    sign_up("ann", *(f"thought {number}." for number in range(45)))
    first, last = reader.get("/user/ann"), reader.get("/user/ann?page=3")

    assert "45 posts" in first.text
    assert "thought 44." in first.text
    assert "thought 0." in last.text
    assert reader.get("/user/ann?page=4").status == 404


@pytest.mark.parametrize(("asked", "words"), [("es", "Explorar"), ("uk,en;q=0.5", "Огляд"), ("ru", "Обзор"), ("fr", "Explore")])
def test_a_page_speaks_the_language_that_the_browser_asks_for(new_reader, asked: str, words: str) -> None:
    assert words in new_reader(asked).get("/").text


def test_the_language_chosen_on_the_page_wins_and_stays(reader, sign_up: Callable[..., str], new_reader) -> None:
    reader.log_in(sign_up("ann"))
    assert "Огляд" in reader.post("/language", language="uk").text

    elsewhere = new_reader("es")
    elsewhere.log_in("ann")
    assert "Огляд" in elsewhere.get("/").text


@pytest.mark.parametrize("path", PATHS)
def test_a_page_loads_nothing_from_elsewhere(app: Flask, sign_up: Callable[..., str], path: str) -> None:
    sign_up("ann", "Hello.")
    answer = app.test_client().get(path)

    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "//" not in answer.text.replace("<!--", "")


def test_a_form_sent_without_a_log_in_leads_to_the_log_in_and_from_there_to_a_page(reader, sign_up: Callable[..., str]) -> None:
    sign_up("ann")
    reader.get("/")
    page = reader.post("/export")
    assert "Please log in first." in page.text

    page = reader.post("/login", username="ann", password="correct horse")
    assert (page.status, page.url) == (200, "/")


def test_an_unknown_page_says_so_kindly(reader) -> None:
    page = reader.get("/user/nobody")

    assert page.status == 404
    assert "This page does not exist." in page.text
