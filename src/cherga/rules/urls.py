"""Broker URLs: the default, and how they may be shown: a password never stands in a message, a log line or a list."""

from __future__ import annotations

import os
import re

from cherga.words.errors import ConfigError

DEFAULT_FILE = "cherga.db"
ENDINGS = (".db", ".db3", ".sqlite", ".sqlite3")
"""The usual endings of SQLite's files."""
_MASK = "***"
_USER = re.compile(r"(?<=://)(?P<user>[^/?#@:]*):.*@(?=[^@]*$)", re.DOTALL)
_WORD = re.compile(r"(?P<name>[?&;][^=&;]*(?:pass|secret|token)[^=&;]*=)[^&;#]*", re.IGNORECASE)


def default_url(name: str) -> str:
    """The place where an application of this name keeps its jobs when nobody names one: a file in the working directory.

    ``NAME.cherga.db``, which is not taken for a database of the application itself; ``cherga.db`` without a name.
    """
    plain = name.replace("/", "-").replace(":", "-").strip(".")
    return f"sqlite:///{DEFAULT_FILE}" if plain in ("", "cherga") else f"sqlite:///{plain}.{DEFAULT_FILE}"


def as_url(broker: str | os.PathLike[str]) -> str:
    """The URL of a broker that is named by it, or by the path of its queue file. Raises ``ConfigError``."""
    if isinstance(broker, os.PathLike):
        return file_url(os.fspath(broker))

    if not isinstance(broker, str) or ":" not in broker:
        raise ConfigError(f"expected a broker URL such as {_example(broker)!r}, or a Path, got {broker!r}")

    return broker


def working_folder() -> str | None:
    """The working directory; None where somebody has deleted it, as a deploy does with old releases."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def file_url(path: str) -> str:
    """The URL of a queue file."""
    return f"sqlite:///{path.replace('%', '%25').replace('?', '%3F').replace('#', '%23')}"


def _example(broker: object) -> str:
    """The URL that was meant, where that is told by its ending."""
    return file_url(broker) if isinstance(broker, str) and broker.endswith(ENDINGS) else "sqlite:///jobs.db"


def masked(url: str) -> str:
    """The URL with ``***`` in place of passwords: behind the user's name, and in options such as ``sslpassword``."""
    return _WORD.sub(rf"\g<name>{_MASK}", _USER.sub(rf"\g<user>:{_MASK}@", url))


def located(url: str) -> str:
    """The URL as ``masked`` shows it, a queue file with its whole path: so that two can be told to be the same, or not."""
    start = "sqlite:///"
    path, mark, options = url.removeprefix(start).partition("?")
    return masked(f"{start}{os.path.abspath(path)}{mark}{options}" if url.startswith(start) and path else url)
