"""The export, from the button to the mail, with an embedded worker."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime

import pytest
from demo.mailbox import Mailbox
from flask import Flask
from microblog.extensions import cherga
from stage.visitor import Page

from cherga.testing import wait_until

PATIENCE = 10.0


def test_the_mail_holds_exactly_the_posts_of_the_user(
    app: Flask, reader, sign_up: Callable[..., str], mailbox: Mailbox
) -> None:
    sign_up("bob", "Not mine.")
    reader.log_in(sign_up("ann", "One.", "Two,\nтри.", "“Three”"))

    with cherga.worker(threads=1):
        reader.post("/export")
        assert mailbox.wait_for(1, PATIENCE)

    (mail,) = mailbox.all()
    posts = json.loads(mail.attachments[0].get_content())["posts"]
    assert mail.to == "ann@example.org"
    assert [post["body"] for post in posts] == ["One.", "Two,\nтри.", "“Three”"]
    assert all(post["timestamp"].endswith("Z") and datetime.fromisoformat(post["timestamp"]) for post in posts)


def test_the_mail_speaks_the_language_of_its_reader_in_text_and_html(
    reader, sign_up: Callable[..., str], mailbox: Mailbox
) -> None:
    reader.log_in(sign_up("olena", "Раз.", "Два.", locale="uk"))

    with cherga.worker(threads=1):
        reader.post("/export")
        assert mailbox.wait_for(1, PATIENCE)

    (mail,) = mailbox.all()
    assert mail.subject == "Ваші дописи"
    assert "у ньому 2 дописи." in mail.body("plain")
    assert "у ньому 2 дописи." in mail.body("html")


def test_somebody_without_posts_gets_an_empty_list(reader, sign_up: Callable[..., str], mailbox: Mailbox) -> None:
    reader.log_in(sign_up("ann"))

    with cherga.worker(threads=1):
        reader.post("/export")
        assert mailbox.wait_for(1, PATIENCE)

    assert json.loads(mailbox.all()[0].attachments[0].get_content()) == {"posts": []}


def test_a_second_request_is_answered_and_starts_nothing(app: Flask, reader, sign_up: Callable[..., str]) -> None:
    reader.log_in(sign_up("ann", "One."))
    assert "An export task is currently in progress" not in reader.post("/export").text
    assert "An export task is currently in progress" in reader.post("/export").text

    assert len(cherga.jobs(task="export_posts")) == 1


def test_two_users_export_side_by_side(reader, new_reader, sign_up: Callable[..., str]) -> None:
    other = new_reader()
    reader.log_in(sign_up("ann", "One."))
    other.log_in(sign_up("bob", "Two."))

    reader.post("/export")
    assert "An export task is currently in progress" not in other.post("/export").text


def test_while_the_export_runs_every_page_shows_it_and_the_button_is_hidden(reader, sign_up: Callable[..., str]) -> None:
    reader.log_in(sign_up("ann", "One."))
    assert export_button_is_shown(reader.get("/user/ann"))
    reader.post("/export")

    for path in ("/", "/user/ann", "/profile", "/nowhere"):
        page = reader.get(path)
        assert page.progress()["state"] == "ready"
        assert "Exporting posts…" in page.text

    assert not export_button_is_shown(reader.get("/user/ann"))


def test_nobody_else_sees_the_export(reader, new_reader, sign_up: Callable[..., str]) -> None:
    other, stranger = new_reader(), new_reader()
    other.log_in(sign_up("bob"))
    reader.log_in(sign_up("ann", "One."))
    live = reader.post("/export").progress()["src"]

    assert other.get("/user/ann").progress() is None
    assert stranger.get("/").progress() is None
    assert stranger.get(live).status == 403


def test_after_the_export_the_alert_says_so_until_it_is_put_aside_and_the_button_is_back(
    reader, sign_up: Callable[..., str], mailbox: Mailbox
) -> None:
    reader.log_in(sign_up("ann", "One."))

    with cherga.worker(threads=1):
        reader.post("/export")
        wait_until(lambda: state_on(reader, "/user/ann") == "succeeded", "the alert says that it is done")

    assert export_button_is_shown(reader.page)
    assert "Your posts are on their way" in reader.get("/").text
    assert reader.post(f"/jobs/{reader.page.progress()['job']}/dismiss").progress() is None
    (job,) = cherga.jobs(task="export_posts")
    assert (job.status, job.owner, job.progress.percent, job.result()) == ("succeeded", "user:1", 100.0, 1)


def test_a_failed_export_is_logged_by_the_application_with_its_traceback(
    app: Flask, reader, sign_up: Callable[..., str], mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    reader.log_in(sign_up("ann", "One."))

    with caplog.at_level(logging.ERROR, app.logger.name):
        fail_an_export(reader, mailbox)

    (record,) = [record for record in caplog.records if record.name == app.logger.name]
    assert record.exc_info is not None
    assert record.exc_info[0].__name__ == "SMTPDataError"


def test_after_a_failed_export_a_red_alert_says_so_and_another_try_works(
    reader, sign_up: Callable[..., str], mailbox: Mailbox
) -> None:
    reader.log_in(sign_up("ann", "One."))
    assert "Nothing was lost" not in reader.post("/export").text
    page = fail_an_export(reader, mailbox)
    assert "Nothing was lost, and you may try again." in page.text
    assert export_button_is_shown(reader.get("/user/ann"))

    mailbox.refusing = False
    with cherga.worker(threads=1):
        page = reader.post("/export")
        assert "An export task is currently in progress" not in page.text
        assert mailbox.wait_for(1, PATIENCE)
        wait_until(lambda: state_on(reader, "/") == "succeeded", "the alert is green")


def test_a_red_alert_can_be_put_aside(reader, sign_up: Callable[..., str], mailbox: Mailbox) -> None:
    reader.log_in(sign_up("ann", "One."))
    live = fail_an_export(reader, mailbox).progress()
    reader.post(f"/jobs/{live['job']}/dismiss")

    assert reader.get("/").progress() is None


def test_a_page_is_shown_without_alerts_when_the_queue_cannot_be_read(
    app: Flask, reader, sign_up: Callable[..., str], tmp_path
) -> None:
    reader.log_in(sign_up("ann", "One."))
    cherga.close()
    (tmp_path / "cherga.db").unlink(missing_ok=True)
    (tmp_path / "cherga.db").write_bytes(b"This is not a database. " * 100)

    assert "One." in reader.get("/user/ann").text
    assert "could not be started" in reader.post("/export").text


def fail_an_export(reader, mailbox: Mailbox) -> Page:
    mailbox.refusing = True

    with cherga.worker(threads=1):
        reader.post("/export")
        wait_until(lambda: state_on(reader, "/") == "failed", "the alert is red")

    return reader.page


def state_on(reader, path: str) -> str:
    """How the job on this page stands."""
    return reader.get(path).progress()["state"]


def export_button_is_shown(page: Page) -> bool:
    forms = [form for form in page.all("form", action="/export") if "data-hidden-while-exporting" in form]
    return bool(forms) and "hidden" not in forms[0]
