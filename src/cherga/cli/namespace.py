"""The namespace of a broker, found out without knowing the application's name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import apsw


def queue_file(url: str) -> Path | None:
    """The file behind a ``sqlite://`` URL, None for any other broker."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    return Path(path).absolute() if parts.scheme == "sqlite" and path else None


def namespace_in(url: str) -> str | None:
    """The one namespace that a queue file belongs to, None where only the caller can know.

    What is wrong with a file is left to the broker, which says it better.
    """
    path = queue_file(url)

    if path is None:
        return None

    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error:
        return None

    try:
        found = db.execute("select value from facts where name = 'namespace'").get
    except apsw.Error:
        return None
    finally:
        db.close()

    return found if isinstance(found, str) else None
