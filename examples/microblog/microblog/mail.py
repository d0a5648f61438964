"""E-mail over SMTP. It waits for the mail server, so jobs send it and requests do not."""

from __future__ import annotations

import smtplib
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from flask import current_app


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes along: its name, media type and bytes."""

    name: str
    media_type: str
    content: bytes


def send_mail(*, to: str, subject: str, text: str, html: str, attachments: Iterable[Attachment] = ()) -> None:
    """Return when the mail server has accepted the message; raise ``OSError`` when it has not."""
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = current_app.config["MAIL_SENDER"]
    message["To"] = to
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="microblog.example")
    message.set_content(text)
    message.add_alternative(html, subtype="html")

    for attachment in attachments:
        maintype, _, subtype = attachment.media_type.partition("/")
        message.add_attachment(attachment.content, maintype=maintype, subtype=subtype, filename=attachment.name)

    with _connect() as server:
        server.send_message(message)


def _connect() -> smtplib.SMTP:
    config = current_app.config
    server = smtplib.SMTP(config["MAIL_SERVER"], int(config["MAIL_PORT"]), timeout=config["MAIL_TIMEOUT"])

    if config.get("MAIL_USE_TLS"):
        server.starttls()

    if config.get("MAIL_USERNAME"):
        server.login(config["MAIL_USERNAME"], config["MAIL_PASSWORD"])

    return server
