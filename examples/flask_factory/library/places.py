"""Where files stand: ``FILES/PERSON/inbox`` until they are sorted, then ``FILES/PERSON/ALBUM``."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from flask import current_app

from library.models import Item

INBOX = "inbox"


def files() -> Path:
    """The folder of all files."""
    return Path(current_app.config["FILES"])


def inbox_file(item: Item) -> Path:
    """Where the file is until it is sorted."""
    return files() / str(item.person_id) / INBOX / _stored_name(item)


def file_of(item: Item) -> Path:
    """Where the file is, or shall be, in its album."""
    return files() / str(item.person_id) / _folder(item.album or INBOX) / _stored_name(item)


def thumbnail_of(item: Item) -> Path:
    """The small picture of a photo."""
    return files() / str(item.person_id) / "thumbnails" / f"{item.id}.jpg"


def question_file(question_id: str) -> Path:
    """A spoken question. Raises ``ValueError`` for what is no id."""
    return files() / "questions" / f"{UUID(question_id)}.wav"


def _stored_name(item: Item) -> str:
    """Unlike that of any other file, and the same whenever it is asked for: a file that was moved already is found."""
    return f"{item.id}-{item.name}"


def _folder(album: str) -> str:
    return album.lower().replace(" ", "-")
