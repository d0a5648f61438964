"""Stands for the application's mail: a file for each message."""

from pathlib import Path

from flask import current_app


def send_email(subject, recipient, body):
    (Path(current_app.config["MAIL_FOLDER"]) / f"{recipient}.json").write_text(body, encoding="utf-8")
