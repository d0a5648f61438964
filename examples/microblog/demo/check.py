"""What a person would try, tried without one: real HTTP, a real worker, real mail. Prints what it saw."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from microblog.extensions import db
from microblog.models import Post, User
from microblog.seeding import PASSWORD
from stage.expecting import PATIENCE, POLL, expect, run_through, until
from stage.visitor import Page, Visitor

from demo.stack import Stack

BUSY = "An export task is currently in progress"


def run(stack: Stack, worker_log: Path) -> bool:
    """Try everything; whether all was as expected."""
    print(f"The site is {stack.site_url}, its mail {stack.mail_url}, the worker process {stack.worker.pid}.", flush=True)
    return run_through(lambda: _export(stack), lambda: _failing_export(stack, worker_log))


# --- an export that works


def _export(stack: Stack) -> None:
    jane, mail = Visitor(stack.site_url), Visitor(stack.mail_url)

    expect("jane" in jane.log_in("jane", PASSWORD).text, "logs in as jane")
    profile = jane.get("/user/jane")
    expect(_export_button(profile), f"the profile of {_count(stack, 'jane')} posts has the button “Export your posts”")

    page = jane.post("/export")
    live = page.progress()
    expect(live is not None and live["state"] in ("ready", "running"), "after a click a green alert says “Exporting posts…”")
    expect(not _export_button(page), "and the button is gone")

    again = jane.post("/export")
    expect(BUSY in again.text, f"a second request answers “{BUSY}”")
    expect(len(again.all("cherga-progress")) == 1, "and starts no second export")
    expect(jane.get("/").progress() is not None, "the alert is on the first page too")

    _follow(jane, live or {})
    _read_mail(stack, mail)

    page = jane.get("/user/jane")
    expect(_state(page) == "succeeded" and _export_button(page), "the alert says that it is done, and the button is back")
    jane.post(f"/jobs/{(page.progress() or {})['job']}/dismiss")
    expect(jane.get("/").progress() is None, "and the alert can be put aside")


def _follow(visitor: Visitor, live: dict[str, str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        streamed = pool.submit(lambda: list(visitor.events(live["src"], live["token"])))
        polled = pool.submit(_poll, visitor, live)
        _judge("server-sent events", streamed.result(PATIENCE))
        _judge("JSON polling", polled.result(PATIENCE))


def _poll(visitor: Visitor, live: dict[str, str]) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    pause = threading.Event()

    while not seen or not seen[-1]["final"]:
        seen.append(visitor.json(live["src"], live["token"]))
        pause.wait(POLL)

    return seen


def _judge(way: str, updates: list[dict[str, Any]]) -> None:
    percents = [round(update["progress"]["percent"]) for update in updates if update["progress"]]
    steps = len(set(percents))
    shown = " ".join(str(percent) for percent in sorted(set(percents))[:: max(1, steps // 10)])

    expect(percents == sorted(percents), f"{way}: {len(updates)} updates, {steps} percentages ({shown} …), never back")
    expect(steps > 3, f"{way}: it moved on the way")
    expect(percents[-1] == 100 and updates[-1]["state"] == "succeeded", f"{way}: ends with 100 % and “succeeded”")


def _read_mail(stack: Stack, reader: Visitor) -> None:
    expect(stack.mailbox.wait_for(1, PATIENCE), "a mail has come")
    mail = reader.json("/mails.json")[0]
    expect(mail["to"] == "jane@microblog.example", f"it is to {mail['to']}: “{mail['subject']}”")
    expect("Hello jane" in mail["text"] and "Hello jane" in mail["html"], "it greets jane in text and in HTML")

    attachment = mail["attachments"][0]
    expect((attachment["name"], attachment["type"]) == ("posts.json", "application/json"), "posts.json is attached")
    content = reader.download(attachment["path"])
    expect(json.loads(content) == _stored(stack, "jane"), f"its {len(content)} bytes hold exactly the posts of the database")


# --- an export that fails, and the second try


def _failing_export(stack: Stack, worker_log: Path) -> None:
    taras, mail = Visitor(stack.site_url, language="uk"), Visitor(stack.mail_url)
    taras.log_in("taras", PASSWORD)
    mail.post("/refusing", refusing="yes")
    page = taras.post("/export")

    expect("Експортуємо дописи…" in page.text, "taras exports in Ukrainian while the mail server refuses mail")
    page = until(lambda: taras.get("/"), lambda page: _state(page) == "failed", "the alert turns red")
    expect("Спробувати ще раз" in page.text, "the red alert offers another try")
    expect(_export_button(taras.get("/user/taras"), "Експортувати дописи"), "and the button is back on the profile")
    until(
        lambda: worker_log.read_text(encoding="utf-8", errors="replace"),
        _has_traceback,
        "the traceback is in the log of the application",
    )

    mail.post("/refusing", refusing="no")
    taras.post("/export")
    expect(stack.mailbox.wait_for(2, PATIENCE), "the second try brings the mail")
    letter = mail.json("/mails.json")[1]
    expect("Вітаємо, taras!" in letter["text"], f"in Ukrainian: “{letter['subject']}”")
    until(lambda: taras.get("/"), lambda page: _state(page) == "succeeded", "and the alert is green")


def _state(page: Page) -> str | None:
    live = page.progress()
    return live.get("state") if live else None


def _has_traceback(log: str) -> bool:
    return "Traceback (most recent call last)" in log and "SMTPDataError" in log


# --- looking


def _export_button(page: Page, words: str = "Export your posts") -> bool:
    buttons = [form for form in page.all("form", action="/export") if "data-hidden-while-exporting" in form]
    return bool(buttons) and "hidden" not in buttons[0] and words in page.text


def _count(stack: Stack, username: str) -> int:
    return len(_stored(stack, username)["posts"])


def _stored(stack: Stack, username: str) -> dict[str, list[dict[str, str]]]:
    """The posts as the database has them, read past the application's own export."""
    query = sa.select(Post.body, Post.created_at).join(User).where(User.username == username).order_by(Post.created_at, Post.id)

    with stack.app.app_context():
        return {"posts": [{"body": body, "timestamp": _in_utc(at)} for body, at in db.session.execute(query)]}


def _in_utc(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
