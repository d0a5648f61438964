"""The pages for reading what the mail server keeps."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, redirect, render_template, request, send_file, url_for
from werkzeug import Response as BaseResponse

from demo.mailbox import Mail, Mailbox

STYLE = Path(__file__).parents[1] / "microblog" / "static"
LOCKED_UP = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def create_pages(mailbox: Mailbox) -> Flask:
    """An application that shows this mailbox."""
    pages = Flask("demo", static_folder=STYLE)

    @pages.before_request
    def refuse_other_sites() -> None:
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            abort(403)

    @pages.get("/")
    def index() -> str:
        return render_template("mails.html", mails=mailbox.all()[::-1], refusing=mailbox.refusing)

    @pages.get("/mails.json")
    def listing() -> Response:
        return jsonify([_describe(mail) for mail in mailbox.all()])

    @pages.get("/mail/<int:number>")
    def show(number: int) -> str:
        return render_template("mail.html", mail=_find(mailbox, number))

    @pages.get("/mail/<int:number>/html")
    def show_html(number: int) -> Response:
        return Response(_find(mailbox, number).body("html"), headers={"Content-Security-Policy": LOCKED_UP})

    @pages.get("/mail/<int:number>/attachments/<int:index>")
    def attachment(number: int, index: int) -> Response:
        attachments = _find(mailbox, number).attachments

        if index >= len(attachments):
            abort(404)

        part = attachments[index]
        content = io.BytesIO(part.get_payload(decode=True))
        return send_file(content, part.get_content_type(), as_attachment=True, download_name=part.get_filename("attachment"))

    @pages.post("/refusing")
    def refusing() -> BaseResponse:
        mailbox.refusing = request.form.get("refusing") == "yes"
        return redirect(url_for("index"))

    return pages


def _find(mailbox: Mailbox, number: int) -> Mail:
    return mailbox.get(number) or abort(404)


def _describe(mail: Mail) -> dict[str, Any]:
    return {
        "number": mail.number,
        "to": mail.to,
        "subject": mail.subject,
        "text": mail.body("plain"),
        "html": mail.body("html"),
        "attachments": [
            {"name": part.get_filename(), "type": part.get_content_type(), "path": f"/mail/{mail.number}/attachments/{index}"}
            for index, part in enumerate(mail.attachments)
        ],
    }
